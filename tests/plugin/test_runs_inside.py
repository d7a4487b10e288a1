"""Runs of pytest inside of this process, one after the other: each has one copy of every module."""

# It keeps its package loaded, as imports of other tests do, while the modules beside it come and go.
from pytest_llmperf.worker import client as _client  # noqa: F401


def test_an_engine_in_this_process_is_measured_in_a_second_run_as_well(one_test, llm_pytest):
    for _ in range(2):
        llm_pytest("--llm-isolation=none").assert_outcomes(passed=1)
