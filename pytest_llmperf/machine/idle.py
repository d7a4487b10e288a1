"""The power that the machine draws before an engine loads."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .energy import POWERCAP, Clock, NoEnergy, Packages, Source, gpu_source
from .gpus import Gpus

IDLE_SECONDS = 1.0


@dataclass(frozen=True)
class IdlePower:
    """Power before an engine loads, in W; empty or None if the machine does not report it."""

    gpus: Mapping[str, float] = field(default_factory=dict)
    """Power of each GPU by its UUID."""
    packages: float | None = None
    """Power of all processor packages together."""

    def added(self, energy: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``environment.energy`` with the ``idle_w`` of its source.

        The UUIDs in ``gpus`` are replaced by their number.
        """
        extended = dict(energy)
        uuids = extended.pop("gpus", None)
        idle = self.packages if extended.get("source") == Packages.name else None
        if uuids:
            extended["gpus"] = len(uuids)
            powers = [self.gpus.get(uuid) for uuid in uuids]
            idle = None if None in powers else sum(watts for watts in powers if watts is not None)
        return extended if idle is None else {**extended, "idle_w": idle}


def idle_power(
    gpus: Gpus,
    powercap: Path = POWERCAP,
    clock: Clock = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> IdlePower:
    """Return the mean power over one second; return at once, without values, if no source reports it."""
    sources: dict[str, Source] = {}
    with suppress(LookupError, NoEnergy):
        sources |= {board.uuid or "": gpu_source([board], clock) for board in gpus.boards()}
    with suppress(NoEnergy):
        sources[Packages.name] = Packages(powercap, clock)
    watts: dict[str, float] = {}
    with ExitStack() as stack:
        begun: dict[str, float] = {}
        for name, source in sources.items():
            stack.callback(source.close)
            with suppress(NoEnergy):
                source.start()
                begun[name] = clock()
        if begun:
            sleep(IDLE_SECONDS)
        for name, begin in begun.items():
            seconds = clock() - begin
            with suppress(NoEnergy):
                watts[name] = sources[name].stop() / seconds
    packages = watts.pop(Packages.name, None)
    return IdlePower(watts, packages)
