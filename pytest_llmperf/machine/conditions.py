"""What else the machine did while the rounds ran, from the kernel's own counters. No /proc, no answer.

Counters are read before the first round and after the last: nothing runs inside a round.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ..core.units import MIB
from .proc import PROC, CpuTicks, parse_cpu, parse_swapped, read, session_ticks

SHORTEST = 0.5
"""Seconds. The kernel counts in ticks of 10 ms: in less, rounding looks like a busy neighbour."""


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
        own = session_ticks(proc)
        return cls(
            clock=time.monotonic(),
            cpu=parse_cpu(read(proc / "stat")),
            own=own,
            swapped=parse_swapped(read(proc / "vmstat")),
        )


def between(
    before: Snapshot, after: Snapshot, tick: float | None = None, page: int | None = None
) -> dict[str, float]:
    """Return ``steal_share``, ``other_cores`` and ``swapped_mib``, as far as the system has them.

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
        found["swapped_mib"] = round((after.swapped - before.swapped) * page / MIB, 3)
    return found
