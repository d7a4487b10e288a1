"""Other activity on the machine: from processes with a known CPU time, and from texts like /proc's."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmperf.machine import conditions
from pytest_llmperf.machine.conditions import Snapshot, between
from pytest_llmperf.machine.proc import (
    CpuTicks,
    Process,
    parse_cpu,
    parse_process,
    parse_swapped,
    process,
)

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")

# A process that leads its own session, as the engine's process does, starts a burner, which uses CPU
# time. The burner is stopped before the last reading, so that its CPU time by then is known exactly.
# `busy` includes the CPU time of other processes on this machine.
BURN = """
import json, os, signal, subprocess, sys, time
from pytest_llmperf.machine.conditions import Snapshot, between
from pytest_llmperf.machine.proc import process

os.setsid()
before = Snapshot.take()
burner = subprocess.Popen(
    [sys.executable, "-S", "-c", "while True: pass"], start_new_session={foreign}
)
tick = 1 / os.sysconf("SC_CLK_TCK")
start = time.monotonic()
while process(burner.pid).ticks * tick < 1 or time.monotonic() - start < 1:
    time.sleep(0.02)
if {ended}:
    burner.kill()
    used = os.wait4(burner.pid, 0)[2]
    after = Snapshot.take()
else:
    burner.send_signal(signal.SIGSTOP)
    os.waitpid(burner.pid, os.WUNTRACED)
    after = Snapshot.take()
    burner.kill()
    used = os.wait4(burner.pid, 0)[2]
seconds = after.clock - before.clock
print(json.dumps({{
    "burnt": (used.ru_utime + used.ru_stime) / seconds,
    "busy": (after.cpu.busy - before.cpu.busy) * tick / seconds,
    **between(before, after),
}}))
"""


def burn(foreign, ended):
    """Return cores used by the burner, by all processes, and by other processes as they are counted."""
    code = BURN.format(foreign=foreign, ended=ended)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    cores = json.loads(done.stdout)
    assert cores["burnt"] > 0.1
    return cores["burnt"], cores["busy"], cores["other_cores"]


@linux
def test_a_foreign_process_counts():
    burnt, busy, others = burn(foreign=True, ended=False)
    assert burnt * 0.8 < others < busy + 0.01


@linux
@pytest.mark.parametrize("ended", [False, True])
def test_a_child_of_the_session_does_not_count(ended):
    burnt, busy, others = burn(foreign=False, ended=ended)
    assert others == pytest.approx(busy - burnt, abs=0.2 * burnt)


@linux
def test_outside_a_session_of_its_own_this_process_alone_is_own(monkeypatch):
    monkeypatch.setattr(conditions.os, "getsid", lambda pid: 1)
    before = Snapshot.take()
    sum(range(30_000_000))
    after = Snapshot.take()
    this_process = process(int(Path("/proc/self").readlink().name))
    assert before.session < after.session <= this_process.ticks


CPU = "cpu  {} {} {} {} {} {} {} {} 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 5\n"
BEFORE = Snapshot(
    clock=100.0, cpu=CpuTicks(total=10_000, busy=3000, steal=50), session=1000, swapped=7
)


def after(seconds=10.0, **changes):
    """Return the counters that many seconds later, with these changes of the CPU's ticks."""
    cpu = replace(BEFORE.cpu, **{k: getattr(BEFORE.cpu, k) + v for k, v in changes.items()})
    return replace(BEFORE, clock=BEFORE.clock + seconds, cpu=cpu)


def test_the_first_line_of_stat_is_all_cores():
    # user nice system idle iowait irq softirq steal, then guests, which are part of user and nice.
    assert parse_cpu(CPU.format(100, 20, 30, 700, 60, 5, 6, 40)) == CpuTicks(961, 150, 40)


@pytest.mark.parametrize("text", ["", "intr 5\n", "cpu  1 2 3 4\n"])
def test_a_stat_that_is_none_says_nothing(text):
    assert parse_cpu(text) is None


def test_a_process_counts_the_children_that_it_waited_for():
    text = "42 (a) b (c) R 7 42 40 0 -1 4194304 98 0 0 0 11 22 33 44 20 0 1 0 1219843 3133440 390 1"
    assert parse_process(text) == Process(parent=7, session=40, ticks=11 + 22 + 33 + 44)
    assert parse_process("") is None


def test_swapped_pages_are_those_in_and_out():
    assert parse_swapped("nr_free_pages 9\npswpin 3\npswpout 4\n") == 7
    assert parse_swapped("nr_free_pages 9\n") is None


def test_shares_and_cores_are_differences():
    later = replace(
        after(total=2000, busy=900, steal=30), session=BEFORE.session + 600, swapped=7 + 512
    )
    assert between(BEFORE, later, tick=0.01, page=4096) == {
        "steal_share": 30 / 2000,
        "other_cores": (900 - 600) * 0.01 / 10,
        "swapped_mib": 2.0,
    }


def test_other_cores_are_never_negative():
    later = replace(after(total=2000, busy=590), session=BEFORE.session + 600)
    assert between(BEFORE, later, tick=0.01)["other_cores"] == 0


def test_too_short_a_time_says_nothing_about_cores():
    assert between(BEFORE, after(0.4, total=80, busy=40)) == {"swapped_mib": 0}


def test_counters_that_stand_still_say_nothing_about_cores():
    # As in a sandbox where the file exists but nothing is counted.
    assert between(BEFORE, after(total=0)) == {"swapped_mib": 0}


def test_a_system_without_counters_says_nothing(tmp_path):
    before = Snapshot.take(tmp_path / "none")
    assert (before.cpu, before.session, before.swapped) == (None, 0, None)
    assert between(before, replace(before, clock=before.clock + 9)) == {}


def test_a_worker_counts_the_processes_of_its_session(tmp_path, monkeypatch):
    monkeypatch.setattr(conditions.os, "getpid", lambda: 40)
    monkeypatch.setattr(conditions.os, "getsid", lambda pid: 40)
    for pid, session, ticks in ((40, 40, 1), (41, 40, 10), (42, 7, 100)):
        folder = tmp_path / str(pid)
        folder.mkdir()
        stat = f"{pid} (python) S 1 {pid} {session} 0 -1 0 0 0 0 0 {ticks} 0 0 0 20"
        (folder / "stat").write_text(stat)
    (tmp_path / "43").mkdir()  # This process has ended in the meantime.
    (tmp_path / "stat").write_text(CPU.format(1, 2, 3, 4, 5, 6, 7, 8))
    (tmp_path / "vmstat").write_text("pswpin 1\npswpout 2\n")
    snapshot = Snapshot.take(tmp_path)
    assert (snapshot.session, snapshot.cpu, snapshot.swapped) == (11, CpuTicks(36, 6, 8), 3)
