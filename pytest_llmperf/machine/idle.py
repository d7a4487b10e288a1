"""Power that the machine draws before an engine loads."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .energy import POWERCAP, Clock, NoEnergy, Packages, Source, gpu_source
from .nvml import Gpus

IDLE_SECONDS = 1.0


@dataclass(frozen=True)
class IdlePower:
    """Power before an engine loads, in W; empty or None where the machine does not report it."""

    gpus: Mapping[str, float] = field(default_factory=dict)
    """By UUID."""
    packages: float | None = None

    def added(self, energy: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``environment.energy`` with ``idle_w`` of what it counts, and without names of GPUs."""
        found = dict(energy)
        uuids = found.pop("gpus", None)
        idle = self.packages if found.get("source") == Packages.name else None
        if uuids:
            found["gpus"] = len(uuids)
            known = [self.gpus.get(uuid) for uuid in uuids]
            idle = None if None in known else sum(watts for watts in known if watts is not None)
        return found if idle is None else {**found, "idle_w": idle}


def idle_power(
    gpus: Gpus,
    powercap: Path = POWERCAP,
    clock: Clock = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> IdlePower:
    """Return the mean power over a second, or nothing at once where no counter reports it."""
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
