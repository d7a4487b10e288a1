"""Runs that end early: the engine goes with them, and what was measured stays."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CELL = "smollm2-135m-simulated-none"
# The first test takes a moment, the second one a minute.
SLOW = """
import signal
from pathlib import Path

# As on a terminal: a job started in the background would ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)

def test_first(llm, llm_benchmark):
    llm_benchmark(llm, input_len=2, output_len=2, rounds=2, warmup=0)

def test_second(llm, llm_benchmark):
    Path("engine.pid").write_text(str(llm.engine().pid))
    llm_benchmark(llm, input_len=6000, output_len=2, rounds=2, warmup=0)
"""


class Running:
    """A run in the background."""

    def __init__(self, process, output):
        self.process = process
        self._output = output

    def end(self, number):
        """Send a signal, to all of its terminal's processes if it is Ctrl-C; gives the output."""
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        self.process.wait(20)
        return self._output.read_text()


@pytest.fixture
def started(pytester, arguments):
    """Start a run in the background."""
    runs = []

    def start(*extra, **program):
        output = pytester.path / "output.txt"
        with output.open("w") as file:
            process = pytester.popen(
                [sys.executable, "-m", "pytest", *arguments(*extra, **program)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        runs.append(Running(process, output))
        return runs[-1]

    yield start
    for run in runs:
        run.process.kill()
        run.process.wait(10)


@pytest.fixture
def engine_pid(pytester):
    """The engine's process in the slow file's second test."""
    return lambda: int((pytester.path / "engine.pid").read_text())


@pytest.fixture
def interrupted(pytester, started, wait_until):
    """Start the slow file and wait until its second test measures."""

    def start(*extra):
        pytester.makepyfile(test_slow=SLOW)
        run = started("test_slow.py", *extra, ttft_per_input_token=0.01)
        file = pytester.path / "engine.pid"
        wait_until(lambda: file.exists() and file.read_text(), "the second test", 20)
        time.sleep(0.3)
        return run

    return start


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 2), (signal.SIGTERM, -15), (signal.SIGKILL, -9)],
    ids=["SIGINT", "SIGTERM", "SIGKILL"],
)
def test_the_engine_is_gone_and_the_first_measurement_on_disk(
    interrupted, journals, engine_pid, wait_until_gone, number, code
):
    run = interrupted()
    run.end(number)
    assert run.process.returncode == code
    wait_until_gone(engine_pid())
    (journal,) = journals()
    header, *entries = [json.loads(line) for line in journal.read_text().splitlines()]
    assert header["journal"] == 1
    assert entries[0]["name"] == f"test_first[{CELL}]"
    assert entries[0]["extra_info"]["llmperf"]["metrics"]["ttft"]["n"] == 2
    assert {entry["name"] for entry in entries[1:]} == {
        f"test_first[{CELL}-{metric}]"
        for metric in ("ttft", "tpot", "e2e", "output_throughput", "peak_memory")
    }


def test_ctrl_c_without_autosave_says_where_the_measurements_are(interrupted, journals):
    output = interrupted().end(signal.SIGINT)
    (journal,) = journals()
    assert (
        f"interrupted: 6 measured entries are kept in {journal}; "
        "run `pytest-llmperf recover` to store them" in output.splitlines()
    )
    assert "LLM performance" in output


def test_ctrl_c_with_autosave_stores_the_run_and_leaves_no_journal(
    interrupted, journals, stored_files, records
):
    output = interrupted("--benchmark-autosave").end(signal.SIGINT)
    assert len(stored_files()) == 1
    assert list(records()) == [f"test_first[{CELL}]"]
    assert journals() == []
    assert "are kept in" not in output


def test_ctrl_c_is_told_without_the_plugins_own_frames(interrupted):
    output = interrupted().end(signal.SIGINT)
    assert "KeyboardInterrupt" in output
    assert "INTERNALERROR" not in output
    assert "1 passed" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_an_engine_that_is_loading_is_gone_too(
    pytester, started, wait_until, wait_until_gone, number
):
    pytester.makepyfile("""
        import signal

        signal.signal(signal.SIGINT, signal.default_int_handler)

        def test_x(llm):
            pass
    """)
    run = started(load_time=60)
    children = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children")
    if not children.exists():
        pytest.skip("the kernel does not list children")
    # The worker, and the shell that watches over it.
    wait_until(lambda: len(children.read_text().split()) == 2, "the worker", 20)
    time.sleep(0.3)
    pids = [int(pid) for pid in children.read_text().split()]
    assert len(pids) == 2
    run.end(number)
    for pid in pids:
        wait_until_gone(pid)


def test_an_engine_killed_by_hand_is_told_and_replaced(pytester, llm_pytest, wait_until_gone):
    pytester.makepyfile("""
        import os
        import signal

        def test_kill(llm):
            os.kill(llm.engine().pid, signal.SIGKILL)
            llm.generate("abc", output_len=2)

        def test_next(llm):
            assert llm.generate("abc", output_len=2)
    """)
    run = llm_pytest("-v")
    run.assert_outcomes(failed=1, passed=1)
    run.stdout.fnmatch_lines(["*::test_kill* FAILED*", "*::test_next* PASSED*"])
    assert "the engine's process was killed by SIGKILL" in run.stdout.str()
