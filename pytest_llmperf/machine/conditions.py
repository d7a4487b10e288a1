"""Other activity on the machine during the rounds, from the kernel's counters. It needs /proc.

The counters are read before the first round and after the last one: nothing runs inside a round.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ..core.units import MIB
from .proc import PROC, CpuTicks, parse_cpu, parse_swapped, read, session_ticks

SHORTEST = 0.5
"""Minimum seconds. The kernel counts in ticks of 10 ms: in a shorter time, rounding errors look like
a busy neighbor."""


@dataclass(frozen=True)
class Snapshot:
    """The counters at one moment; None if the system does not report one."""

    clock: float
    """Reading of a monotonic clock, in seconds."""
    cpu: CpuTicks | None
    session: int
    """Ticks used so far by the processes of this session."""
    swapped: int | None
    """Pages read from or written to swap so far."""

    @classmethod
    def take(cls, proc: Path = PROC) -> Snapshot:
        """Read the counters now.

        The session's ticks are read first each time, so that the cost of reading cancels out.
        """
        session = session_ticks(proc)
        return cls(
            clock=time.monotonic(),
            cpu=parse_cpu(read(proc / "stat")),
            session=session,
            swapped=parse_swapped(read(proc / "vmstat")),
        )

    def moved(self, begin: Snapshot, end: Snapshot) -> Snapshot:
        """Return this snapshot, later by what was counted between two others.

        ``between`` it and a later one leaves out a pause, in which another engine worked.
        """
        cpu, swapped = self.cpu, self.swapped
        if cpu is not None and begin.cpu is not None and end.cpu is not None:
            cpu = CpuTicks(
                cpu.total + end.cpu.total - begin.cpu.total,
                cpu.busy + end.cpu.busy - begin.cpu.busy,
                cpu.steal + end.cpu.steal - begin.cpu.steal,
            )
        if swapped is not None and begin.swapped is not None and end.swapped is not None:
            swapped += end.swapped - begin.swapped
        clock = self.clock + end.clock - begin.clock
        return Snapshot(clock, cpu, self.session + end.session - begin.session, swapped)


def now(seconds: float = SHORTEST) -> dict[str, float]:
    """Return the activity of the next moment, in which this process does nothing."""
    before = Snapshot.take()
    time.sleep(seconds)
    return between(before, Snapshot.take())


def between(
    before: Snapshot, after: Snapshot, tick: float | None = None, page: int | None = None
) -> dict[str, float]:
    """Return ``steal_share``, ``other_cores`` and ``swapped_mib``, as far as the system reports them.

    Args:
        tick: seconds per tick; None asks the system.
        page: bytes per page; None asks the system.
    """
    activity = {}
    seconds = after.clock - before.clock
    if before.cpu is not None and after.cpu is not None and seconds >= SHORTEST:
        total = after.cpu.total - before.cpu.total
        # In a sandbox the file may exist while its counters stand still.
        if total > 0:
            tick = 1 / os.sysconf("SC_CLK_TCK") if tick is None else tick
            others = after.cpu.busy - before.cpu.busy - (after.session - before.session)
            activity["steal_share"] = round(max(0, after.cpu.steal - before.cpu.steal) / total, 4)
            activity["other_cores"] = round(max(0.0, others * tick / seconds), 3)
    if before.swapped is not None and after.swapped is not None:
        page = os.sysconf("SC_PAGE_SIZE") if page is None else page
        activity["swapped_mib"] = round((after.swapped - before.swapped) * page / MIB, 3)
    return activity
