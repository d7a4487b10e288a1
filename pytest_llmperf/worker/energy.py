"""The energy of the measured rounds: of the engine's device, and of the processor packages beside it.

The counters are read before the first round and after the last one, like the kernel's counters in
``conditions``. Unknown energy is reported as the reason, without a number.
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
from ..machine.gpus import Gpus
from . import outputs

if TYPE_CHECKING:
    from types import TracebackType

    from ..backends.base import Backend

REFRESHES = 10
"""Minimum length of the rounds in refreshes of a counter: its age is then at most a tenth of it."""


class Meter:
    """The energy of one measurement. It is a context manager: leaving it ends all sampling."""

    def __init__(
        self,
        source: Source | None = None,
        packages: Source | None = None,
        gpus: Sequence[str] = (),
        clock: Clock = time.monotonic,
    ) -> None:
        """Keep the sources; without a source nothing is measured or reported.

        Args:
            source: energy of the engine's device.
            packages: energy of the processor packages, beside a GPU.
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
        """Begin the window, just before the first round."""
        for source in self._sources:
            self._asked(source, source.start)
        self._begin = self._clock()

    def mark(self) -> None:
        """Take a reading between two rounds."""
        for source in self._sources:
            self._asked(source, source.mark)

    def stop(self) -> dict[str, Any]:
        """End the window after the last round; return the record's ``environment.energy``.

        It is empty without a source. ``gpus`` in it are UUIDs, for ``IdlePower.added``.
        """
        seconds = self._clock() - self._begin
        joules = {source: self._joules(source, seconds) for source in self._sources}
        if self._source is None:
            return {}
        energy: dict[str, Any] = {}
        device_joules = joules[self._source]
        if device_joules is None:
            energy["unavailable"] = self._failed[self._source]
        else:
            energy |= {
                "source": self._source.name,
                "joules": device_joules,
                "seconds": seconds,
                "mean_w": device_joules / seconds,
                "error_share": self._source.refresh / seconds,
            }
            energy |= {"gpus": self._gpus} if self._gpus else {}
        cpu_joules = None if self._packages is None else joules[self._packages]
        return energy if cpu_joules is None else {**energy, "cpu_joules": cpu_joules}

    @property
    def _sources(self) -> list[Source]:
        return [source for source in (self._source, self._packages) if source is not None]

    def _joules(self, source: Source, seconds: float) -> float | None:
        joules = self._asked(source, source.stop)
        minimum = REFRESHES * source.refresh
        if joules is not None and seconds < minimum:
            self._failed[source] = (
                f"rounds took {seconds:.2g} s, but the {source.name} needs {minimum:g} s: "
                "use more rounds or tokens"
            )
            return None
        return joules

    def _asked(self, source: Source, question: Callable[[], float | None]) -> float | None:
        """Return the source's answer, or None once it has failed."""
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
    """Return the meter for the energy of a loaded engine.

    Args:
        backend: the engine, which may report its own energy.
        device: the engine's device, as in ``EngineInfo.device``.
        devices: number of GPUs that share the model, as in ``EngineInfo.devices``.
        gpus: the GPUs that the engine's process sees; None asks for them.
        powercap: folder of RAPL's counters.
    """

    def of_engine() -> float | None:
        return outputs.joules(backend.joules())

    if of_engine() is not None:
        return Meter(EngineCounter(backend.name, of_engine))
    packages = _packages(powercap)
    if device == "cpu":
        return Meter(packages)
    if not device.startswith("cuda"):
        return Meter()
    gpu_packages = packages if isinstance(packages, Packages) else None
    try:
        boards = (gpus or Gpus(os.environ)).boards(os.getpid(), devices)
        return Meter(gpu_source(boards), gpu_packages, [board.uuid or "" for board in boards])
    except (LookupError, NoEnergy) as error:
        return Meter(Nothing(str(error)), gpu_packages)


def _packages(powercap: Path) -> Packages | Nothing:
    try:
        return Packages(powercap)
    except NoEnergy as error:
        return Nothing(str(error))
