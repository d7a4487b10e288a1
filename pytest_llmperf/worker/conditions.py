"""What else the machine did while the rounds ran, from the kernel's own counters. No /proc, no answer.

Counters are read before the first round and after the last: nothing runs inside a round.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
SHORTEST = 0.5
"""Seconds. The kernel counts in ticks of 10 ms: in less, rounding alone looks like a busy neighbour."""
_MIB = 2**20


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


@dataclass(frozen=True)
class Snapshot:
    """The counters at one moment; None where the system does not say."""

    clock: float
    """Reading of a monotonic clock, in seconds."""
    cpu: CpuTicks | None
    own: int
    """Ticks used so far by this session's processes."""
    swapped: int | None
    """Pages read from or written to swap so far."""

    @classmethod
    def take(cls, proc: Path = PROC) -> Snapshot:
        """Read now. Own ticks go first each time, so that what reading costs cancels out."""
        own = _own_ticks(proc)
        return cls(
            clock=time.monotonic(),
            cpu=parse_cpu(_text(proc / "stat")),
            own=own,
            swapped=parse_swapped(_text(proc / "vmstat")),
        )


def between(
    before: Snapshot, after: Snapshot, tick: float | None = None, page: int | None = None
) -> dict[str, float]:
    """``steal_share``, ``other_cores`` and ``swapped_mib``, as far as the system tells them.

    Args:
        tick: seconds; None asks the system.
        page: bytes; None asks the system.
    """
    found = {}
    seconds = after.clock - before.clock
    if before.cpu is not None and after.cpu is not None and seconds >= SHORTEST:
        total = after.cpu.total - before.cpu.total
        # A sandbox may have the file without counting anything.
        if total > 0:
            tick = 1 / os.sysconf("SC_CLK_TCK") if tick is None else tick
            others = after.cpu.busy - before.cpu.busy - (after.own - before.own)
            found["steal_share"] = round(max(0, after.cpu.steal - before.cpu.steal) / total, 4)
            found["other_cores"] = round(max(0.0, others * tick / seconds), 3)
    if before.swapped is not None and after.swapped is not None:
        page = os.sysconf("SC_PAGE_SIZE") if page is None else page
        found["swapped_mib"] = round((after.swapped - before.swapped) * page / _MIB, 3)
    return found


def parse_cpu(text: str) -> CpuTicks | None:
    """The first line of /proc/stat."""
    words = text.partition("\n")[0].split()
    if len(words) < 9 or words[0] != "cpu":
        return None
    user, nice, system, idle, iowait, irq, softirq, steal = map(int, words[1:9])
    # The two numbers after these, for guests of this machine, are in user and nice already.
    total = user + nice + system + idle + iowait + irq + softirq + steal
    return CpuTicks(total, user + nice + system, steal)


def parse_process(text: str) -> Process | None:
    """/proc/PID/stat; the name in parentheses may hold anything, parentheses too."""
    words = text.rpartition(")")[2].split()
    if len(words) < 15:
        return None
    return Process(int(words[1]), int(words[3]), sum(map(int, words[11:15])))


def parse_swapped(text: str) -> int | None:
    """Pages in and out from /proc/vmstat."""
    counters = dict(line.split() for line in text.splitlines())
    if "pswpin" not in counters or "pswpout" not in counters:
        return None
    return int(counters["pswpin"]) + int(counters["pswpout"])


def process(pid: int, proc: Path = PROC) -> Process | None:
    """A process as it is now; None when it has ended."""
    return parse_process(_text(proc / str(pid) / "stat"))


def _own_ticks(proc: Path) -> int:
    """Of this process and, where it leads a session as a worker does, of that session's others.

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


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
