"""The time that a comparison may take."""

from __future__ import annotations

import time
from collections.abc import Callable


class Budget:
    """The time that a comparison may take."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start it; infinite seconds are no limit."""
        self.seconds = seconds
        self._clock = clock
        self._begin = clock()

    def allows(self, seconds: float) -> bool:
        """Return whether there is time for something that takes so long."""
        return self._clock() - self._begin + seconds <= self.seconds
