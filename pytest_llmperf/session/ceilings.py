"""The machine's ceilings, measured in a separate process and then kept in the cache.

What was measured while something else ran is kept only until a run finds the machine quieter.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..analysis.marks import STEAL_SHARE
from ..core.engine import EngineInfo, EngineSpec
from ..core.errors import EngineError
from ..core.files import held, parsed_json, read_regular, write_whole
from ..core.progress import Progress, silent
from ..gate.disturbances import OTHERS_SHARE
from ..machine import conditions
from ..machine.host import accelerator_names, describe_host, nvidia_driver, runs_on_cpu
from ..metrics.roofline import Ceilings
from ..worker.client import start_worker
from .options import Settings

# Part of a file's name: raise it when the measurement itself changes.
_VERSION = 1
_TIMEOUT = 120.0
_PATIENCE = 240.0
"""Seconds to wait for another run that measures."""
_OLDEST = 90 * 24 * 3600.0
"""Seconds after which ceilings are measured again: a machine ages and is rebuilt."""
_SKEW = 3600.0
"""Seconds by which the clocks of machines that share a cache may differ."""
_MOST_SWAPPED_MIB = 1.0


@dataclass(frozen=True)
class _Kept:
    """Ceilings in the cache."""

    ceilings: Ceilings
    conditions: Mapping[str, Any] | None
    """Those of the measurement; None if they are unknown."""
    age: float
    """Seconds."""

    @property
    def is_old(self) -> bool:
        """Return whether they are too old, or, by a clock that was wrong, of the future."""
        return not -_SKEW <= self.age <= _OLDEST

    @property
    def is_settled(self) -> bool:
        return not self.is_old and self.conditions is not None and not _disturbed(self.conditions)


class CeilingCache:
    """Ceilings by device, threads and everything else that may change them."""

    def __init__(
        self,
        settings: Settings,
        log: Callable[[str], Path],
        progress: Progress = silent,
        activity: Callable[[], Mapping[str, float]] = conditions.now,
    ) -> None:
        """Keep the settings.

        Args:
            log: returns the file for the output of a measurement, by a name.
            progress: called when a measurement begins, which takes some seconds.
            activity: returns what else the machine does at this moment.
        """
        self._activity = activity
        self._settings = settings
        self._progress = progress
        self._log = log
        self._known: dict[str, Ceilings | None] = {}
        self._repeated: set[str] = set()

    def of(
        self,
        backend: str,
        where: tuple[str, int | None],
        packages: Mapping[str, str],
        gpus: Sequence[Mapping[str, Any]] | None,
    ) -> Ceilings | None:
        """Return ceilings: of this run, else from the cache, else measured now; None if impossible.

        Never raises: a number without a ceiling is still a number.

        Args:
            backend: the backend in whose environment they are measured.
            where: device and engine threads, as ``before_loading`` or ``of_engine`` gives them.
            packages: versions in that environment.
            gpus: the run's GPUs, as in ``nvml.Gpus.described``.
        """
        traits = fingerprint(self._python(backend), where, packages, gpus)
        key = _digest(traits)
        if key not in self._known:
            self._known[key] = self._found(key, traits, backend, where)
        return self._known[key]

    def again(
        self,
        backend: str,
        where: tuple[str, int | None],
        packages: Mapping[str, str],
        gpus: Sequence[Mapping[str, Any]] | None,
    ) -> Ceilings | None:
        """Measure once more and return the better of the known ceilings and the new ones, once per run.

        For an engine that was faster than its ceiling: something else ran while that was measured.
        """
        traits = fingerprint(self._python(backend), where, packages, gpus)
        key = _digest(traits)
        known = self._known.get(key)
        if known is None or key in self._repeated:
            return known
        self._repeated.add(key)
        with self._alone():
            self._known[key] = self._measured(key, traits, backend, where, known) or known
        return self._known[key]

    def _found(
        self, key: str, traits: Mapping[str, Any], backend: str, where: tuple[str, int | None]
    ) -> Ceilings | None:
        kept = self._read(key, traits)
        if kept and kept.is_settled:
            return kept.ceilings
        # Measured beside others, and others are there now.
        if kept and not kept.is_old and _disturbed(self._activity()):
            return kept.ceilings
        with self._alone():
            # Another run may have measured meanwhile.
            kept = self._read(key, traits)
            if kept and kept.is_settled:
                return kept.ceilings
            best = kept.ceilings if kept and not kept.is_old else None
            measured = self._measured(key, traits, backend, where, best)
            return measured or (kept.ceilings if kept else None)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one run measure at a time, as far as the cache can be written."""
        file = self._settings.cache_dir / "ceilings" / ".lock"
        with ExitStack() as stack:
            with suppress(OSError):
                file.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(file, _PATIENCE))
            yield

    def _python(self, backend: str) -> str:
        return self._settings.python_of(backend)

    def _measured(
        self,
        key: str,
        traits: Mapping[str, Any],
        backend: str,
        where: tuple[str, int | None],
        known: Ceilings | None = None,
    ) -> Ceilings | None:
        """Measure and keep ceilings, the best of these and the known ones; None if that fails."""
        device, threads = where
        self._progress("ceilings", 0, 0)
        try:
            # Never in this process: the memory that a library reserves for it would stay.
            worker = start_worker("process", self._python(backend), self._log("ceilings"))
            try:
                answer = worker.call("ceilings", silent, _TIMEOUT, device=device, threads=threads)
            finally:
                worker.close()
        except (EngineError, OSError):
            return None
        if answer is None:
            return None
        seen = answer.get("conditions", {})
        ceilings = replace(best_of(known, Ceilings.from_wire(answer)), disturbed=_disturbed(seen))
        kept = {
            "fingerprint": traits,
            "ceilings": ceilings.to_wire(),
            "measured_at": time.time(),
            "conditions": seen,
            "canary": answer.get("canary", {}),
        }
        with suppress(OSError):
            self._write(key, kept)
        return ceilings

    def _file(self, key: str) -> Path:
        return self._settings.cache_dir / "ceilings" / f"{key}.json"

    def _read(self, key: str, traits: Mapping[str, Any]) -> _Kept | None:
        try:
            data = parsed_json(read_regular(self._file(key)))
            if data["fingerprint"] != traits:
                return None
            # Files of earlier versions have none.
            seen = dict(data["conditions"]) if "conditions" in data else None
            ceilings = Ceilings.from_wire(data["ceilings"])
            return _Kept(
                replace(ceilings, disturbed=seen is not None and _disturbed(seen)),
                seen,
                time.time() - float(data["measured_at"]) if "measured_at" in data else 0.0,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # Missing or damaged: it is measured again.

    def _write(self, key: str, data: Mapping[str, Any]) -> None:
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(data, indent=1))


def _disturbed(seen: Mapping[str, Any]) -> bool:
    """Return whether something else ran that may have lowered ceilings."""
    limits = {
        "other_cores": OTHERS_SHARE,
        "steal_share": STEAL_SHARE,
        "swapped_mib": _MOST_SWAPPED_MIB,
        "other_gpu_processes": 0,
    }
    return any((seen.get(key) or 0) > most for key, most in limits.items())


def before_loading(spec: EngineSpec) -> tuple[str, int | None]:
    """Return the device and threads of an engine, as far as they are known before it loads."""
    if runs_on_cpu(spec.device):
        return "cpu", spec.threads
    return _gpu(spec), None


def of_engine(spec: EngineSpec, info: EngineInfo) -> tuple[str, int | None]:
    """Return the device and threads of a loaded engine."""
    if info.device.startswith("cuda"):
        return _gpu(spec), None
    threads = spec.threads if info.threads is None else info.threads
    return info.device, threads if info.device == "cpu" else None


def _gpu(spec: EngineSpec) -> str:
    """Return the GPU by its number in pytest's environment; an engine may see its GPU as number 0."""
    return spec.device if spec.device.startswith("cuda:") else "cuda:0"


def fingerprint(
    python: str,
    where: tuple[str, int | None],
    packages: Mapping[str, str],
    gpus: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """Return everything that ceilings depend on; if any of it has changed, they are measured again."""
    device, threads = where
    traits: dict[str, Any] = {
        "version": _VERSION,
        "device": device,
        "threads": threads,
        # Without torch the environment's numpy measures, and its version is not known here.
        "library": f"torch {packages['torch']}" if "torch" in packages else python,
    }
    host = describe_host()
    traits |= {
        key: host.get(key) for key in ("host", "cpu", "cores", "memory_mib", "os", "governor")
    }
    if device.startswith("cuda"):
        traits |= {
            "driver": nvidia_driver(),
            "gpus": [dict(gpu) for gpu in gpus] if gpus else accelerator_names(),
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        }
    return traits


def best_of(known: Ceilings | None, new: Ceilings) -> Ceilings:
    """Return the faster of two measurements, buffer by buffer and type by type."""
    if known is None:
        return new
    read = dict(known.read)
    for size, rate in new.read:
        read[size] = max(rate, read.get(size, 0.0))
    names = {**known.matmul, **new.matmul}
    matmul = {n: max(known.matmul.get(n, 0.0), new.matmul.get(n, 0.0)) for n in names}
    return replace(new, read=tuple(sorted(read.items())), matmul=matmul)


def _digest(traits: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(traits, sort_keys=True).encode()).hexdigest()[:16]
