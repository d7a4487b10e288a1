"""Sizes on the command line that a model cannot hold fail before its engine loads."""

import pytest

TEST = """
import pytest

def test_fixed(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=4, rounds=1, warmup=0)

@pytest.mark.parametrize("output_len", [4])
def test_swept(llm, llm_benchmark, output_len):
    llm_benchmark(llm, input_len=8, output_len=output_len, rounds=1, warmup=0)
"""


@pytest.fixture
def small(pytester, model_folder):
    """A model with a context of 64 tokens, and a file with two tests."""
    (model_folder("small") / "config.json").write_text('{"max_position_embeddings": 64}')
    pytester.makepyfile(TEST)


@pytest.mark.usefixtures("small")
def test_they_are_refused_with_both_numbers(pytester):
    run = pytester.runpytest_inprocess(
        "--llm-backend=transformers",
        "--llm-load-format=dummy",
        "--llm-model=./small",
        "--llm-output-len=2000",
        "-W",
        "default",
    )
    run.assert_outcomes(errors=2)
    run.stdout.fnmatch_lines(
        [
            "small-transformers-none: a request of 2000 tokens (output 2000, without the prompt) does "
            "not fit the model's context of 64",
        ]
        * 2
    )
    assert "log:" not in run.stdout.str()


@pytest.mark.usefixtures("small")
def test_an_engine_that_loads_no_files_has_no_context(llm_pytest):
    llm_pytest("--llm-model=./small", "--llm-output-len=70").assert_outcomes(passed=2)
