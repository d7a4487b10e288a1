"""A test with small and full sizes measures those of the run's suite."""

import pytest

PREFILL = """
import pytest

@pytest.mark.llm_sizes(small={"input_len": [8, 16]}, full={"input_len": [128, 9000]})
def test_prefill(llm, llm_benchmark, input_len):
    llm_benchmark(llm, input_len=input_len, output_len=2, rounds=1, warmup=0)
"""
CELL = "smollm2-135m-simulated-none"


@pytest.fixture
def sizes(pytester, llm_pytest, records):
    """Run a test; return the numbers of prompt tokens that were measured, and the run."""

    def run(source, *options):
        pytester.makepyfile(source)
        done = llm_pytest("--benchmark-autosave", *options)
        found = [record["workload"]["input_tokens"] for record in records().values()]
        return sorted(found), done

    return run


def test_a_cpu_measures_the_small_sizes(sizes):
    found, run = sizes(PREFILL, "--llm-device=cpu")
    run.assert_outcomes(passed=2)
    assert found == [8, 16]


def test_the_full_sizes_are_for_gpus_and_for_those_who_ask(sizes):
    found, run = sizes(PREFILL, "--llm-suite=full")
    run.assert_outcomes(passed=2)
    assert found == [128, 9000]


def test_a_size_that_the_models_context_does_not_hold_is_skipped(pytester, model_folder):
    (model_folder("small") / "config.json").write_text('{"max_position_embeddings": 64}')
    pytester.makepyfile(PREFILL)
    options = ("--llm-backend=transformers", "--llm-load-format=dummy", "--llm-model=./small")
    run = pytester.runpytest_inprocess(*options, "--llm-suite=full", "-rs", "-W", "default")
    run.assert_outcomes(skipped=2)
    run.stdout.fnmatch_lines(
        "SKIPPED*a request of 129 tokens (prompt 128 + output 1) does not fit the model's context of 64"
    )


def test_sizes_of_the_command_line_replace_those_of_the_suite(sizes):
    found, run = sizes(PREFILL, "--llm-input-len=4")
    run.assert_outcomes(passed=1)
    assert found == [4]


def test_the_sizes_are_in_test_ids(pytester, llm_pytest):
    pytester.makepyfile(PREFILL)
    run = llm_pytest("--collect-only", "-q", "--llm-suite=small")
    run.stdout.fnmatch_lines([f"*::test_prefill[[]{CELL}-8]", f"*::test_prefill[[]{CELL}-16]"])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("small={}", 'llm_sizes takes small= and full=, each like {"input_len": [[]128, 1024]}'),
        ("small=3, full={}", "llm_sizes(small=): 3 is no dictionary"),
        ("small={'input_len': 3}, full={}", "llm_sizes(small=): input_len is no list"),
        (
            "small={'input_len': [0]}, full={}",
            "llm_sizes(small=): input_len must be a whole number of at least 1, not 0",
        ),
        ("small={'width': [3]}, full={}", "llm_sizes sets width, which is no argument"),
    ],
)
def test_a_wrong_marker_is_one_line(pytester, llm_pytest, asked, message):
    marker = "@pytest.mark.llm_sizes(small={"
    source = PREFILL.replace(
        PREFILL[PREFILL.index(marker) :].split("\n")[0], f"@pytest.mark.llm_sizes({asked})"
    )
    pytester.makepyfile(source)
    run = llm_pytest("--llm-suite=small")
    run.assert_outcomes(errors=1)
    run.stdout.fnmatch_lines(f"*test_prefill: {message}")


def test_a_suite_of_another_name_is_a_wrong_option(llm_pytest):
    run = llm_pytest("--llm-suite=huge")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    run.stderr.fnmatch_lines("*--llm-suite*'huge'*small*full*")
