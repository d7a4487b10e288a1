"""The engine's process: a crash or a hang costs one test, and nothing outlives the run."""

import os
import re
from pathlib import Path

import pytest

from pytest_llmperf import __version__

CELL = "smollm2-135m-simulated-none"
# Requests 0 to 5, two a round; then 0 and 1 of a fresh engine, or 6 and 7 of the same one.
TWO_TESTS = """
    def test_one(llm, llm_benchmark):
        llm_benchmark(llm, input_len=8, output_len=4, batch_size=2, rounds=3, warmup=0)

    def test_two(llm, llm_benchmark):
        llm_benchmark(llm, input_len=8, output_len=4, batch_size=2, rounds=1, warmup=0)
"""


def messages(run):
    """The lines of the report that say what went wrong."""
    return [line for line in run.outlines if line.startswith(f"{CELL}: ")]


def test_a_crash_fails_its_own_test_and_the_next_gets_a_fresh_engine(pytester, llm_pytest, records):
    pytester.makepyfile(TWO_TESTS)
    run = llm_pytest("--benchmark-autosave", "-v", crash_at=3)
    run.assert_outcomes(passed=1, failed=1)
    run.stdout.fnmatch_lines(["*::test_one* FAILED*", "*::test_two* PASSED*"])
    log = pytester.path / ".pytest_cache/d/llmperf-logs" / f"{CELL}.log"
    assert messages(run) == [
        f"{CELL}: the engine's process was killed by SIGKILL (out of memory, or by hand); log: {log}"
    ]
    assert log.is_file()
    assert {name: r["run"]["engine"] for name, r in records().items()} == {f"test_two[{CELL}]": 2}


def test_without_a_crash_both_tests_share_one_engine(pytester, llm_pytest, records):
    pytester.makepyfile(TWO_TESTS)
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=2)
    assert [record["run"]["engine"] for record in records().values()] == [1, 1]


def test_an_engine_that_dies_between_two_tests_fails_neither(pytester, llm_pytest, records):
    pytester.makepyfile("""
        import os
        import signal

        def test_one(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=1, warmup=0)

        def test_killer(llm):
            pid = llm.engine().pid
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        def test_two(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=1, warmup=0)
    """)
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=3)
    assert [record["run"]["engine"] for record in records().values()] == [1, 2]


def test_a_hang_ends_at_the_round_timeout_and_the_next_gets_a_fresh_engine(
    pytester, llm_pytest, records
):
    pytester.makepyfile(TWO_TESTS)
    run = llm_pytest("--benchmark-autosave", "--llm-round-timeout=1", "-v", hang_at=3)
    run.assert_outcomes(passed=1, failed=1)
    run.stdout.fnmatch_lines(["*::test_one* FAILED*", "*::test_two* PASSED*"])
    log = pytester.path / ".pytest_cache/d/llmperf-logs" / f"{CELL}.log"
    assert messages(run) == [
        f"{CELL}: no answer for 1 s (--llm-round-timeout), so the engine was ended; log: {log}"
    ]
    assert {name: r["run"]["engine"] for name, r in records().items()} == {f"test_two[{CELL}]": 2}
    assert run.duration < 30


def test_a_load_that_takes_too_long_ends_at_the_timeout(pytester, llm_pytest):
    pytester.makepyfile("def test_x(llm): pass")
    run = llm_pytest("--llm-timeout=0.5", load_time=60)
    run.assert_outcomes(errors=1)
    assert f"cannot load {CELL}: no answer for 0.5 s (--llm-timeout)" in run.stdout.str()
    assert run.duration < 30


def test_the_round_timeout_is_for_a_round_not_for_a_load_or_a_test(pytester, llm_pytest):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=1, rounds=4, warmup=2)
    """)
    llm_pytest("--llm-round-timeout=1", ttft=0.3, load_time=1.5).assert_outcomes(passed=1)


def test_a_failure_is_told_once_without_a_traceback(pytester, llm_pytest):
    pytester.makepyfile(TWO_TESTS)
    run = llm_pytest(crash_at=0)
    run.assert_outcomes(failed=2)
    output = run.stdout.str()
    assert "During handling of the above exception" not in output
    assert "Traceback" not in output
    assert len(messages(run)) == 2


def test_a_failure_is_no_warning_about_an_unused_fixture(pytester, llm_pytest):
    pytester.makepyfile(TWO_TESTS)
    llm_pytest("-W", "error", crash_at=0).assert_outcomes(failed=2)


def test_the_engine_is_another_process_and_gone_after_the_run(
    pytester, llm_pytest, wait_until_gone
):
    pytester.makepyfile("""
        import os
        from pathlib import Path

        def test_x(llm):
            assert llm.engine().pid != os.getpid()
            assert os.getpgid(llm.engine().pid) != os.getpgid(0)
            Path("engine.pid").write_text(str(llm.engine().pid))
    """)
    llm_pytest().assert_outcomes(passed=1)
    wait_until_gone(int((pytester.path / "engine.pid").read_text()))


def test_one_engine_is_gone_before_the_next_is_loaded(pytester, llm_pytest, model_folder):
    pytester.makepyfile("""
        import os
        import pytest

        seen = []

        def test_x(llm):
            for pid in seen:
                with pytest.raises(ProcessLookupError):
                    os.kill(pid, 0)
            seen.append(llm.engine().pid)
    """)
    models = f"--llm-model=a={model_folder('a')},b={model_folder('b')}"
    llm_pytest(models).assert_outcomes(passed=2)


@pytest.mark.timing
def test_isolation_none_runs_in_pytests_own_process(pytester, llm_pytest, records):
    pytester.makepyfile("""
        import os

        def test_x(llm, llm_benchmark):
            assert llm.engine().pid == os.getpid()
            llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
    """)
    run = llm_pytest("--llm-isolation=none", "--benchmark-autosave", ttft=0.05)
    run.assert_outcomes(passed=1)
    ttft = records()[f"test_x[{CELL}]"]["metrics"]["ttft"]
    assert ttft["p50"] == pytest.approx(0.05, rel=0.01)


def test_isolation_none_reports_an_invalid_measurement(pytester, llm_pytest):
    pytester.makepyfile(TWO_TESTS)
    run = llm_pytest("--llm-isolation=none", stop_at=2)
    run.assert_outcomes(failed=2)
    assert "the engine gave 2 output tokens instead of 4" in run.stdout.str()


@pytest.mark.timing
def test_the_worker_runs_in_an_environment_without_packages(
    pytester, llm_pytest, records, bare_python
):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
    """)
    run = llm_pytest(f"--llm-python=simulated={bare_python}", "--benchmark-autosave", ttft=0.05)
    run.assert_outcomes(passed=1)
    record = records()[f"test_x[{CELL}]"]
    assert record["metrics"]["ttft"]["p50"] == pytest.approx(0.05, rel=0.01)
    assert record["backend"]["version"] == __version__


def test_an_interpreter_that_vanishes_fails_its_tests_with_one_line(
    pytester, llm_pytest, bare_python
):
    pytester.makepyfile(f"""
        from pathlib import Path

        def test_first():
            Path({str(bare_python)!r}).unlink()

        def test_x(llm):
            pass
    """)
    run = llm_pytest(f"--llm-python=simulated={bare_python}")
    run.assert_outcomes(passed=1, errors=1)
    assert f"cannot load {CELL}: cannot start a worker with {bare_python}: " in run.stdout.str()
    assert "Traceback" not in run.stdout.str()


def test_what_the_engine_prints_goes_to_its_log(pytester, llm_pytest):
    pytester.makepyfile("def test_x(llm): pass")
    run = llm_pytest("-s", nonsense=1)
    run.assert_outcomes(errors=1)
    output = run.stdout.str() + run.stderr.str()
    (log,) = set(re.findall(r"log: (\S+\.log)", output))
    assert "Traceback" in Path(log).read_text()
    assert "Traceback" not in output


def test_pytest_leaves_no_process_behind(pytester, llm_pytest_process, wait_until_gone):
    pytester.makepyfile("""
        import os
        from pathlib import Path

        def test_x(llm):
            children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
            Path("children").write_text(children)
    """)
    if not Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").exists():
        pytest.skip("the kernel does not list children")
    llm_pytest_process().assert_outcomes(passed=1)
    children = (pytester.path / "children").read_text().split()
    assert children
    for pid in children:
        wait_until_gone(int(pid))


ONCE = """
    def load(self, spec):
        if not os.path.exists("crashed"):
            open("crashed", "w").close()
            os.kill(os.getpid(), 9)
        return self.loaded(spec)
"""
ALWAYS = """
    def load(self, spec):
        open("loads", "a").write("x")
        os.kill(os.getpid(), 9)
"""
FOUR_TESTS = """
    import pytest

    @pytest.mark.parametrize("n", range(4))
    def test_x(llm, llm_benchmark, n):
        llm_benchmark(llm, input_len=4, output_len=4, rounds=1, warmup=0)
"""


def loading(body):
    """The source of an engine of another package that loads in its own way."""
    source = (Path(__file__).parent / "tiny_engine.py").read_text()
    return "import os\n" + source.replace("def load(", "def loaded(") + body


def test_a_crash_in_the_first_load_costs_one_test(pytester, package):
    package(source=loading(ONCE))
    pytester.makepyfile(FOUR_TESTS)
    run = pytester.runpytest_subprocess("--llm-backend=tiny,simulated", "--tb=short")
    run.assert_outcomes(errors=1, passed=7, warnings=0)
    (line,) = (line for line in run.outlines if line.startswith("cannot load "))
    assert "the engine's process was killed by SIGKILL (out of memory, or by hand)" in line


def test_a_load_that_crashes_again_is_not_tried_for_every_test(pytester, package):
    package(source=loading(ALWAYS))
    pytester.makepyfile(FOUR_TESTS)
    run = pytester.runpytest_subprocess("--llm-backend=tiny,simulated", "--tb=short")
    run.assert_outcomes(errors=4, passed=4)
    lines = [line for line in run.outlines if line.startswith("cannot load ")]
    assert len(lines) == 4
    assert [line.endswith(" (tried 2 times, not again)") for line in lines] == [
        False,
        False,
        True,
        True,
    ]
    assert (pytester.path / "loads").read_text() == "xx"


def test_a_load_that_took_too_long_is_not_tried_again(pytester, llm_pytest):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize("n", range(3))
        def test_x(llm, n):
            pass
    """)
    run = llm_pytest("--llm-timeout=0.5", load_time=60)
    run.assert_outcomes(errors=3)
    lines = [
        line for line in run.outlines if line.startswith(f"cannot load {CELL}: no answer for 0.5 s")
    ]
    assert [line.endswith(" (tried once, not again)") for line in lines] == [False, True, True]


def test_a_fixture_over_the_whole_session_sees_the_engine_of_each_test(pytester, package):
    package(source=loading(ONCE))
    pytester.makepyfile("""
        import pytest

        @pytest.fixture(scope="session")
        def model(llm):
            return llm

        @pytest.mark.parametrize("n", range(2))
        def test_x(model, n):
            assert len(model.generate_ids([1, 2], 3)) == 3
    """)
    run = pytester.runpytest_subprocess("--llm-backend=tiny")
    run.assert_outcomes(errors=1, passed=1)
