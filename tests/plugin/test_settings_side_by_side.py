"""Two settings of one engine in one run, by a label."""

import pytest


def test_a_label_with_arguments_is_this_interpreter(pytester, one_test, llm_pytest, records):
    run = llm_pytest(
        "--benchmark-autosave",
        "--llm-backend=simulated,simulated@slow",
        "--llm-backend-arg=simulated@slow.tpot=0.004",
        ttft=0.01,
    )
    run.assert_outcomes(passed=2)
    plain, slow = records().values()
    assert plain["backend"]["args"] == {"ttft": 0.01}
    assert slow["backend"]["args"] == {"ttft": 0.01, "tpot": 0.004}
    assert slow["cell"] == "smollm2-135m-simulated@slow-none"
    assert plain["workload"]["hash"] != slow["workload"]["hash"]


def test_a_label_may_be_in_the_ini_file(pytester, one_test):
    pytester.makeini(
        "[pytest]\nllm_backend = simulated,simulated@slow\n"
        "llm_backend_arg = simulated@slow.tpot=0.004\n"
    )
    pytester.runpytest_inprocess("-Wdefault").assert_outcomes(passed=2)


def test_a_label_that_is_not_asked_for_is_not_measured(one_test, llm_pytest):
    llm_pytest("--llm-backend-arg=simulated@slow.tpot=0.004").assert_outcomes(passed=1)


def test_a_cell_with_a_label_can_be_named_by_a_test(pytester, llm_pytest):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("llm", ["smollm2-135m-simulated@slow-none"], indirect=True)
        def test_x(llm):
            assert llm.cell.backend == "simulated@slow"
        """
    )
    llm_pytest("--llm-backend-arg=simulated@slow.tpot=0.004").assert_outcomes(passed=1)


def test_a_label_with_nothing_of_its_own_is_a_mistake(one_test, llm_pytest):
    run = llm_pytest("--llm-backend=simulated@slo", "--llm-backend-arg=simulated@slow.tpot=0.004")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in run.errlines if line]
    assert line == (
        "ERROR: --llm-backend: 'simulated@slo' has no environment and no arguments of its own; give "
        "--llm-python simulated@slo=PATH or --llm-backend-arg simulated@slo.KEY=VALUE"
    )
