"""The processes that an engine has started: one that dies is seen at once, not at the time limit."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ..core.printable import printable
from ..machine import proc

_GRACE = 30.0
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
    """The child processes of a loaded engine, watched by a thread that only waits."""

    def __init__(self, report: Callable[[str], None], work: Callable[[], int | None]) -> None:
        """Watch nothing yet.

        Args:
            report: called once, with a line on the first process that died.
            work: returns a number that changes as the engine works; None while it has nothing to do.
        """
        self._report = report
        self._work = work
        self._over = False

    def ignore(self) -> None:
        """Report nothing from now on: the engine ends its processes."""
        self._over = True

    def watch(self) -> None:
        """Watch the children that this process has now; without pidfds, watch none."""
        watched = {}
        for pid in proc.children(os.getpid()):
            with suppress(OSError, AttributeError):
                watched[os.pidfd_open(pid)] = f"{_name(pid)} (process {pid})"
        if watched:
            threading.Thread(target=self._wait, args=(watched,), daemon=True).start()

    def _wait(self, watched: Mapping[int, str]) -> None:
        poll = select.poll()
        for fd in watched:
            poll.register(fd, select.POLLIN)
        for _ in watched:
            ((fd, _), *_) = poll.poll()
            poll.unregister(fd)
            status = _status(fd)
            os.close(fd)
            crashed = status is not None and status < 0 and status not in _BY_DESIGN
            if self._over or status == 0 or not (crashed or self._stands_still()):
                continue
            how = "has ended" if status is None else how_it_ended(status)
            self._report(f"the engine's {watched[fd]} {how}")
            return

    def _stands_still(self) -> bool:
        """Return whether the engine makes no step for a while, though it has something to do."""
        before = self._work()
        time.sleep(_GRACE)
        return not self._over and before is not None and self._work() == before


def _status(fd: int) -> int | None:
    """Return the exit code of a process that has ended, or its negative signal; None if unknown.

    The process stays for the engine to wait for.
    """
    try:
        ended = os.waitid(os.P_PIDFD, fd, os.WEXITED | os.WNOWAIT | os.WNOHANG)
    except OSError:
        return None  # The engine has waited for it.
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _name(pid: int) -> str:
    words = proc.read(Path("/proc") / str(pid) / "cmdline").split("\0")
    return printable(Path(words[0]).name[:60] or "child")
