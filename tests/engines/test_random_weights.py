"""The shipped architectures with random weights: no download, and no text."""

ARGS = ["--llm-load-format=dummy", "--llm-rounds=1", "--llm-warmup=1", "-p", "no:cacheprovider"]
TEST = """
    import pytest

    def test_speed(llm, llm_benchmark):
        result = llm_benchmark(llm, input_len=8, output_len=4)
        assert result.ttft.n == 1
        assert llm.info.random_weights
        assert llm.info.parameters == 134_515_008

    def test_text(llm):
        llm.generate("Hello", 4)
"""


def test_random_weights_give_speed_but_refuse_text(pytester):
    pytester.makepyfile(TEST)
    # test_tensor_parallel.py covers vLLM without quantization.
    result = pytester.runpytest_subprocess(
        *ARGS, "--llm-quant=none,nf4", "--llm-backend=transformers,vllm", "-k", "not vllm-none"
    )
    result.assert_outcomes(passed=3, failed=3, deselected=2)
    result.stdout.fnmatch_lines(
        [
            "llm: smollm2-135m (random weights) on transformers *, vllm *",
            "random weights have no tokenizer, so there is no text",
            "random weights (--llm-load-format=dummy): speed and memory are real, text is not",
        ]
    )


def test_engines_that_take_their_weights_from_a_file_alone_say_so(pytester):
    pytester.makepyfile(TEST)
    result = pytester.runpytest_subprocess(*ARGS, "--llm-backend=llama-cpp,ctranslate2", "-rs")
    result.assert_outcomes(skipped=4)
    result.stdout.fnmatch_lines_random(
        [
            "SKIPPED * llama.cpp takes its weights from the GGUF file: --llm-load-format=dummy has none",
            "SKIPPED * CTranslate2 loads only converted checkpoints: --llm-load-format=dummy has none",
        ]
    )
