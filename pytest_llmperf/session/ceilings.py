"""The machine's ceilings, measured once in a process of their own and then kept in the cache."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.engine import EngineInfo, EngineSpec
from ..core.errors import EngineError
from ..core.files import write_whole
from ..core.progress import Progress, silent
from ..machine.host import accelerator_names, describe_host, nvidia_driver, runs_on_cpu
from ..metrics.roofline import Ceilings
from ..worker.client import start_worker
from .options import Settings

# Part of what a file is found by: raise it when the measurement itself changes.
_VERSION = 1
_TIMEOUT = 120.0


class CeilingCache:
    """Ceilings by device, threads and whatever else may change them."""

    def __init__(self, settings: Settings, log_dir: Path, progress: Progress = silent) -> None:
        """``progress`` is told when a measurement begins: it takes some seconds."""
        self._settings = settings
        self._progress = progress
        self._log = log_dir / "ceilings.log"
        self._known: dict[str, Ceilings | None] = {}
        self._repeated: set[str] = set()

    def of(
        self,
        backend: str,
        where: tuple[str, int | None],
        packages: Mapping[str, str],
        gpus: Sequence[Mapping[str, Any]] | None,
    ) -> Ceilings | None:
        """From this run, else from the cache, else measured now; None where that is impossible.

        Never raises: a number without a ceiling is still a number.

        Args:
            backend: whose environment measures.
            where: device and engine threads, as ``before_loading`` or ``of_engine`` gives them.
            packages: versions in that environment.
            gpus: as ``nvml.Gpus.described``.
        """
        found = fingerprint(self._python(backend), where, packages, gpus)
        key = _digest(found)
        if key not in self._known:
            self._known[key] = self._read(key, found) or self._measured(key, found, backend, where)
        return self._known[key]

    def again(
        self,
        backend: str,
        where: tuple[str, int | None],
        packages: Mapping[str, str],
        gpus: Sequence[Mapping[str, Any]] | None,
    ) -> Ceilings | None:
        """The best of what is known and a new measurement, once a run.

        For an engine that was faster than the ceiling: something else ran while that was measured.
        """
        found = fingerprint(self._python(backend), where, packages, gpus)
        key = _digest(found)
        known = self._known.get(key)
        if known is None or key in self._repeated:
            return known
        self._repeated.add(key)
        self._known[key] = self._measured(key, found, backend, where, known)
        return self._known[key]

    def _python(self, backend: str) -> str:
        return self._settings.pythons.get(backend, sys.executable)

    def _measured(
        self,
        key: str,
        found: Mapping[str, Any],
        backend: str,
        where: tuple[str, int | None],
        known: Ceilings | None = None,
    ) -> Ceilings | None:
        device, threads = where
        self._progress("ceilings", 0, 0)
        try:
            # Never in this process: what a library reserves for it would stay.
            worker = start_worker("process", self._python(backend), self._log)
            try:
                answer = worker.call("ceilings", silent, _TIMEOUT, device=device, threads=threads)
            finally:
                worker.close()
        except (EngineError, OSError):
            return known
        if answer is None:
            return known
        ceilings = best_of(known, Ceilings.from_wire(answer))
        with suppress(OSError):
            self._write(key, {"fingerprint": found, "ceilings": ceilings.to_wire()})
        return ceilings

    def _file(self, key: str) -> Path:
        return self._settings.cache_dir / "ceilings" / f"{key}.json"

    def _read(self, key: str, found: Mapping[str, Any]) -> Ceilings | None:
        try:
            data = json.loads(self._file(key).read_text("utf-8"))
            return Ceilings.from_wire(data["ceilings"]) if data["fingerprint"] == found else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # Not there, or not whole: it is measured again.

    def _write(self, key: str, data: Mapping[str, Any]) -> None:
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(data, indent=1))


def before_loading(spec: EngineSpec) -> tuple[str, int | None]:
    """Device and threads that an engine will have, as far as that is known before it loads."""
    if runs_on_cpu(spec.device):
        return "cpu", spec.threads
    return _gpu(spec), None


def of_engine(spec: EngineSpec, info: EngineInfo) -> tuple[str, int | None]:
    """Device and threads that a loaded engine has."""
    if info.device.startswith("cuda"):
        return _gpu(spec), None
    threads = spec.threads if info.threads is None else info.threads
    return info.device, threads if info.device == "cpu" else None


def _gpu(spec: EngineSpec) -> str:
    """By its number in pytest's environment: an engine may see its own GPU as the first and only."""
    return spec.device if spec.device.startswith("cuda:") else "cuda:0"


def fingerprint(
    python: str,
    where: tuple[str, int | None],
    packages: Mapping[str, str],
    gpus: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """What ceilings depend on: where any of it has changed, they are measured again."""
    device, threads = where
    found: dict[str, Any] = {
        "version": _VERSION,
        "device": device,
        "threads": threads,
        # Without torch the environment's numpy measures, and its version is not known here.
        "library": f"torch {packages['torch']}" if "torch" in packages else python,
    }
    host = describe_host()
    found |= {
        key: host.get(key) for key in ("host", "cpu", "cores", "memory_mib", "os", "governor")
    }
    if device.startswith("cuda"):
        found |= {
            "driver": nvidia_driver(),
            "gpus": [dict(gpu) for gpu in gpus] if gpus else accelerator_names(),
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
        }
    return found


def best_of(known: Ceilings | None, new: Ceilings) -> Ceilings:
    """The faster of two measurements, buffer by buffer and type by type."""
    if known is None:
        return new
    read = dict(known.read)
    for size, rate in new.read:
        read[size] = max(rate, read.get(size, 0.0))
    names = {**known.matmul, **new.matmul}
    matmul = {n: max(known.matmul.get(n, 0.0), new.matmul.get(n, 0.0)) for n in names}
    return replace(new, read=tuple(sorted(read.items())), matmul=matmul)


def _digest(found: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]
