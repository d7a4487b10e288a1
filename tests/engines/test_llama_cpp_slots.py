"""A request that does not fit llama.cpp's slots fails with one line that names the option to set."""

TEST = """
    def test_batch(llm):
        llm.generate_batch_ids([[500] * 4] * 9, 4)

    def test_length(llm):
        llm.generate_ids([500] * 2040, 20)

    def test_fitting(llm):
        assert len(llm.generate_ids([500] * 236, 20)) == 20
"""


def test_a_batch_or_a_request_that_is_too_large_says_what_to_set(pytester):
    pytester.makepyfile(TEST)
    run = pytester.runpytest_subprocess("--llm-backend=llama-cpp")
    run.assert_outcomes(passed=1, failed=2)
    cell = "smollm2-135m-llama-cpp-q4_1"
    run.stdout.fnmatch_lines(
        [
            f"{cell}: ValueError: a batch of 9 needs as many slots, but this server has 8: "
            "--llm-backend-arg=llama-cpp.n_parallel=9; log: *",
            f"{cell}: ValueError: a request of 2060 tokens does not fit in a slot of 2048: "
            "--llm-backend-arg=llama-cpp.n_ctx=16480 (for 8 slots); log: *",
        ]
    )


def test_its_own_arguments_reach_it(pytester):
    pytester.makepyfile(TEST)
    run = pytester.runpytest_subprocess(
        "--llm-backend=llama-cpp",
        "--llm-backend-arg=llama-cpp.n_parallel=9",
        "--llm-backend-arg=llama-cpp.n_ctx=2304",
    )
    # Now there are nine slots of 256 tokens each: a batch of nine fits, and a request of 256 tokens.
    run.assert_outcomes(passed=2, failed=1)
    run.stdout.fnmatch_lines(
        [
            "*: a request of 2060 tokens does not fit in a slot of 256: "
            "--llm-backend-arg=llama-cpp.n_ctx=18540 (for 9 slots); log: *",
        ]
    )


def test_an_argument_that_it_does_not_know_is_one_line(pytester):
    pytester.makepyfile(TEST)
    run = pytester.runpytest_subprocess(
        "--llm-backend=llama-cpp", "--llm-backend-arg=llama-cpp.slots=9"
    )
    run.assert_outcomes(errors=3)
    run.stdout.fnmatch_lines(
        [
            "cannot load smollm2-135m-llama-cpp-q4_1: ValueError: llama-cpp has no argument 'slots': *"
        ]
    )
