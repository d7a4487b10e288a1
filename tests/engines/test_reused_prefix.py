"""A prefix that vLLM takes from its cache: the measured requests say how much of it."""

TEST = """
    def test_x(llm, llm_benchmark):
        result = llm_benchmark(
            llm, input_len=300, prefix_len=256, output_len=2, batch_size=2, rounds=2, warmup=1
        )
        for r in result.measurement.rounds:
            assert [(t.input_tokens, t.cached_tokens) for t in r.requests] == [(300, 256)] * 2
"""


def test_vllm_computes_a_known_prefix_once(pytester):
    pytester.makepyfile(TEST)
    run = pytester.runpytest_subprocess(
        "--llm-backend=vllm",
        "--llm-backend-arg=vllm.enable_prefix_caching=true",
        "--llm-backend-arg=vllm.block_size=32",
        "-v",
    )
    run.assert_outcomes(passed=1)
    run.stdout.fnmatch_lines(["*test_x?smollm2-135m-vllm-none-prefix?*"])
