"""Lines about what was not as a user may think, and none about what follows from another error."""

import pytest

WITHOUT_TOKENIZER = """
from dataclasses import replace
from pytest_llmperf.backends.simulated import SimulatedBackend

class TinyBackend(SimulatedBackend):
    name = "tiny"

    def load(self, spec):
        return replace(super().load(spec), has_tokenizer=not spec.random_weights)
"""


def test_random_ids_in_the_place_of_a_prompt_are_in_record_and_report(pytester, package, records):
    package(WITHOUT_TOKENIZER)
    pytester.makepyfile(
        """
        def test_text(llm, llm_benchmark):
            llm_benchmark(llm, prompt="three small words", output_len=2)

        def test_ids(llm, llm_benchmark):
            llm_benchmark(llm, input_len=3, output_len=2)
        """
    )
    options = ("-Wdefault", "--llm-backend=tiny", "--benchmark-autosave")
    run = pytester.runpytest_subprocess(*options, "--llm-load-format=dummy", timeout=60)
    run.assert_outcomes(passed=2)
    run.stdout.fnmatch_lines(
        ["random weights have no tokenizer: in 1 of 2 measurements each word *"]
    )
    text, ids = records().values()
    assert text["workload"]["words_as_ids"] is True
    assert text["workload"]["input_tokens"] == 3
    assert "words_as_ids" not in ids["workload"]
    pytester.runpytest_subprocess(*options, timeout=60).assert_outcomes(passed=2)
    assert not any("words_as_ids" in record["workload"] for record in records().values())


@pytest.mark.parametrize(
    "call", ["llm_benchmark(llm, nosuch=['a'])", "llm_benchmark(None)", "1 / 0", "assert False"]
)
def test_a_test_that_fails_before_it_measures_has_one_error(pytester, llm_pytest, call):
    pytester.makepyfile(f"def test_x(llm, llm_benchmark): {call}")
    run = llm_pytest()
    run.assert_outcomes(failed=1, warnings=0)
    assert "Benchmark fixture was not used" not in run.stdout.str() + run.stderr.str()


def test_a_test_that_forgets_to_measure_is_told(pytester, llm_pytest):
    pytester.makepyfile("def test_x(llm, llm_benchmark): pass")
    run = llm_pytest()
    run.assert_outcomes(passed=1, warnings=1)
    run.stdout.fnmatch_lines(["*Benchmark fixture was not used at all in this test!*"])


@pytest.mark.parametrize("target", ["vllm", "simulated@slow"])
def test_arguments_that_no_test_takes_are_named(one_test, llm_pytest, target):
    run = llm_pytest(f"--llm-backend-arg={target}.seed=1", ttft=0.01)
    run.assert_outcomes(passed=1)
    lines = [line for line in run.outlines if line.startswith("--llm-backend-arg")]
    assert lines == [f"--llm-backend-arg: no test of this run takes the arguments of {target}"]


def test_arguments_of_the_ini_file_are_for_several_runs(pytester, one_test, llm_pytest):
    pytester.makeini("[pytest]\nllm_backend_arg = vllm.seed=1\n")
    run = llm_pytest()
    run.assert_outcomes(passed=1)
    assert "--llm-backend-arg" not in run.stdout.str()


def test_a_wrong_marker_is_one_error(pytester, llm_pytest):
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.llm(modle="a")
        def test_x(llm, llm_benchmark): pass
        """
    )
    run = llm_pytest()
    assert run.ret == pytest.ExitCode.INTERRUPTED
    run.stdout.fnmatch_lines(["*test_x: @pytest.mark.llm takes model=, backend= and quant= only*"])
    assert "During handling" not in run.stdout.str()
