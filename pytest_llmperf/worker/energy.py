"""Energy of the measured rounds: what the engine computes on, and the processor packages beside it.

Counters are read before the first round and after the last, as ``conditions`` reads the kernel's. What
cannot be known gives no number but the reason why.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..machine.energy import (
    POWERCAP,
    Clock,
    EngineCounter,
    NoEnergy,
    Nothing,
    Packages,
    Source,
    gpu_source,
)
from ..machine.nvml import Gpus

if TYPE_CHECKING:
    from types import TracebackType

    from ..backends.base import Backend

REFRESHES = 10
"""Refreshes of a counter that rounds have to last: then its age is a tenth of the window at most."""


class Meter:
    """The energy of one measurement. A context: leaving it ends whatever samples."""

    def __init__(
        self,
        source: Source | None = None,
        packages: Source | None = None,
        gpus: Sequence[str] = (),
        clock: Clock = time.monotonic,
    ) -> None:
        """Nothing is measured, and nothing said, without a source.

        Args:
            source: what the engine computes on.
            packages: the processor's, beside a GPU.
            gpus: UUIDs of the GPUs that the source counts.
        """
        self._source = source
        self._packages = packages
        self._gpus = list(gpus)
        self._clock = clock
        self._begin = 0.0
        self._failed: dict[Source, str] = {}

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for source in self._sources:
            source.close()

    def start(self) -> None:
        """Start just before the first round."""
        for source in self._sources:
            self._asked(source, source.start)
        self._begin = self._clock()

    def mark(self) -> None:
        """Note a moment between two rounds."""
        for source in self._sources:
            self._asked(source, source.mark)

    def stop(self) -> dict[str, Any]:
        """Return ``environment.energy`` of the record after the last round; empty without a source.

        ``gpus`` in it are UUIDs, for ``IdlePower.added``.
        """
        seconds = self._clock() - self._begin
        joules = {source: self._joules(source, seconds) for source in self._sources}
        if self._source is None:
            return {}
        found: dict[str, Any] = {}
        own = joules[self._source]
        if own is None:
            found["unavailable"] = self._failed[self._source]
        else:
            found |= {
                "source": self._source.name,
                "joules": own,
                "seconds": seconds,
                "mean_w": own / seconds,
                "error_share": self._source.refresh / seconds,
            }
            found |= {"gpus": self._gpus} if self._gpus else {}
        beside = None if self._packages is None else joules[self._packages]
        return found if beside is None else {**found, "cpu_joules": beside}

    @property
    def _sources(self) -> list[Source]:
        return [source for source in (self._source, self._packages) if source is not None]

    def _joules(self, source: Source, seconds: float) -> float | None:
        joules = self._asked(source, source.stop)
        least = REFRESHES * source.refresh
        if joules is not None and seconds < least:
            self._failed[source] = (
                f"rounds took {seconds:.2g} s, and the {source.name} needs {least:g} s: "
                "more rounds or tokens"
            )
            return None
        return joules

    def _asked(self, source: Source, question: Callable[[], float | None]) -> float | None:
        """Return the answer; None once a source has failed."""
        if source not in self._failed:
            try:
                return question()
            except NoEnergy as error:
                self._failed[source] = str(error)
        return None


def meter_of(
    backend: Backend,
    device: str,
    devices: int = 1,
    gpus: Gpus | None = None,
    powercap: Path = POWERCAP,
) -> Meter:
    """Return the meter of a loaded engine's energy.

    Args:
        device: the engine's, as ``EngineInfo.device``.
        devices: how many GPUs share the model, as ``EngineInfo.devices``.
        gpus: those that the engine's process sees; None asks for them.
    """
    if backend.joules() is not None:
        return Meter(EngineCounter(backend.name, backend.joules))
    packages = _packages(powercap)
    if device == "cpu":
        return Meter(packages)
    if not device.startswith("cuda"):
        return Meter()
    beside = packages if isinstance(packages, Packages) else None
    try:
        boards = (gpus or Gpus(os.environ)).boards(os.getpid(), devices)
        return Meter(gpu_source(boards), beside, [board.uuid or "" for board in boards])
    except (LookupError, NoEnergy) as error:
        return Meter(Nothing(str(error)), beside)


def _packages(powercap: Path) -> Packages | Nothing:
    try:
        return Packages(powercap)
    except NoEnergy as error:
        return Nothing(str(error))
