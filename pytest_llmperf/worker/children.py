"""The processes that an engine has started: one that dies is seen at once, not at the time limit."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..core.printable import printable
from ..machine import proc

_GRACE = 10.0
"""Seconds without a step of its work after which an engine does not go on without a process."""
_BY_DESIGN = (-signal.SIGTERM, -signal.SIGINT)
"""An engine may end its helpers itself, so these alone are not a reason."""


def how_it_ended(status: int) -> str:
    """Return how a process ended, from its exit code or, negative, its signal."""
    if status == -signal.SIGKILL:
        return "was killed by SIGKILL (out of memory, or by hand)"
    if status < 0:
        return f"was killed by {_signal_name(-status)}"
    return f"ended unexpectedly with exit code {status}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # A real-time signal.
        return f"signal {number}"


class Children:
    """The child processes of a loaded engine, each watched by a thread that only waits."""

    def __init__(self, report: Callable[[str], None], work: Callable[[], int | None]) -> None:
        """Watch nothing yet.

        Args:
            report: called with a line on each process that died.
            work: returns a number that changes as the engine works; None while it has nothing to do.
        """
        self._report = report
        self._work = work
        self._over = False

    def ignore(self) -> None:
        """Report nothing from now on: the engine ends its processes."""
        self._over = True

    def watch(self) -> None:
        """Watch the children that this process has now."""
        for pid in proc.children(os.getpid()):
            # Where no thread can be started, the time limit is left.
            with suppress(RuntimeError):
                threading.Thread(target=self._wait, args=(pid, _name(pid)), daemon=True).start()

    def _wait(self, pid: int, name: str) -> None:
        status = _wait_for(pid)
        crashed = status is not None and status < 0 and status not in _BY_DESIGN
        if self._over or status == 0 or not (crashed or self._stands_still()):
            return
        how = "has ended" if status is None else how_it_ended(status)
        self._report(f"the engine's {name} (process {pid}) {how}")

    def _stands_still(self) -> bool:
        """Return whether the engine makes no step for a while, though it has something to do."""
        before = self._work()
        time.sleep(_GRACE)
        return not self._over and before is not None and self._work() == before


def _wait_for(pid: int) -> int | None:
    """Wait for the end of a child; return its exit code, or its negative signal.

    The child stays for the engine to wait for. If the engine was first, the status is unknown: None.
    """
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    except OSError:
        return None
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _name(pid: int) -> str:
    words = proc.read(Path("/proc") / str(pid) / "cmdline").split("\0")
    return printable(Path(words[0]).name[:60] or "child")
