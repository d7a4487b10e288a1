"""What an engine writes to its log before it fails stands in the line of the failure."""

from pytest_llmperf.core.models import embedded_gguf


def test_a_gguf_file_that_ends_early_is_named_as_such(pytester):
    whole = embedded_gguf().read_bytes()
    (pytester.path / "short.Q4_1.gguf").write_bytes(whole[: len(whole) // 3])
    pytester.makepyfile("def test_load(llm): pass")
    run = pytester.runpytest_subprocess("--llm-backend=llama-cpp", "--llm-model=short.Q4_1.gguf")
    run.assert_outcomes(errors=1)
    run.stdout.fnmatch_lines(
        [
            "cannot load short.q4_1-llama-cpp-q4_1: RuntimeError: *; cause: *tensor '*' data is not "
            "within the file bounds, model is corrupted or incomplete; log: *"
        ]
    )
