"""The machine's ceilings: measured in a separate process, raised by engines, kept in the cache.

What was measured while something else ran is kept only until a run finds the machine quieter.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.engine import EngineInfo, EngineSpec
from ..core.errors import EngineError
from ..core.progress import Progress, silent
from ..machine import conditions
from ..machine.host import accelerator_names, describe_host, nvidia_driver, runs_on_cpu
from ..metrics.ceilings import Ceilings, best_of, is_believable
from ..metrics.roofline import Reached
from ..worker.client import start_worker
from .ceiling_files import CeilingFiles, digest, disturbed, machine_of
from .options import Settings

# Part of a file's name: raise it when the measurement itself changes.
_VERSION = 2
_TIMEOUT = 120.0


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
        self._files = CeilingFiles(settings.cache_dir)
        self._known: dict[str, Ceilings | None] = {}
        """What a library has measured on a machine, by their fingerprint."""
        self._best: dict[str, Ceilings] = {}
        """The best by anything, by the machine's part of the fingerprint."""
        self._repeated: set[str] = set()

    def of(
        self,
        backend: str,
        where: tuple[str, int | None],
        packages: Mapping[str, str],
        gpus: Sequence[Mapping[str, Any]] | None,
    ) -> Ceilings | None:
        """Return the best rates ever seen on the device; None if nothing has measured it.

        What the library of the engine's environment can do is known from this run, else from the cache,
        else measured now. What other libraries or engines did better counts, too. Never raises: a number
        without a ceiling is still a number.

        Args:
            backend: the backend in whose environment they are measured.
            where: device and engine threads, as ``before_loading`` or ``of_engine`` gives them.
            packages: versions in that environment.
            gpus: the run's GPUs, as in ``nvml.Gpus.described``.
        """
        traits = fingerprint(self._python(backend), where, packages, gpus)
        key = digest(traits)
        if key not in self._known:
            self._known[key] = self._found(traits, backend, where)
            self._join(traits, self._known[key])
        return self._best.get(digest(machine_of(traits)))

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
        key = digest(traits)
        known = self._known.get(key)
        if known is not None and key not in self._repeated:
            self._repeated.add(key)
            with self._files.alone():
                self._known[key] = self._measured(traits, backend, where, known) or known
            self._join(traits, self._known[key])
        return self._best.get(digest(machine_of(traits)))

    def reached(
        self,
        backend: str,
        where: tuple[str, int | None],
        packages: Mapping[str, str],
        gpus: Sequence[Mapping[str, Any]] | None,
        by: Reached,
    ) -> Ceilings | None:
        """Return the ceilings, raised to what an engine has reached, for this run and later ones.

        A single round, or a rate that is far above all that was measured, is no reason to doubt the
        results of later runs: what is kept for them was sustained, and is believable.
        """
        traits = fingerprint(self._python(backend), where, packages, gpus)
        machine = digest(machine_of(traits))
        best = self._best.get(machine)
        if best is None:
            return None
        higher = self._best[machine] = by.raised(best)
        read = {
            size: faster
            for size, faster in higher.faster_read.items()
            if faster != best.faster_read.get(size)
            and is_believable(higher.read_rate(size), len(by.rates.steady_read))
        }
        matmul = {
            name: faster
            for name, faster in higher.faster_matmul.items()
            if faster != best.faster_matmul.get(name)
            and is_believable(higher.matmul_rate(name), len(by.rates.matmul))
        }
        if read or matmul:
            self._files.reach(traits, read, matmul)
        return higher

    def _join(self, traits: Mapping[str, Any], measured: Ceilings | None) -> None:
        """Add a measurement to what is known of its machine."""
        machine = digest(machine_of(traits))
        best = self._files.best(traits, measured)
        known = self._best.get(machine)
        if best is not None and known is not None:
            both = known.disturbed and best.disturbed
            best = replace(best_of(known, best), disturbed=both)
        if best is not None:
            self._best[machine] = best

    def _found(
        self, traits: Mapping[str, Any], backend: str, where: tuple[str, int | None]
    ) -> Ceilings | None:
        kept = self._files.read(traits)
        if kept and kept.is_settled:
            return kept.ceilings
        # Measured beside others, and others are there now.
        if kept and not kept.is_old and disturbed(self._activity()):
            return kept.ceilings
        with self._files.alone():
            # Another run may have measured meanwhile.
            kept = self._files.read(traits)
            if kept and kept.is_settled:
                return kept.ceilings
            best = kept.ceilings if kept and not kept.is_old else None
            measured = self._measured(traits, backend, where, best)
            return measured or (kept.ceilings if kept else None)

    def _python(self, backend: str) -> str:
        return self._settings.python_of(backend)

    def _measured(
        self,
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
        ceilings = replace(best_of(known, Ceilings.from_wire(answer)), disturbed=disturbed(seen))
        about = {"conditions": seen, "canary": answer.get("canary", {})}
        self._files.write(traits, ceilings, about)
        return ceilings


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
