"""When the rounds of a measurement end: after a fixed number, or when their medians are known."""

from __future__ import annotations

from collections.abc import Callable

from ..core.trace import RoundTrace
from ..core.turns import Asks
from ..core.workload import Workload
from ..metrics.precision import is_known, next_look
from ..metrics.rounds import OF_ROUND

MOST_ROUNDS = 1000
"""Rounds by need, at most: more would only make the stored files large."""


class Ending:
    """The measured rounds so far, and whether they are enough."""

    def __init__(self, workload: Workload, clock: Callable[[], float]) -> None:
        """Start the time that the rounds may take; the clock stands still while this side waits."""
        self.rounds: list[RoundTrace] = []
        self._workload = workload
        self._clock = clock
        self._begin = clock()
        self._values: dict[str, list[float]] = {}
        least = workload.rounds
        if workload.need:
            least = max(least, workload.need.rounds)
            self._values = {key: [] for key in workload.need.metrics}
        self._look = max(least, next_look(0))
        self._known = False

    def add(self, measured: RoundTrace) -> None:
        """Add a round."""
        self.rounds.append(measured)
        for key, values in self._values.items():
            value = OF_ROUND[key](measured)
            if value is not None:
                values.append(value)

    def asks(self) -> Asks:
        """Return whether a further round is needed, wanted, or no longer allowed."""
        need, done = self._workload.need, len(self.rounds)
        if done < self._workload.rounds:
            return Asks.NEEDS
        if need is None:
            return Asks.OVER
        elapsed = self._clock() - self._begin
        # A round that would end too late is not begun.
        if elapsed * (done + 1) > need.max_time * done or done >= max(MOST_ROUNDS, need.rounds):
            return Asks.OVER
        if done >= self._look:
            self._look = next_look(done)
            series = [values for values in self._values.values() if values]
            self._known = all(is_known(values, need.precision) for values in series)
        return Asks.ENOUGH if self._known else Asks.WANTS
