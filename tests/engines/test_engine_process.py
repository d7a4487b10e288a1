"""Real child processes that must not outlive the run."""

import signal
import subprocess
import sys
import time

LONG = """
    from pathlib import Path

    def test_long(llm, llm_benchmark):
        Path("pid").write_text(str(llm.engine().pid))
        llm_benchmark(llm, input_len=8, output_len=2000)
"""


def wait_until(condition, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return condition()


def test_vllm_leaves_no_process_when_pytest_is_killed(pytester, monkeypatch, session_processes):
    # With the engine core in a separate process, so that there is a grandchild that could stay.
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
