"""Measurements that mean nothing, and calls that do not: the test fails and nothing is stored."""

import pytest

CELL = "smollm2-135m-simulated-none"
# With an engine that stops after four tokens, the first test is right and the second is not.
SHORT_AND_LONG = """
def test_short(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=2, rounds=1, warmup=0)

def test_long(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=8, batch_size=2, rounds=1, warmup={warmup})
"""


@pytest.mark.parametrize(("warmup", "where"), [(0, "round 1"), (1, "warm-up round 1")])
def test_an_engine_that_stops_early_fails_the_test_and_nothing_is_stored(
    pytester, llm_pytest, records, warmup, where
):
    pytester.makepyfile(SHORT_AND_LONG.format(warmup=warmup))
    run = llm_pytest("--benchmark-autosave", stop_at=4)
    assert run.ret == 1
    run.assert_outcomes(passed=1, failed=1)
    assert (
        f"{CELL}: invalid measurement: {where}, request 1 of 2: the engine gave 4 output tokens "
        "instead of 8" in run.outlines
    )
    assert list(records()) == [f"test_short[{CELL}]"]


def test_an_invalid_measurement_keeps_the_engine(pytester, llm_pytest, records):
    pytester.makepyfile(
        SHORT_AND_LONG.format(warmup=0)
        + """
def test_next(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=2, rounds=1, warmup=0)
"""
    )
    llm_pytest("--benchmark-autosave", stop_at=4).assert_outcomes(passed=2, failed=1)
    assert [record["run"]["engine"] for record in records().values()] == [1, 1]


def test_tokens_from_a_prefix_cache_fail_the_test(pytester, llm_pytest_process, stored_files):
    pytester.makepyfile(SHORT_AND_LONG.format(warmup=0))
    run = llm_pytest_process("--benchmark-autosave", cached_tokens=5)
    run.assert_outcomes(failed=2)
    message = "round 1, request 1 of 1: 5 of 8 prompt tokens came from a prefix cache"
    assert f"{CELL}: invalid measurement: {message}" in run.outlines
    # Not even an empty run: it would be the next comparison's baseline, and pass everything.
    assert stored_files() == []


def test_generate_checks_its_tokens_too(pytester, llm_pytest):
    pytester.makepyfile("def test_x(llm): llm.generate('abc', output_len=8)")
    run = llm_pytest(stop_at=4)
    run.assert_outcomes(failed=1)
    assert (
        f"{CELL}: invalid measurement: generate, request 1 of 1: the engine gave 4 output tokens "
        "instead of 8" in run.outlines
    )


def test_measuring_twice_is_a_clear_error(pytester, llm_pytest):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=2, rounds=1, warmup=0)
            llm_benchmark(llm, input_len=8, output_len=2, rounds=1, warmup=0)
    """)
    run = llm_pytest()
    run.assert_outcomes(failed=1)
    assert (
        "RuntimeError: llm_benchmark measures once per test: parametrize the test to measure more"
        in run.stdout.str()
    )


MEANINGLESS = {
    "prompt='abc', input_len=8": "give exactly one of prompt=, prompts= and input_len=",
    "output_len=8": "give exactly one of prompt=, prompts= and input_len=",
    "prompt=''": "prompt= must not be empty",
    "input_len=0": "input_len must be a whole number of at least 1, not 0",
    "input_len=True": "input_len must be a whole number of at least 1, not True",
    "input_len=8, output_len=0": "output_len must be a whole number of at least 1, not 0",
    "input_len=8, batch_size=0": "batch_size must be a whole number of at least 1, not 0",
    "input_len=8, rounds=0": "rounds must be a whole number of at least 1, not 0",
    "input_len=8, warmup=-1": "warmup must be a whole number of at least 0, not -1",
    "input_len=8, slo={'speed': 1}": "slo: unknown metric 'speed'; known: ttft, tpot, e2e",
    "input_len=8, slo={'ttft': 0}": "slo: ttft has to be a positive number of seconds, not 0",
}


def test_sizes_and_objectives_that_mean_nothing(pytester, llm_pytest, journals):
    tests = [
        f"def test_{i}(llm, llm_benchmark): llm_benchmark(llm, {call})"
        for i, call in enumerate(MEANINGLESS)
    ]
    pytester.makepyfile("\n".join(tests))
    run = llm_pytest("--tb=line")
    run.assert_outcomes(failed=len(MEANINGLESS))
    told = [line.partition("ValueError: ")[2] for line in run.outlines if ": ValueError: " in line]
    assert told == list(MEANINGLESS.values())
    assert journals() == []


def test_a_metric_that_a_result_has_not_got_is_a_clear_error(pytester, llm_pytest):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=2, rounds=1, warmup=0).goodput
    """)
    run = llm_pytest()
    run.assert_outcomes(failed=1)
    assert "AttributeError: this measurement has no goodput; it has ttft, " in run.stdout.str()


def test_a_failed_budget_fails_the_test_and_is_stored_all_the_same(pytester, llm_pytest, records):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            result = llm_benchmark(llm, input_len=8, output_len=2, rounds=1, warmup=0)
            assert result.ttft.p95 < 0.01
    """)
    llm_pytest("--benchmark-autosave", ttft=0.05).assert_outcomes(failed=1)
    assert list(records()) == [f"test_x[{CELL}]"]


SAME_PROMPT = """
def test_same_prompt(llm, llm_benchmark):
    llm_benchmark(llm, prompt="the same words", output_len=4)
"""
NEW_PROMPTS = """
def test_new_prompts(llm, llm_benchmark):
    result = llm_benchmark(llm, input_len=14, output_len=4)
    assert result.ttft.min >= 0.020
"""


@pytest.mark.timing
@pytest.mark.parametrize("tests", [SAME_PROMPT + NEW_PROMPTS, NEW_PROMPTS + SAME_PROMPT])
def test_a_prefix_cache_that_says_nothing_fails_the_test(pytester, llm_pytest, records, tests):
    pytester.makepyfile(tests)
    run = llm_pytest("--benchmark-autosave", hidden_cache=1)
    run.assert_outcomes(passed=1, failed=1)
    run.stdout.re_match_lines(
        [
            rf"{CELL}: invalid measurement: ttft is at most [23]\.\d ms for .* at least 2\d\.\d ms .*: "
            "the engine uses a prefix cache"
        ]
    )
    assert list(records()) == [f"test_new_prompts[{CELL}]"]


@pytest.mark.timing
def test_the_same_prompt_without_a_cache_is_measured(pytester, llm_pytest, records):
    pytester.makepyfile(
        """
        def test_same_prompt(llm, llm_benchmark):
            llm_benchmark(llm, prompt="the same words", output_len=4)
        """
    )
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
    assert list(records()) == [f"test_same_prompt[{CELL}]"]


def test_a_mistake_about_a_result_says_what_to_write(pytester, llm_pytest):
    pytester.makepyfile("""
        import pytest

        @pytest.fixture
        def result(llm, llm_benchmark):
            return llm_benchmark(llm, input_len=8, output_len=2, rounds=5, warmup=0)

        def test_metric(result): result.output_thoughput
        def test_statistic(result): result.ttft.p96
        def test_number(result): assert result.ttft < 1
        def test_limit(result): assert result.ttft.p50 < 0
        def test_few(result): assert result.ttft.p95 > 0
    """)
    run = llm_pytest("--tb=short")
    run.assert_outcomes(failed=4, passed=1, warnings=1)
    run.stdout.fnmatch_lines(
        [
            "E   AttributeError: this measurement has no output_thoughput; it has *; "
            "did you mean output_throughput?",
            "E   AttributeError: ttft has no p96; it has p50, *, and percentile(96)",
            "E   TypeError: ttft holds 5 samples, not one number: write ttft.p50, *",
            "E    +    where ttft: p50 *, max *, n 5 = Result(ttft: p50 *).ttft",
            "*FewSamplesWarning: ttft.p95 needs 100 samples and has 5: read p50 or max, *",
        ]
    )


def test_a_run_that_does_not_measure_has_no_warning(pytester, llm_pytest):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            assert llm_benchmark(llm, input_len=8, output_len=2).ttft.p95 > 0
    """)
    llm_pytest("--benchmark-disable").assert_outcomes(passed=1, warnings=0)
