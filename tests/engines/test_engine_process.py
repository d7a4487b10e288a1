"""A real engine that dies, and real child processes that must not stay behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

KILLED = """
    import os, signal, threading

    def test_killed(llm, llm_benchmark):
        pid = llm.engine().pid
        threading.Timer(1.0, os.kill, (pid, signal.SIGKILL)).start()
        llm_benchmark(llm, input_len=8, output_len=400)

    def test_next(llm, llm_benchmark):
        result = llm_benchmark(llm, input_len=8, output_len=4, rounds=1, warmup=1)
        assert result.e2e.n == 1
        assert llm.engine().number == 2
"""
LONG = """
    from pathlib import Path

    def test_long(llm, llm_benchmark):
        Path("pid").write_text(str(llm.engine().pid))
        llm_benchmark(llm, input_len=8, output_len=2000)
"""


def session_processes(session: int) -> list[int]:
    """Every process of a session: an engine and whatever it has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if os.getsid(int(entry.name)) == session and state != "Z":
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def wait_until(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return condition()


def test_a_killed_engine_costs_its_own_test_only(pytester):
    pytester.makepyfile(KILLED)
    result = pytester.runpytest_subprocess("--llm-backend=transformers")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "smollm2-135m-transformers-none: the engine's process was killed by SIGKILL "
            "(out of memory, or by hand); log: *smollm2-135m-transformers-none.log"
        ]
    )


def test_vllm_leaves_no_process_when_pytest_is_killed(pytester, monkeypatch):
    # With its core in a process of its own, so that there is a grandchild to leave behind.
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    pytester.makepyfile(LONG)
    command = [sys.executable, "-m", "pytest", "--llm-backend=vllm"]
    with subprocess.Popen(command, cwd=pytester.path, stdout=subprocess.DEVNULL) as run:
        pid_file = pytester.path / "pid"
        try:
            assert wait_until(pid_file.exists, 180)
            engine = int(pid_file.read_text())
            assert len(session_processes(engine)) > 1
        finally:
            run.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not session_processes(engine), 10)


def test_vllm_leaves_no_process_after_a_normal_run(pytester, monkeypatch):
    monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "1")
    pytester.makepyfile(LONG.replace("2000", "4"))
    result = pytester.runpytest_subprocess("--llm-backend=vllm", "--llm-rounds=1")
    result.assert_outcomes(passed=1)
    assert not session_processes(int((pytester.path / "pid").read_text()))
