"""Counters from /proc on Linux: cores, processes, swap. Without /proc they are missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class CpuTicks:
    """Ticks of all cores together since the machine started."""

    total: int
    busy: int
    """Ticks used by processes, without interrupts and without the hypervisor's share."""
    steal: int
    """Ticks that the hypervisor gave to other guests."""


@dataclass(frozen=True)
class Process:
    """One process, from /proc/PID/stat."""

    parent: int
    session: int
    ticks: int
    """Ticks used by the process and by the children that it has waited for."""


def parse_cpu(text: str) -> CpuTicks | None:
    """Return the ticks in the first line of /proc/stat, or None if it is not that file."""
    words = text.partition("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return None
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, words[1:9])
    # The next two numbers, for guests of this machine, are already part of user and nice.
    total = user + nice + system + idle + iowait + irq + softirq + steal
    return CpuTicks(total, user + nice + system, steal)


def parse_process(text: str) -> Process | None:
    """Return the process in the text of /proc/PID/stat, or None if it is not that file.

    The name in parentheses may contain anything, even parentheses.
    """
    words = text.rpartition(")")[2].split()
    if len(words) < 15:
        return None
    return Process(int(words[1]), int(words[3]), sum(map(int, words[11:15])))


def parse_swapped(text: str) -> int | None:
    """Return the pages swapped in and out, from the text of /proc/vmstat; None if it lacks them."""
    counters = dict(line.split() for line in text.splitlines())
    if "pswpin" not in counters or "pswpout" not in counters:
        return None
    return int(counters["pswpin"]) + int(counters["pswpout"])


def process(pid: int, proc: Path = PROC) -> Process | None:
    """Return the current state of a process, or None if it has ended."""
    return parse_process(read(proc / str(pid) / "stat"))


def session_ticks(proc: Path) -> int:
    """Return the ticks of this process and, if it leads a session as a worker does, of its session.

    The ticks of a child that has ended are added to those of the parent that waits for it, so the sum
    never jumps.
    """
    pid = os.getpid()
    if os.getsid(0) != pid:
        this_process = process(pid, proc)
        return this_process.ticks if this_process else 0
    return sum(p.ticks for _, p in _processes(proc) if p.session == pid)


def children(pid: int, proc: Path = PROC) -> list[int]:
    """Return the processes that a process has started and not waited for."""
    return [child for child, running in _processes(proc) if running.parent == pid]


def _processes(proc: Path) -> Iterator[tuple[int, Process]]:
    try:
        pids = [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()]
    except OSError:
        return
    for pid in pids:
        running = process(pid, proc)
        if running is not None:
            yield pid, running


def read(path: Path) -> str:
    """Return the text of a file; empty if it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
