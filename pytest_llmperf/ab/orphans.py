"""Processes that a run leaves behind: this process adopts them and ends them.

They would take time and memory from the next run, and outlive the comparison. A process group does not
hold them, because a process can leave its group. The parent of one that has lost its own is the nearest
ancestor that asked for it (Linux).
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_GRACE = 5.0
"""Seconds for those that end by themselves after their parent, such as a tracker of shared memory."""
_TIMEOUT = 10.0
"""Seconds more: a process in the kernel (a driver's call) may not end at once."""


@contextmanager
def ended(report: Callable[[list[str]], None]) -> Iterator[None]:
    """End the processes that the block leaves behind.

    Args:
        report: called with their names, if there are any.
    """
    adopts = _adopt()
    before = set(_children())
    try:
        yield
    finally:
        names = _end(before) if adopts else []
        if names:
            report(names)


def _end(spared: set[int]) -> list[str]:
    """End all children but some, and the children that they leave; return the names of the killed."""
    killed = {}
    start = time.monotonic()
    while left := _living(spared):
        if time.monotonic() - start > _GRACE + _TIMEOUT:
            break
        if time.monotonic() - start > _GRACE:
            for pid in left:
                killed[pid] = _name(pid)
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return sorted(set(killed.values()))


def _living(spared: set[int]) -> list[int]:
    """Return the children that live, but some; take leave of those that have ended."""
    living = []
    for pid in set(_children()) - spared:
        ended = 0
        with suppress(OSError):
            ended, _ = os.waitpid(pid, os.WNOHANG)
        if not ended:
            living.append(pid)
    return living


def _adopt() -> bool:
    """Become the parent of descendants that lose theirs; return whether the system can do that."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (OSError, AttributeError):  # Not Linux.
        return False


def _children() -> list[int]:
    own = str(os.getpid())
    folders = Path("/proc").glob("[0-9]*")
    return [int(folder.name) for folder in folders if _parent(folder) == own]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", errors="replace").strip()
    except OSError:
        return f"process {pid}"


def _parent(folder: Path) -> str:
    """Return the parent of a process, by its folder in /proc; empty if it has ended."""
    try:
        text = (folder / "stat").read_text("utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[1]
