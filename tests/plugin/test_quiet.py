"""``--llm-quiet=fail``: measurements that were disturbed fail, instead of being marked only."""

import json

import pytest

CELL = "smollm2-135m-simulated-none"
JITTER = {"jitter": 0.9, "seed": 3, "ttft": 0.01, "tpot": 0.001}
"""Rounds that differ by more than a tenth, the same in every run."""


@pytest.fixture
def one_unsteady_test(pytester):
    pytester.makepyfile(
        test_speed="""
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=2, rounds=7, warmup=0)
    """
    )


@pytest.mark.timing
@pytest.mark.usefixtures("one_unsteady_test")
def test_an_unsteady_row_is_marked_and_passes(llm_pytest):
    run = llm_pytest(**JITTER)
    assert run.ret == 0
    run.stdout.fnmatch_lines([f"{CELL} !*", f"! {CELL}: unsteady: *", "!: disturbed*"])


@pytest.mark.timing
@pytest.mark.usefixtures("one_unsteady_test")
def test_it_fails_on_request_and_is_stored_all_the_same(llm_pytest, stored_files):
    run = llm_pytest("--llm-quiet=fail", "--benchmark-autosave", **JITTER)
    assert run.ret == 1
    run.assert_outcomes(failed=1)
    run.stdout.fnmatch_lines(["*disturbed measurement: unsteady: *(--llm-quiet=fail)"])
    assert len(json.loads(stored_files()[-1].read_text())["benchmarks"]) == 6


@pytest.mark.timing
def test_a_quiet_measurement_passes(one_test, llm_pytest):
    run = llm_pytest("--llm-quiet=fail", ttft=0.05, tpot=0.01)
    assert run.ret == 0
    assert "!" not in [line.split()[1] for line in run.outlines if line.startswith(CELL)]


def test_another_value_is_refused(one_test, llm_pytest):
    run = llm_pytest("--llm-quiet=loud")
    assert run.ret == 4
    run.stderr.fnmatch_lines(["ERROR: --llm-quiet: *'loud'*mark*fail*"])
