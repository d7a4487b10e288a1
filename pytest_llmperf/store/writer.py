"""The process that writes a journal: its number, and the starts that tell it from a later one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Writer:
    """A process that wrote into a journal."""

    pid: int
    start: int | None
    """Its ``_process_start``; None if unknown."""
    boot: str | None
    """The ``_boot`` of the machine when it ran; None if unknown."""

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> Writer:
        """Return the process that wrote a header; one that has ended where the header is damaged."""
        pid, start, boot = (header.get(key) for key in ("pid", "process_start", "boot"))
        return cls(
            pid=pid if isinstance(pid, int) else 0,
            start=start if isinstance(start, int) else None,
            boot=boot if isinstance(boot, str) else None,
        )

    @property
    def is_alive(self) -> bool:
        """Return whether this process of this machine lives; a later one may have the same number."""
        if self.pid <= 0:
            return False
        if self.boot is not None and _boot() not in (None, self.boot):
            return False
        try:
            os.kill(self.pid, 0)
        except PermissionError:
            pass  # It belongs to another user, and is alive.
        except (OSError, OverflowError):
            return False
        now = _process_start(self.pid)
        return self.start is None or now is None or self.start == now


def identity() -> dict[str, Any]:
    """Return what a header says about this process."""
    pid = os.getpid()
    return {"pid": pid, "process_start": _process_start(pid), "boot": _boot()}


def _boot() -> str | None:
    """Return the id that the kernel has given to this start of the machine; None where unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip() or None
    except (OSError, ValueError):
        return None


def _process_start(pid: int) -> int | None:
    """Return when a process began, in clock ticks since the machine's start; None where unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
        # Field 22; the second field, the name in parentheses, may hold spaces.
        return int(text.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
