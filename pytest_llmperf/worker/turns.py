"""The engine's end of the turns of two sides: it asks ``pytest-llmperf ab``, and rests until it may go.

Between its turns an engine's process reads from a socket and does nothing else.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..backends.base import Backend
from ..core.engine import EngineInfo
from ..core.progress import Progress
from ..core.turns import PATH, PATIENCE, WAITING, WORKING, Asks, Request, Turn
from ..machine import memory
from ..machine.gpus import Gpus

_ROOM = 1.1
"""Free memory that another engine needs, as a multiple of this one's: it may be the larger one."""


class Turns:
    """The turns of one piece of work. Without an arbiter every turn is this side's."""

    def __init__(
        self,
        connection: socket.socket | None,
        report: Progress,
        patience: float = PATIENCE,
        no_room: str = "",
    ) -> None:
        """Keep the connection to the arbiter; the other arguments are those of ``Request``."""
        self._connection = connection
        self._answers = connection.makefile("rb") if connection else None
        self._report = report
        self._patience = patience
        self._no_room = no_room
        self.waited = 0.0
        """Seconds spent waiting."""
        self.beside = False
        """Whether the last turn was for a round that alternates with one of the other side."""

    @property
    def are_shared(self) -> bool:
        """Return whether there is an arbiter."""
        return self._connection is not None

    def goes_on(self, asks: Asks, at: tuple[int, int] = (-1, 0)) -> bool:
        """End the turn before and wait for the next one; return whether the asked work takes place."""
        self.beside = False
        alone = asks not in (Asks.ENOUGH, Asks.OVER)
        if self._connection is None or self._answers is None:
            return alone
        self._report(WAITING, 0, 0)
        begin = time.perf_counter()
        try:
            self._connection.sendall(Request(asks, at, self._patience, self._no_room).line())
            turn = Turn.of_line(self._answers.readline())
        except (OSError, ValueError):  # The arbiter has ended, or takes this side for dead.
            self.close()
            turn = Turn(goes=alone)
        self.waited += time.perf_counter() - begin
        self.beside = turn.beside
        if asks is Asks.WORK or not turn.goes:
            self._report(WORKING, 0, 0)
        return turn.goes

    def close(self) -> None:
        """End the last turn."""
        connection, self._connection = self._connection, None
        if connection is not None:
            # A child of the engine may hold the same connection, so closing it is not enough.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        if self._answers is not None:
            self._answers.close()


@contextmanager
def turns(report: Progress, patience: float = PATIENCE, no_room: str = "") -> Iterator[Turns]:
    """Wait until the other side rests, and hold the turn until the block ends."""
    taken = Turns(_connected(), report, patience, no_room)
    try:
        taken.goes_on(Asks.WORK)
        yield taken
    finally:
        taken.close()


def _connected() -> socket.socket | None:
    path = os.environ.get(PATH)
    if not path:
        return None
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError:  # Nobody listens: the sides run one after the other.
        connection.close()
        return None
    return connection


def why_no_room(backend: Backend, info: EngineInfo) -> str:
    """Return why an engine as large as this one cannot be loaded beside it; empty if it can."""
    if not os.environ.get(PATH):
        return ""
    if info.device.startswith("cuda"):
        if backend.peak_by_driver:
            return f"{backend.name}'s memory is counted by the driver, for the whole GPU"
        cards = Gpus(os.environ).memory_mib()
        if cards is None:
            return "the free memory of the GPU is not known"
        reasons = [_why_not("a GPU", used, total - used) for used, total in cards]
        return next(filter(None, reasons), "")
    free = memory.available_mib()
    return "" if free is None else _why_not("this machine", memory.peak_mib(), free)


def _why_not(where: str, used: float, free: float) -> str:
    if free >= _ROOM * used:
        return ""
    return (
        f"two engines do not fit into the memory of {where}: one uses {used:,.0f} MiB, and "
        f"{free:,.0f} MiB are free"
    )
