"""Ceilings in the cache folder: what each library has measured there, and what engines have reached."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..analysis.marks import STEAL_SHARE
from ..core.files import held, parsed_json, read_regular, write_whole
from ..gate.disturbances import OTHERS_SHARE
from ..metrics.ceilings import Ceilings, Faster, best_of

_PATIENCE = 240.0
"""Seconds to wait for another run that measures."""
_SHORT_PATIENCE = 10.0
"""Seconds to wait for another run that writes what an engine has reached."""
_OLDEST = 90 * 24 * 3600.0
"""Seconds after which ceilings are measured again: a machine ages and is rebuilt."""
_SKEW = 3600.0
"""Seconds by which the clocks of machines that share a cache may differ."""
_MOST_SWAPPED_MIB = 1.0
_ENGINES = "engines"
"""The library of the file with what engines have reached."""


@dataclass(frozen=True)
class Kept:
    """Ceilings in the cache."""

    ceilings: Ceilings
    conditions: Mapping[str, Any] | None
    """Those of the measurement; None if they are unknown."""
    age: float
    """Seconds."""

    @property
    def is_old(self) -> bool:
        """Return whether they are too old, or, by a clock that was wrong, of the future."""
        return _is_old(self.age)

    @property
    def is_settled(self) -> bool:
        return not self.is_old and self.conditions is not None and not disturbed(self.conditions)


class CeilingFiles:
    """The files of ceilings, one for each machine and library, by their fingerprints.

    A fingerprint is everything that ceilings depend on; without its ``library`` it is the machine's.
    """

    def __init__(self, cache: Path) -> None:
        """Read and write in ``ceilings/`` of a cache folder."""
        self._folder = cache / "ceilings"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let one run measure at a time, as far as the cache can be written."""
        with ExitStack() as stack:
            with suppress(OSError):
                stack.enter_context(self._locked(".lock", _PATIENCE))
            yield

    def read(self, traits: Mapping[str, Any]) -> Kept | None:
        """Return what a library has measured on a machine; None if it is missing or damaged."""
        return _kept(self._file(traits), traits)

    def write(
        self, traits: Mapping[str, Any], ceilings: Ceilings, about: Mapping[str, Any]
    ) -> None:
        """Keep a measurement, as far as the cache can be written.

        Args:
            about: its ``conditions`` and ``canary``.
        """
        data = {
            "fingerprint": traits,
            "ceilings": ceilings.to_wire(),
            "measured_at": time.time(),
            **about,
        }
        with suppress(OSError):
            self._write(traits, data)

    def best(self, traits: Mapping[str, Any], measured: Ceilings | None) -> Ceilings | None:
        """Return the best that was ever seen on a machine: by any library, and by engines.

        Args:
            traits: fingerprint of the machine and of a library.
            measured: what this library has measured.
        """
        best = measured
        for file in sorted(self._folder.glob("*.json")):
            other = _kept(file, traits, of_any_library=True)
            if other and not other.is_old and file != self._file(traits):
                is_disturbed = other.ceilings.disturbed and (best is None or best.disturbed)
                better = best_of(other.ceilings, best) if best else other.ceilings
                best = replace(better, disturbed=is_disturbed)
        if best is None:
            return None
        for kind, key, faster, _ in self._reached(traits):
            if kind == "matmul":
                best = best.raised(matmul={str(key): faster})
            elif (bracket := best.bracket(float(key))) is not None:
                best = best.raised(read={bracket: faster})
        return best

    def reach(
        self,
        traits: Mapping[str, Any],
        read: Mapping[int, Faster],
        matmul: Mapping[str, Faster],
    ) -> None:
        """Keep what an engine has reached on a machine, as far as the cache can be written."""
        new: list[tuple[str, int | str, Faster, float]] = [
            *(("read", size, faster, time.time()) for size, faster in read.items()),
            *(("matmul", name, faster, time.time()) for name, faster in matmul.items()),
        ]
        of_engines = {**traits, "library": _ENGINES}
        with suppress(OSError), self._locked(".reached.lock", _SHORT_PATIENCE):
            best = {(kind, key): (faster, at) for kind, key, faster, at in self._reached(traits)}
            for kind, key, faster, at in new:
                if (kind, key) not in best or best[kind, key][0].rate < faster.rate:
                    best[kind, key] = faster, at
            rows = [
                {"kind": kind, "key": key, "rate": faster.rate, "by": faster.by, "reached_at": at}
                for (kind, key), (faster, at) in best.items()
            ]
            self._write(of_engines, {"fingerprint": of_engines, "reached": rows})

    def _reached(self, traits: Mapping[str, Any]) -> list[tuple[str, int | str, Faster, float]]:
        """Return what engines have reached on a machine: kind, buffer or type, rate, time."""
        of_engines = {**traits, "library": _ENGINES}
        try:
            data = parsed_json(read_regular(self._file(of_engines)))
            if data["fingerprint"] != of_engines:
                return []
            rows = [
                (
                    str(row["kind"]),
                    int(row["key"]) if row["kind"] == "read" else str(row["key"]),
                    Faster.of(row["rate"], row["by"]),
                    float(row["reached_at"]),
                )
                for row in data["reached"]
            ]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return []
        return [row for row in rows if not _is_old(time.time() - row[3])]

    @contextmanager
    def _locked(self, name: str, patience: float) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with held(self._folder / name, patience):
            yield

    def _file(self, traits: Mapping[str, Any]) -> Path:
        return self._folder / f"{digest(traits)}.json"

    def _write(self, traits: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        file = self._file(traits)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(data, indent=1))


def disturbed(seen: Mapping[str, Any]) -> bool:
    """Return whether something else ran that may have lowered ceilings."""
    limits = {
        "other_cores": OTHERS_SHARE,
        "steal_share": STEAL_SHARE,
        "swapped_mib": _MOST_SWAPPED_MIB,
        "other_gpu_processes": 0,
    }
    return any((seen.get(key) or 0) > most for key, most in limits.items())


def digest(traits: Mapping[str, Any]) -> str:
    """Return a short name of a fingerprint."""
    return hashlib.sha256(json.dumps(traits, sort_keys=True).encode()).hexdigest()[:16]


def machine_of(traits: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a fingerprint that is the machine's."""
    return {key: value for key, value in traits.items() if key != "library"}


def _kept(file: Path, traits: Mapping[str, Any], of_any_library: bool = False) -> Kept | None:
    """Return the measurement in a file; None if it is missing, damaged, or of another fingerprint."""
    part = machine_of if of_any_library else dict
    try:
        data = parsed_json(read_regular(file))
        if part(data["fingerprint"]) != part(traits):
            return None
        # Files of earlier versions have none.
        seen = dict(data["conditions"]) if "conditions" in data else None
        ceilings = Ceilings.from_wire(data["ceilings"])
        return Kept(
            replace(ceilings, disturbed=seen is not None and disturbed(seen)),
            seen,
            time.time() - float(data["measured_at"]) if "measured_at" in data else 0.0,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # It is measured again.


def _is_old(age: float) -> bool:
    return not -_SKEW <= age <= _OLDEST
