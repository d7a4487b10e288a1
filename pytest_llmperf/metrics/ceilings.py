"""Ceilings: the highest rates that were ever seen on a device, and whose they are. Pure maths."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

_Key = TypeVar("_Key", int, str)


@dataclass(frozen=True)
class Faster:
    """A rate above the measured one."""

    rate: float
    by: str
    """Whose it is: ``reached by ENGINE in TEST``, or ``measured by LIBRARY``."""

    @classmethod
    def of(cls, rate: Any, by: Any) -> Faster:
        """Read a stored rate.

        Raises:
            TypeError, ValueError: it is not a rate.
        """
        return cls(_positive(rate), str(by))


@dataclass(frozen=True)
class Rate:
    """The ceiling of one kind of work."""

    value: float
    measured: float
    """The rate that the measurement's own method has."""
    by: str = ""
    """Whose the value is; empty if the method measured it."""


REACHED = "reached by"
"""Beginning of the words for what an engine has reached in a test."""
PROGRAMMED = "programmed"
"""The method of the simulated device, whose ceilings are not measured."""
LEAST_ROUNDS = 2
MOST_BEYOND = 4.0
"""What an engine reached is kept for later runs if so many rounds sustained it, and if it is at most so
many times what was measured: beyond that, something was counted or timed wrong."""


def is_believable(rate: Rate | None, rounds: int) -> bool:
    """Return whether later runs may take a rate that an engine reached as a ceiling."""
    return rate is not None and rounds >= LEAST_ROUNDS and rate.value <= MOST_BEYOND * rate.measured


@dataclass(frozen=True)
class Ceilings:
    """The highest rates that were seen on one device, for any engine on it."""

    read: tuple[tuple[int, float], ...]
    """(bytes of a buffer, bytes/s of reading it over and over), smallest buffer first."""
    matmul: Mapping[str, float]
    """FLOP/s of a matrix product by type, as torch names it."""
    threads: int | None
    """Threads of the measurement; None on a GPU."""
    method: str
    """The library that measured ``read`` and ``matmul``, for instance ``torch 2.13.0``."""
    disturbed: bool = False
    """Whether something else ran while they were measured, so that they may be too low."""
    faster_read: Mapping[int, Faster] = field(default_factory=dict)
    """What something else has read faster than ``read`` says, by buffer."""
    faster_matmul: Mapping[str, Faster] = field(default_factory=dict)
    """What something else has multiplied faster than ``matmul`` says, by type."""

    def bracket(self, size: float) -> int | None:
        """Return the largest buffer that is no larger than ``size``; None if all are larger."""
        return max((buffer for buffer, _ in self.read if buffer <= size), default=None)

    def read_rate(self, size: float) -> Rate | None:
        """Return bytes/s of reading ``size`` bytes over and over; None below the smallest buffer.

        A buffer that fits a cache is read faster than one that does not, and so are weights. The
        rate is the best of all buffers from the largest that is no larger than ``size``: what is read
        fast in a large buffer can be read as fast in a small one.
        """
        begin = self.bracket(size)
        if begin is None:
            return None
        measured = max(rate for buffer, rate in self.read if buffer >= begin)
        return _rate(measured, [f for buffer, f in self.faster_read.items() if buffer >= begin])

    def matmul_rate(self, dtype: str) -> Rate | None:
        """Return FLOP/s of a type; None where it was not measured.

        Every value of a 16-bit type is one of float32 too, so an engine may compute in that: where
        it is faster (CPUs without matrix instructions) it is the ceiling.
        """
        if dtype not in self.matmul:
            return None
        measured = max(self.matmul.get(name, 0.0) for name in (dtype, "float32"))
        faster = [f for name, f in self.faster_matmul.items() if name in (dtype, "float32")]
        return _rate(measured, faster)

    def raised(
        self, read: Mapping[int, Faster] | None = None, matmul: Mapping[str, Faster] | None = None
    ) -> Ceilings:
        """Return the ceilings with those rates that are higher; a buffer or a type has to be known."""
        return replace(
            self,
            faster_read=_above(dict(self.read), self.faster_read, read or {}),
            faster_matmul=_above(self.matmul, self.faster_matmul, matmul or {}),
        )

    def to_wire(self) -> dict[str, Any]:
        wire: dict[str, Any] = {
            "read": [list(pair) for pair in self.read],
            "matmul": dict(self.matmul),
            "threads": self.threads,
            "method": self.method,
        }
        if self.faster_read:
            wire["faster_read"] = [[key, f.rate, f.by] for key, f in self.faster_read.items()]
        if self.faster_matmul:
            wire["faster_matmul"] = [[key, f.rate, f.by] for key, f in self.faster_matmul.items()]
        return wire

    @classmethod
    def from_wire(cls, data: Mapping[str, Any]) -> Ceilings:
        """Read what ``to_wire`` gives.

        Raises:
            KeyError, TypeError, ValueError: the data is something else.
        """
        return cls(
            read=tuple((int(size), _positive(rate)) for size, rate in data["read"]),
            matmul={str(name): _positive(rate) for name, rate in data["matmul"].items()},
            threads=data["threads"],
            method=str(data["method"]),
            faster_read={
                int(size): Faster.of(rate, by) for size, rate, by in data.get("faster_read", ())
            },
            faster_matmul={
                str(name): Faster.of(rate, by) for name, rate, by in data.get("faster_matmul", ())
            },
        )


@dataclass(frozen=True)
class Roof:
    """The ceilings of one loaded engine; a rate is None where it is unknown."""

    read_bytes_per_s: float | None
    matmul_flops: float | None
    dtype: str | None
    """Type of ``matmul_flops``."""
    threads: int | None
    method: str
    disturbed: bool = False
    read_by: str = ""
    """Whose ``read_bytes_per_s`` is, if ``method`` did not measure it: ``reached by ENGINE in TEST``."""
    matmul_by: str = ""
    measured_read_bytes_per_s: float | None = None
    """The lower rate that ``method`` measured; None if that is the ceiling."""
    measured_matmul_flops: float | None = None

    @property
    def measured_by(self) -> str:
        """Return the method in words."""
        return self.method if self.method == PROGRAMMED else f"measured by {self.method}"

    @classmethod
    def of(
        cls,
        read: Rate | None,
        matmul: Rate | None,
        dtype: str | None,
        devices: int,
        ceilings: Ceilings,
    ) -> Roof:
        """Return the ceilings of an engine from those of one of its devices."""
        return cls(
            read_bytes_per_s=read.value * devices if read else None,
            matmul_flops=matmul.value * devices if matmul else None,
            dtype=dtype if matmul else None,
            threads=ceilings.threads,
            method=ceilings.method,
            disturbed=ceilings.disturbed,
            read_by=read.by if read else "",
            matmul_by=matmul.by if matmul else "",
            measured_read_bytes_per_s=read.measured * devices if read and read.by else None,
            measured_matmul_flops=matmul.measured * devices if matmul and matmul.by else None,
        )

    @classmethod
    def from_record(cls, part: Mapping[str, Any]) -> Roof:
        """Read ``environment.ceilings`` of a stored record."""
        return cls(**{key: part[key] for key in cls.__dataclass_fields__ if key in part})

    def to_record(self) -> dict[str, Any]:
        """Return ``environment.ceilings`` of the stored record."""
        whose = {
            "read_by": self.read_by,
            "matmul_by": self.matmul_by,
            "measured_read_bytes_per_s": self.measured_read_bytes_per_s,
            "measured_matmul_flops": self.measured_matmul_flops,
        }
        return (
            ({"disturbed": True} if self.disturbed else {})
            | {
                "read_bytes_per_s": self.read_bytes_per_s,
                "matmul_flops": self.matmul_flops,
                "dtype": self.dtype,
                "threads": self.threads,
                "method": self.method,
            }
            | {key: value for key, value in whose.items() if value}
        )


def best_of(known: Ceilings | None, new: Ceilings) -> Ceilings:
    """Return the best of two ceilings, buffer by buffer and type by type.

    Threads, method and ``disturbed`` are those of the new one. What another method has faster stands
    beside the new one's rates, with its name.
    """
    if known is None:
        return new
    read, matmul = dict(known.read), known.matmul
    if known.method == new.method:
        better = replace(
            new,
            read=tuple(sorted(_maxima(read, dict(new.read)).items())),
            matmul=_maxima(matmul, new.matmul),
            faster_read={},
            faster_matmul={},
        )
        # Some may be no faster than the better one of both measurements.
        better = better.raised(new.faster_read, new.faster_matmul)
    else:
        by = f"measured by {known.method}"
        better = _with_another(new, read, matmul, by)
    return better.raised(known.faster_read, known.faster_matmul)


def _with_another(
    new: Ceilings, read: Mapping[int, float], matmul: Mapping[str, float], by: str
) -> Ceilings:
    """Return ceilings with the rates of another method, where those are higher or the only ones."""
    has = dict(new.read)
    better = new.raised(
        {size: Faster(rate, by) for size, rate in read.items() if size in has},
        {name: Faster(rate, by) for name, rate in matmul.items() if name in new.matmul},
    )
    only_read = {size: Faster(rate, by) for size, rate in read.items() if size not in has}
    only_matmul = {n: Faster(rate, by) for n, rate in matmul.items() if n not in new.matmul}
    return replace(
        better,
        read=tuple(sorted({**read, **has}.items())),
        matmul={**matmul, **new.matmul},
        faster_read={**only_read, **better.faster_read},
        faster_matmul={**only_matmul, **better.faster_matmul},
    )


def _rate(measured: float, faster: list[Faster]) -> Rate:
    """Return the best of the measured rate and of others'."""
    best = max(faster, key=lambda f: f.rate, default=None)
    if best is None or best.rate < measured:
        return Rate(measured, measured)
    return Rate(best.rate, measured, best.by)


def _above(
    measured: Mapping[_Key, float], known: Mapping[_Key, Faster], new: Mapping[_Key, Faster]
) -> dict[_Key, Faster]:
    """Return what is faster than measured, the best of known and new."""
    best = dict(known)
    for key, faster in new.items():
        limit = best[key].rate if key in best else measured.get(key, math.inf)
        if faster.rate > limit:
            best[key] = faster
    return best


def _maxima(a: Mapping[_Key, float], b: Mapping[_Key, float]) -> dict[_Key, float]:
    return {key: max(a.get(key, 0.0), b.get(key, 0.0)) for key in {**a, **b}}


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError(f"{value!r} is not a rate")
    return number
