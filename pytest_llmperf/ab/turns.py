"""The arbiter of two sides whose engines are loaded at once: one of them works, the other rests.

Rounds of the same test alternate: base head, head base, base head. A side waits for the other one as
long as that can still come to the same test, and never longer than its patience without a sign of it.
"""

from __future__ import annotations

import math
import os
import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ..core.turns import Asks, Request, Turn

_LONGEST = 4096
"""Bytes of a request: a side that sends more is not understood."""


@dataclass
class Seat:
    """What the arbiter knows about a side."""

    name: str
    tests: list[str] | None = None
    """The ids of its tests, in their order; None: not known yet."""
    test: str = ""
    """The id of its current test."""
    over: set[str] = field(default_factory=set)
    """Ids of the tests that have ended."""
    has_ended: bool = False
    no_room: str = ""
    """Why no second engine can be loaded beside its own, as its first measurement says."""
    sign: float = math.inf
    """When it was last heard of, or given a turn; infinite before it has begun."""
    begun: Counter[str] = field(default_factory=Counter)
    """By id, the measurements of a test that have begun their rounds; a test may run again."""

    @property
    def has_measured(self) -> bool:
        """Return whether it has come to rounds."""
        return bool(self.begun)


@dataclass(eq=False)
class _Visit:
    """A piece of a side's work: one connection."""

    seat: Seat
    connection: socket.socket
    received: bytes = b""
    request: Request | None = None
    """What it waits for; None while it works."""
    since: float = 0.0
    """When it asked for it."""
    test: str = ""
    """The test whose rounds it measures, and the number of this measurement of it."""
    number: int = 0
    partner: _Visit | None = None
    is_alone: bool = False
    """Whether it measures without a partner."""
    goes: bool | None = None
    """The decision on its next round that was made for both sides."""
    has_left: bool = False
    was_ended: bool = False
    """Whether it was told that its rounds are over."""


class Arbiter:
    """Gives turns to the sides of a pair."""

    def __init__(
        self, first: str, paths: dict[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Listen.

        Args:
            first: the side that begins: its round is the first of even pairs of rounds.
            paths: by the name of a side, the socket where it asks.
            clock: seconds.

        Raises:
            OSError: a socket cannot be made.
        """
        self._first = first
        self._paths = paths
        self._clock = clock
        self.seats = {name: Seat(name) for name in paths}
        self._visits: list[_Visit] = []
        self._holder: _Visit | None = None
        self._selector = selectors.DefaultSelector()
        try:
            for name, path in paths.items():
                self._listen(name, path)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Arbiter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self, name: str, path: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(path)  # noqa: PTH108 - a name of any length.
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._selector.register(listener, selectors.EVENT_READ, self.seats[name])
        listener.bind(path)
        listener.listen()
        listener.setblocking(False)

    def close(self) -> None:
        """End it: who asks from now on runs alone."""
        for key in list(self._selector.get_map().values()):
            self._selector.unregister(key.fileobj)
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        for path in self._paths.values():
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108 - a name of any length.

    def hear(self, seconds: float) -> None:
        """Wait until a side says something, at most so long, and note it."""
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, Seat):
                self._admit(key.fileobj, key.data)
            else:
                self._read(key.data)

    def begins(self, name: str) -> None:
        """Note that a side has started."""
        self.seats[name].sign = self._clock()

    def note(self, name: str, lines: Sequence[Mapping[str, Any]]) -> None:
        """Note what a side's pytest has reported (``session.child``)."""
        seat = self.seats[name]
        for line in lines:
            seat.sign = self._clock()
            if isinstance(line.get("ids"), list):
                seat.tests = [str(one) for one in line["ids"]]
            seat.test = str(line.get("begins", seat.test))
            if "number" in line:
                seat.over.add(str(line.get("test")))

    def give(self) -> None:
        """Give the next turn to whoever may have it."""
        waiting = [visit for visit in self._visits if visit.request is not None]
        for visit in waiting:
            if visit.number == 0 and visit.request and visit.request.asks is not Asks.WORK:
                visit.test = visit.seat.test
                visit.seat.begun[visit.test] += 1
                visit.number = visit.seat.begun[visit.test]
        for visit in sorted(waiting, key=lambda one: one.since):
            if self._holder is not None and not self._is_late(visit):
                continue
            turn = self._turn(visit)
            if turn is not None:
                self._send(visit, turn)
                return

    def _admit(self, listener: object, seat: Seat) -> None:
        assert isinstance(listener, socket.socket)
        with suppress(OSError):
            connection, _ = listener.accept()
            connection.setblocking(False)
            visit = _Visit(seat, connection)
            self._visits.append(visit)
            self._selector.register(connection, selectors.EVENT_READ, visit)

    def _read(self, visit: _Visit) -> None:
        try:
            content = visit.connection.recv(_LONGEST)
        except BlockingIOError:
            return
        except OSError:
            content = b""
        visit.received += content
        if not content or len(visit.received) > _LONGEST:
            self._leave(visit)
            return
        line, newline, rest = visit.received.partition(b"\n")
        if not newline:
            return
        visit.received = rest
        try:
            visit.request = Request.of_line(line)
        except ValueError:
            self._leave(visit)
            return
        visit.since = visit.seat.sign = self._clock()
        visit.seat.no_room = visit.seat.no_room or visit.request.no_room
        if self._holder is visit:
            self._holder = None

    def _leave(self, visit: _Visit) -> None:
        self._selector.unregister(visit.connection)
        visit.connection.close()
        self._visits.remove(visit)
        visit.has_left, visit.request = True, None
        visit.seat.sign = self._clock()
        if self._holder is visit:
            self._holder = None

    def _send(self, visit: _Visit, turn: Turn) -> None:
        visit.request, visit.goes = None, None
        visit.seat.sign = self._clock()
        visit.was_ended = not turn.goes
        self._holder = visit
        try:
            visit.connection.sendall(turn.line())
        except OSError:
            self._leave(visit)

    def _turn(self, visit: _Visit) -> Turn | None:
        """Return a side's turn, or None if it has to wait for the other side."""
        assert visit.request is not None
        asks = visit.request.asks
        if asks is Asks.WORK:
            return Turn(goes=True)
        if not visit.is_alone and visit.partner is None:
            self._find_partner(visit)
        if visit.partner is not None and not visit.is_alone:
            return self._turn_beside(visit, visit.partner, visit.request)
        if visit.is_alone:
            return Turn(_goes_alone(visit, visit.request))
        return None

    def _find_partner(self, visit: _Visit) -> None:
        """Pair up a measurement with the other side's of the same test, or note that there is none."""
        twin = self._twin(visit)
        meeting = [
            one
            for one in self._visits
            if one.seat is not visit.seat
            and one.number
            and one.partner is None
            and not one.is_alone
        ]
        for one in meeting:
            if one.test == twin and one.number == visit.number:
                visit.partner, one.partner = one, visit
                return
        # Each may wait for a test that the other one has later: then one has to go.
        crossed = visit.seat.name == self._first and any(map(self._can_be_joined, meeting))
        visit.is_alone = crossed or not self._can_be_joined(visit) or self._is_late(visit)

    def _can_be_joined(self, visit: _Visit) -> bool:
        """Return whether the other side can still come to the test of a measurement."""
        other, twin = self._other(visit.seat), self._twin(visit)
        if other.has_ended:
            return False
        if twin is None:
            return other.tests is None
        return twin not in other.over and other.begun[twin] < visit.number

    def _turn_beside(self, visit: _Visit, partner: _Visit, request: Request) -> Turn | None:
        """Return the turn of a measurement that has a partner; None while it is the partner's."""
        if partner.has_left or partner.was_ended or self._is_late(visit):
            visit.is_alone = True
        if visit.goes is None:
            self._decide(visit, partner, request)
        if visit.goes is None:
            return None
        is_second = (visit.seat.name == self._first) == bool(request.at[1] % 2)
        if is_second and visit.goes and partner.goes and not visit.is_alone:
            return None
        return Turn(visit.goes, beside=visit.goes and not visit.is_alone)

    def _decide(self, visit: _Visit, partner: _Visit, request: Request) -> None:
        """Decide on the next round of a side, and on the other one's if both are equally far."""
        if visit.is_alone:
            visit.goes = _goes_alone(visit, request)
        elif partner.request is None or partner.goes is not None:
            return
        elif request.at == partner.request.at:
            visit.goes = _goes_on(request.asks, partner.request.asks)
            partner.goes = _goes_on(partner.request.asks, request.asks)
        elif request.at < partner.request.at:
            visit.goes = _goes_alone(visit, request)

    def _is_late(self, visit: _Visit) -> bool:
        """Return whether the other side has given no sign for longer than a side has patience."""
        assert visit.request is not None
        other = self._other(visit.seat)
        if any(one.seat is other and one.request is not None for one in self._visits):
            return False  # It waits itself.
        return self._clock() - other.sign > visit.request.patience

    def _other(self, seat: Seat) -> Seat:
        (other,) = (one for one in self.seats.values() if one is not seat)
        return other

    def _twin(self, visit: _Visit) -> str | None:
        """Return the other side's id of a measurement's test; None if it has none."""
        return twin(visit.test, visit.seat.tests or [], self._other(visit.seat).tests or [])


def _goes_alone(visit: _Visit, request: Request) -> bool:
    """Return whether a side has one more round, if the other one has none."""
    # Both have the same number of rounds, as far as that goes.
    has_ended = visit.partner is not None and visit.partner.was_ended
    return request.asks is Asks.NEEDS or (request.asks is Asks.WANTS and not has_ended)


def _goes_on(asks: Asks, other: Asks) -> bool:
    """Return whether a side has one more round, by what it asks for and what the other side does."""
    if asks is Asks.WANTS:
        return other is not Asks.OVER
    if asks is Asks.ENOUGH:
        return other in (Asks.NEEDS, Asks.WANTS)
    return asks is Asks.NEEDS


def twin(test: str, tests: Sequence[str], others: Sequence[str]) -> str | None:
    """Return the test of the other side that a test is compared with; None if there is none.

    It has the same id. Where a function's ids differ, as those of two engines do, they pair up in order.
    """
    if test in others:
        return test
    function = test.partition("[")[0]
    left = [one for one in tests if one.partition("[")[0] == function and one not in others]
    right = [one for one in others if one.partition("[")[0] == function and one not in tests]
    return right[left.index(test)] if test in left and len(left) == len(right) else None
