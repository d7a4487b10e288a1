"""The machine's ceilings, measured once in a separate process and then kept in the cache."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
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

# Part of a file's name: raise it when the measurement itself changes.
_VERSION = 1
_TIMEOUT = 120.0


class CeilingCache:
    """Ceilings by device, threads and everything else that may change them."""

    def __init__(
        self, settings: Settings, log: Callable[[str], Path], progress: Progress = silent
    ) -> None:
        """Keep the settings.

        Args:
            log: returns the file for the output of a measurement, by a name.
            progress: called when a measurement begins, which takes some seconds.
        """
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
            self._known[key] = self._read(key, traits) or self._measured(
                key, traits, backend, where
            )
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
        self._known[key] = self._measured(key, traits, backend, where, known)
        return self._known[key]

    def _python(self, backend: str) -> str:
        return self._settings.pythons.get(backend, sys.executable)

    def _measured(
        self,
        key: str,
        traits: Mapping[str, Any],
        backend: str,
        where: tuple[str, int | None],
        known: Ceilings | None = None,
    ) -> Ceilings | None:
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
            return known
        if answer is None:
            return known
        ceilings = best_of(known, Ceilings.from_wire(answer))
        with suppress(OSError):
            self._write(key, {"fingerprint": traits, "ceilings": ceilings.to_wire()})
        return ceilings

    def _file(self, key: str) -> Path:
        return self._settings.cache_dir / "ceilings" / f"{key}.json"

    def _read(self, key: str, traits: Mapping[str, Any]) -> Ceilings | None:
        try:
            data = json.loads(self._file(key).read_text("utf-8"))
            return Ceilings.from_wire(data["ceilings"]) if data["fingerprint"] == traits else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # Missing or damaged: it is measured again.

    def _write(self, key: str, data: Mapping[str, Any]) -> None:
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(data, indent=1))


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
