"""Sources of energy: NVML's counter or sampled power, RAPL's packages, an engine's own counter."""

from __future__ import annotations

import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from .nvml import Board

POWERCAP = Path("/sys/class/powercap")
# More than any package can draw: a counter that could wrap twice at this power is not usable.
_MOST_WATTS = 1000.0
_SAMPLE_EVERY = 0.1

Clock = Callable[[], float]


class NoEnergy(Exception):
    """The energy is unknown; one line with the reason, for the record."""


class Source(ABC):
    """A source that reports the joules between two moments. Each object is used once."""

    name: str
    refresh: ClassVar[float]
    """Maximum age of a reading, in seconds."""

    @abstractmethod
    def start(self) -> None:
        """Begin the window.

        Raises:
            NoEnergy: the energy is unknown.
        """

    def mark(self) -> None:  # noqa: B027 - most counters need no reading in between
        """Take a reading between two rounds."""

    @abstractmethod
    def stop(self) -> float:
        """End the window; return the joules since ``start``.

        Raises:
            NoEnergy: the energy is unknown.
        """

    def close(self) -> None:  # noqa: B027 - most leave nothing running
        """End everything that ``start`` started, whatever happened since. Never raises."""


class GpuCounter(Source):
    """NVML's counter of the energy since the driver was loaded, summed over GPUs."""

    name = "NVML counter"
    refresh = 0.1  # 20 to 100 ms, depending on the GPU.

    def __init__(self, boards: Sequence[Board]) -> None:
        self._boards = boards

    def start(self) -> None:
        self._before = self._read()

    def stop(self) -> float:
        return _moved(self._read() - self._before)

    def _read(self) -> float:
        return _sum(board.joules() for board in self._boards)


class GpuPower(Source):
    """NVML's power for GPUs without a counter, sampled ten times per second and summed as trapezoids."""

    name = "sampled power"
    refresh = 0.1

    def __init__(self, boards: Sequence[Board], clock: Clock = time.monotonic) -> None:
        self._boards = boards
        self._clock = clock
        self._samples: list[tuple[float, float]] = []
        self._failed: NoEnergy | None = None
        self._end = threading.Event()
        # A daemon thread, so that it does not keep the process of a hanging engine alive.
        self._thread = threading.Thread(target=self._run, name="llmperf-power", daemon=True)

    def start(self) -> None:
        self._sample()
        self._thread.start()

    def stop(self) -> float:
        self.close()
        if self._failed is None:
            self._sample()
        if self._failed is not None:
            raise self._failed
        return _moved(
            sum((t1 - t0) * (w0 + w1) / 2 for (t0, w0), (t1, w1) in pairwise(self._samples))
        )

    def close(self) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while self._failed is None and not self._end.wait(_SAMPLE_EVERY):
            self._sample()

    def _sample(self) -> None:
        try:
            watts = _sum(board.watts() for board in self._boards)
        except NoEnergy as error:
            self._failed = error
        else:
            self._samples.append((self._clock(), watts))


class Nothing(Source):
    """A missing source, with the reason."""

    name = "nothing"
    refresh = 0.0

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def start(self) -> None:
        raise NoEnergy(self._reason)

    def stop(self) -> float:
        raise NoEnergy(self._reason)


@dataclass
class _Package:
    """One RAPL domain: a processor package. Its counter wraps around."""

    folder: Path
    range_uj: int
    joules: float = 0.0
    last_uj: int = 0

    def read(self) -> int:
        return _whole(self.folder / "energy_uj")


class Packages(Source):
    """RAPL's counters of all processor packages, including the memory controller and all cores."""

    name = "RAPL"
    refresh = 0.001

    def __init__(self, powercap: Path = POWERCAP, clock: Clock = time.monotonic) -> None:
        """Find the packages and read each of them once.

        Raises:
            NoEnergy: there is no package, or one of them cannot be read.
        """
        self._clock = clock
        # Not the parts of a package (intel-rapl:0:0), and not psys, which includes the packages.
        folders = [
            folder
            for folder in sorted(powercap.glob("intel-rapl:*"))
            if re.fullmatch(r"intel-rapl:\d+", folder.name)
            and _text(folder / "name").startswith("package")
        ]
        if not folders:
            raise NoEnergy(f"no RAPL package in {powercap}")
        self._packages = [
            _Package(folder, _whole(folder / "max_energy_range_uj")) for folder in folders
        ]
        for package in self._packages:
            package.read()

    def start(self) -> None:
        self._at = self._clock()
        for package in self._packages:
            package.joules, package.last_uj = 0.0, package.read()

    def mark(self) -> None:
        now = self._clock()
        for package in self._packages:
            if (now - self._at) * _MOST_WATTS * 1e6 > package.range_uj:
                raise NoEnergy(
                    f"a RAPL counter may have wrapped more than once in {now - self._at:.0f} s"
                )
            current = package.read()
            change = current - package.last_uj
            package.joules += (change if change >= 0 else change + package.range_uj) / 1e6
            package.last_uj = current
        self._at = now

    def stop(self) -> float:
        self.mark()
        return _moved(sum(package.joules for package in self._packages))


class EngineCounter(Source):
    """The energy that the engine itself reports (``Backend.joules``)."""

    refresh = 0.0

    def __init__(self, name: str, joules: Callable[[], float | None]) -> None:
        """Keep the engine's name, and the function that returns the joules it has used so far."""
        self.name = name
        self._joules = joules

    def start(self) -> None:
        self._before = _sum([self._joules()])

    def stop(self) -> float:
        return _moved(_sum([self._joules()]) - self._before)


def gpu_source(boards: Sequence[Board], clock: Clock = time.monotonic) -> Source:
    """Return the counter of these GPUs if all of them have one, otherwise their sampled power.

    Raises:
        NoEnergy: a GPU reports neither.
    """
    if all(board.joules() is not None for board in boards):
        return GpuCounter(boards)
    if all(board.watts() is not None for board in boards):
        return GpuPower(boards, clock)
    raise NoEnergy("the GPU reports neither its energy nor its power")


def _sum(values: Iterable[float | None]) -> float:
    total = 0.0
    for value in values:
        if value is None:
            raise NoEnergy("the driver no longer reports the energy or the power")
        total += value
    return total


def _moved(joules: float) -> float:
    """Return a counter's joules; raise NoEnergy if it did not move, as on some machines."""
    if joules <= 0:
        raise NoEnergy("the energy counter did not change")
    return joules


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _whole(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        raise NoEnergy(f"{path} cannot be read by this user") from None
