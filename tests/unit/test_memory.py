"""Peaks of processes that the tests start: the memory of this process includes other tests."""

import json
import subprocess
import sys

import pytest

from pytest_llmperf.machine import memory

if sys.platform != "linux":
    pytest.skip("peaks are reset through /proc", allow_module_level=True)

START = """
import json, os, subprocess, sys
from pytest_llmperf.machine import memory

def own_peak():
    return memory._status_kib(os.getpid(), "VmHWM") / 1024
"""
# Pages count once they are written to.
HOLD_200_MIB = """
block = bytearray(200 * 2**20)
block[::4096] = b"x" * len(block[::4096])
"""
CHILD = (
    HOLD_200_MIB
    + """
print("ready", flush=True)
input()
"""
)


def run(*parts):
    """Return the JSON output of a process that leads its own session, as the engine's process does."""
    return run_in_this_session("os.setsid()", *parts)


def run_in_this_session(*parts):
    code = "\n".join([START, *parts])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_peak_grows_by_what_was_written_to():
    before, after = run(
        "memory.reset_peak()",
        "before = memory.peak_mib()",
        HOLD_200_MIB,
        "print(json.dumps([before, memory.peak_mib()]))",
    )
    assert after - before == pytest.approx(200, rel=0.02)


def test_the_peak_stays_when_memory_is_freed():
    before, after = run(
        "memory.reset_peak()",
        "before = memory.peak_mib()",
        HOLD_200_MIB,
        "del block",
        "print(json.dumps([before, memory.peak_mib()]))",
    )
    assert after - before == pytest.approx(200, rel=0.02)


def test_a_reset_forgets_what_was_freed():
    before, after = run(
        "memory.reset_peak()",
        "before = memory.peak_mib()",
        HOLD_200_MIB,
        "del block",
        "memory.reset_peak()",
        "print(json.dumps([before, memory.peak_mib()]))",
    )
    assert after == pytest.approx(before, abs=4)


def test_a_reset_keeps_what_is_still_held():
    before, after = run(
        "memory.reset_peak()",
        "before = memory.peak_mib()",
        HOLD_200_MIB,
        "memory.reset_peak()",
        "print(json.dumps([before, memory.peak_mib()]))",
    )
    assert after - before == pytest.approx(200, rel=0.02)


START_CHILD = f"""
child = subprocess.Popen(
    [sys.executable, "-S", "-c", {CHILD!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE
)
child.stdout.readline()
"""


def test_a_child_process_of_the_engine_counts():
    parent_peak, peak = run(
        START_CHILD,
        "print(json.dumps([own_peak(), memory.peak_mib()]))",
        "child.kill()",
    )
    assert parent_peak < 100
    assert peak - parent_peak > 200


def test_what_a_child_shares_with_the_engine_counts_once():
    alone, together = run(
        HOLD_200_MIB,
        "alone = memory.peak_mib()",
        "reading, writing = os.pipe()",
        """
if os.fork() == 0:
    os.close(writing)
    os.read(reading, 1)  # Until the parent has ended.
    os._exit(0)
""",
        "print(json.dumps([alone, memory.peak_mib()]))",
    )
    assert together - alone < 20


def test_outside_a_session_of_its_own_no_other_process_counts():
    parent_peak, peak = run_in_this_session(
        "memory.reset_peak()",
        START_CHILD,
        "print(json.dumps([own_peak(), memory.peak_mib()]))",
        "child.kill()",
    )
    assert peak == pytest.approx(parent_peak, abs=1)


class Card:
    """A driver's count of used MiB at each question; None if the driver cannot be asked."""

    def __init__(self, *counts):
        self.counts = list(counts)

    def used_mib(self):
        return self.counts.pop(0)


def test_memory_of_a_gpu_is_what_was_taken_since_before_the_load(monkeypatch):
    monkeypatch.setattr(memory, "Gpus", lambda environ: Card(1000.0, 3500.0, 900.0))
    window = memory.DeviceMemory()
    assert window.mib() == 2500.0
    assert window.mib() == 0.0


def test_memory_of_a_gpu_without_a_driver_to_ask_says_what_to_install(monkeypatch):
    monkeypatch.setattr(memory, "Gpus", lambda environ: Card(None))
    with pytest.raises(RuntimeError, match=r"pip install 'pytest-llmperf\[gpu\]'$"):
        memory.DeviceMemory()
