"""What the sides of ``pytest-llmperf ab`` and their arbiter say to each other, one JSON object per line.

An engine's process connects for each piece of its work, and says first ``{"asks": "work"}``. Before
each round it says where it is and what it wants, such as ``{"asks": "wants", "at": [1, 7]}``. The
arbiter answers each of them when it is this side's turn: ``{"goes": true, "beside": true}``. A turn ends
when its side asks for the next one, or closes the connection.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

PATH = "PYTEST_LLMPERF_TURNS"
"""Environment variable: the Unix socket where a side asks for its turns. Without it, or where nobody
listens, a side runs alone."""
WAITING = "turn"
"""Phase of the progress of an engine that waits for its turn, however long that takes."""
WORKING = "work"
"""Phase after that, for work whose limit begins now: it reports no phase of its own."""
WARM_UP, ROUND = 0, 1
"""The parts of a measurement, in their order."""
PATIENCE = 900.0
"""Seconds without a sign of the other side after which a side goes on alone: the default of
``--llm-timeout``."""


class Asks(StrEnum):
    """What a side asks for."""

    WORK = "work"
    """To work while the other side rests: a load, a check, what stands before and after rounds."""
    NEEDS = "needs"
    """A round, whatever the other side wants: their number is fixed, or the minimum is not reached."""
    WANTS = "wants"
    """A round: the medians are not known yet."""
    ENOUGH = "enough"
    """No round of its own, but one more if the other side wants it."""
    OVER = "over"
    """No further round: their number is fixed, or the time is up."""


@dataclass(frozen=True)
class Request:
    """A side asks for a turn."""

    asks: Asks
    at: tuple[int, int] = (-1, 0)
    """``WARM_UP`` or ``ROUND``, and the number of the round, from 0."""
    patience: float = PATIENCE
    """Seconds without a sign of the other side after which it goes on alone."""
    no_room: str = ""
    """Why no second engine can be loaded beside this one; empty if one can."""

    def line(self) -> bytes:
        """Return the message."""
        fields = {"asks": self.asks.value, "at": self.at, "patience": self.patience}
        return _line({**fields, "no_room": self.no_room})

    @classmethod
    def of_line(cls, line: bytes) -> Request:
        """Return the request of a message.

        Raises:
            ValueError: it is none.
        """
        try:
            data = json.loads(line)
            part, number = data["at"]
            at = (int(part), int(number))
            return cls(Asks(data["asks"]), at, float(data["patience"]), str(data["no_room"]))
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not a request for a turn: {error}") from None


@dataclass(frozen=True)
class Turn:
    """The arbiter's answer: now it is this side's turn."""

    goes: bool
    """Whether the round takes place; False: the rounds are over."""
    beside: bool = False
    """Whether the round alternates with one of the other side."""

    def line(self) -> bytes:
        """Return the message."""
        return _line({"goes": self.goes, "beside": self.beside})

    @classmethod
    def of_line(cls, line: bytes) -> Turn:
        """Return the answer of a message.

        Raises:
            ValueError: it is none.
        """
        data = json.loads(line)
        return cls(bool(data["goes"]), bool(data["beside"]))


def _line(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode() + b"\n"
