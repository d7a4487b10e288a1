"""Counters of Linux' /proc: cores, processes, swap. No /proc, no answer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True)
class CpuTicks:
    """All cores together since the machine started, in ticks."""

    total: int
    busy: int
    """Used by processes: not by interrupts, and not taken by the hypervisor."""
    steal: int
    """Taken by the hypervisor for other guests."""


@dataclass(frozen=True)
class Process:
    """What /proc/PID/stat says."""

    parent: int
    session: int
    ticks: int
    """Used by the process and by those of its children that it has waited for."""


def parse_cpu(text: str) -> CpuTicks | None:
    """Parse the first line of /proc/stat."""
    words = text.partition("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return None
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, words[1:9])
    # The two numbers after these, for guests of this machine, are in user and nice already.
    total = user + nice + system + idle + iowait + irq + softirq + steal
    return CpuTicks(total, user + nice + system, steal)


def parse_process(text: str) -> Process | None:
    """Parse /proc/PID/stat; the name in parentheses may hold anything, parentheses too."""
    words = text.rpartition(")")[2].split()
    if len(words) < 15:
        return None
    return Process(int(words[1]), int(words[3]), sum(map(int, words[11:15])))


def parse_swapped(text: str) -> int | None:
    """Parse pages in and out from /proc/vmstat."""
    counters = dict(line.split() for line in text.splitlines())
    if "pswpin" not in counters or "pswpout" not in counters:
        return None
    return int(counters["pswpin"]) + int(counters["pswpout"])


def process(pid: int, proc: Path = PROC) -> Process | None:
    """Return a process as it is now; None when it has ended."""
    return parse_process(read(proc / str(pid) / "stat"))


def session_ticks(proc: Path) -> int:
    """Return the ticks of this process and, where it leads a session as a worker does, of the others.

    A child that ends is counted on by the parent that waits for it, so the sum never jumps.
    """
    own = os.getpid()
    if os.getsid(0) != own:
        found = process(own, proc)
        return found.ticks if found else 0
    return sum(p.ticks for p in _processes(proc) if p.session == own)


def _processes(proc: Path) -> Iterator[Process]:
    try:
        pids = [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()]
    except OSError:
        return
    for pid in pids:
        found = process(pid, proc)
        if found is not None:
            yield found


def read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
