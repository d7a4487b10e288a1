"""Runs that do not measure, or not only: disable, only, skip, xdist, no pytest-benchmark."""

import pytest

CELL = "smollm2-135m-simulated-none"
MIXED = """
    def test_ordinary():
        pass

    def test_text(llm):
        assert llm.generate("abc", output_len=3)

    def test_x(llm, llm_benchmark):
        llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
"""


@pytest.mark.timing
def test_disable_sends_one_round_and_stores_nothing(pytester, llm_pytest, stored_files, journals):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            result = llm_benchmark(llm, input_len=8, output_len=4, batch_size=2, rounds=3, warmup=2)
            assert len(result.measurement.rounds) == 1
            assert result.ttft.n == 2
            assert 0.045 < result.ttft.p50 < 0.1
            # The next request is the third one that the engine sees.
            assert llm.generate("abc", output_len=2)
    """)
    run = llm_pytest("--benchmark-disable", "--benchmark-autosave", ttft=0.05, crash_at=3)
    run.assert_outcomes(passed=1)
    assert stored_files() == []
    assert journals() == []
    assert "LLM performance" not in run.stdout.str()


def test_disable_lets_load_pass(pytester, llm_pytest, stored_files):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            assert llm_benchmark.load(llm).load_time.p50 > 0
    """)
    llm_pytest("--benchmark-disable", "--benchmark-autosave").assert_outcomes(passed=1)
    assert stored_files() == []


def test_benchmark_only_runs_what_measures(pytester, llm_pytest):
    pytester.makepyfile(MIXED)
    run = llm_pytest("--benchmark-only", "-v")
    run.assert_outcomes(passed=1, skipped=2)
    run.stdout.fnmatch_lines(["*::test_x* PASSED*"])


def test_benchmark_skip_leaves_what_does_not_measure(pytester, llm_pytest_process, stored_files):
    pytester.makepyfile(MIXED)
    run = llm_pytest_process("--benchmark-skip", "--benchmark-autosave", "-v")
    run.assert_outcomes(passed=2, skipped=1)
    run.stdout.fnmatch_lines(["*::test_x* SKIPPED*"])
    assert stored_files() == []


def test_xdist_skips_llm_tests_and_loads_nothing(pytester, llm_pytest_process):
    pytester.makepyfile(MIXED)
    run = llm_pytest_process("-n", "2", "-rs", "-p", "no:cacheprovider", load_time=30)
    assert run.ret == 0
    run.assert_outcomes(passed=1, skipped=2)
    reason = "pytest-xdist is active: LLM tests share one machine, run them without -n"
    assert reason in run.stdout.str()


def test_xdist_with_no_workers_measures(pytester, llm_pytest, stored_files):
    pytester.makepyfile(MIXED)
    llm_pytest("-n", "0", "--benchmark-autosave").assert_outcomes(passed=3)
    assert len(stored_files()) == 1


def test_without_pytest_benchmark_only_measuring_tests_are_skipped(pytester, llm_pytest_process):
    pytester.makepyfile(MIXED)
    run = llm_pytest_process("-p", "no:benchmark", "-rs")
    assert run.ret == 0
    run.assert_outcomes(passed=2, skipped=1)
    assert "llm_benchmark needs pytest-benchmark (-p no:benchmark is set)" in run.stdout.str()


def test_without_pytest_benchmark_a_run_of_other_tests_is_untouched(pytester):
    pytester.makepyfile("def test_ordinary(): pass")
    run = pytester.runpytest_subprocess("-p", "no:benchmark", timeout=60)
    assert run.ret == 0
    run.assert_outcomes(passed=1)


@pytest.mark.timing
def test_a_group_of_the_test_is_kept_and_siblings_stand_in_it(pytester, llm_pytest, stored):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.benchmark(group="mine")
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
    """)
    llm_pytest("--benchmark-autosave", ttft=0.05).assert_outcomes(passed=1)
    groups = {name: entry["group"] for name, entry in stored().items()}
    assert groups == {
        f"test_x[{CELL}]": "mine",
        f"test_x[{CELL}-ttft]": "mine:ttft",
        f"test_x[{CELL}-tpot]": "mine:tpot",
        f"test_x[{CELL}-e2e]": "mine:e2e",
        f"test_x[{CELL}-output_throughput]": "mine:output_throughput",
        f"test_x[{CELL}-peak_memory]": "mine:peak_memory_mib",
    }
    # The marker did not take the virtual clock away.
    median = stored()[f"test_x[{CELL}]"]["stats"]["median"]
    assert median == pytest.approx(0.05 + 3 * 0.002, rel=0.02)


@pytest.mark.timing
def test_a_marker_of_a_module_or_class_is_kept_too(pytester, llm_pytest, stored):
    pytester.makepyfile("""
        import pytest

        pytestmark = pytest.mark.benchmark(group="of_module")

        class TestIt:
            def test_x(self, llm, llm_benchmark):
                llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
    """)
    llm_pytest("--benchmark-autosave", ttft=0.05).assert_outcomes(passed=1)
    entry = stored()[f"test_x[{CELL}]"]
    assert entry["group"] == "of_module"
    assert entry["stats"]["median"] == pytest.approx(0.05 + 3 * 0.002, rel=0.02)


def has_wide_table(run):
    return "Name (time in" in run.stdout.str()


def test_the_wide_table_is_hidden_when_all_of_it_is_ours(one_test, llm_pytest):
    assert not has_wide_table(llm_pytest())


def test_the_wide_table_stays_for_ordinary_benchmarks(pytester, one_test, llm_pytest):
    pytester.makepyfile(
        test_ordinary="""
        def test_sum(benchmark):
            benchmark.pedantic(sum, args=([1, 2],), rounds=3)
    """
    )
    run = llm_pytest()
    run.assert_outcomes(passed=2)
    assert has_wide_table(run)
    assert "test_sum" in run.stdout.str()


@pytest.mark.parametrize("option", ["--benchmark-columns=median", "--benchmark-verbose"])
def test_the_wide_table_has_no_entry_of_ours_even_when_it_is_asked_for(
    one_test, llm_pytest, option
):
    assert not has_wide_table(llm_pytest(option))


def test_a_comparison_has_a_table_of_ours(one_test, llm_pytest):
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
    run = llm_pytest("--benchmark-compare")
    assert not has_wide_table(run)
    run.stdout.fnmatch_lines(["*LLM comparison with 0001_*"])


@pytest.mark.timing
def test_an_ordinary_benchmark_keeps_its_own_clock(pytester, one_test, llm_pytest, stored):
    pytester.makepyfile(
        test_ordinary="""
        import time

        def test_sleep(benchmark):
            benchmark.pedantic(time.sleep, args=(0.05,), rounds=3)
    """
    )
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=2)
    entry = stored()["test_sleep"]
    assert entry["stats"]["median"] == pytest.approx(0.05, rel=0.05)
    assert entry["options"]["timer"] == "perf_counter"
    assert "llmperf" not in entry["extra_info"]
