"""A measurement in its stored form: ``extra_info["llmperf"]``, schema 1."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..core.cell import Cell
from ..core.engine import EngineSpec, LoadedEngine
from ..core.measurement import Measurement
from ..core.workload import Workload
from ..metrics.definitions import POOLED
from ..metrics.samples import Metric

SCHEMA = 1


@dataclass(frozen=True)
class Run:
    """One pytest run: the part of a record that all its measurements share."""

    run_id: str
    started_at: str
    """UTC, ISO 8601."""
    commit: str | None
    dirty: bool | None
    job_id: str | None = None
    """The CI job that the run belongs to; None outside CI."""


def job_id(environ: Mapping[str, str]) -> str | None:
    """The CI job as its environment names it; ``PYTEST_LLMPERF_JOB`` goes before what a CI sets."""
    github = (environ.get("GITHUB_RUN_ID"), environ.get("GITHUB_RUN_ATTEMPT"))
    found = (
        environ.get("PYTEST_LLMPERF_JOB"),
        "-".join(part for part in github if part) if github[0] else None,
        environ.get("CI_JOB_ID"),
        environ.get("BUILD_ID"),
    )
    return next((name for name in found if name), None)


def make_record(
    nodeid: str,
    cell: Cell,
    spec: EngineSpec,
    engine: LoadedEngine,
    workload: Workload | None,
    measurement: Measurement | None,
    gpus: Sequence[Mapping[str, Any]] | None,
    metrics: Mapping[str, Metric],
    chosen: Sequence[str],
    run: Run,
    limits: Mapping[str, Mapping[str, float]],
    energy: Mapping[str, Any],
    hourly_cost: float | None = None,
    quality: Mapping[str, Any] | None = None,
    ceilings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The stored form; builtin types only, and no path of this machine.

    Args:
        measurement: None where nothing was generated (load time alone).
        gpus: as ``nvml.Gpus.described``.
        energy: as ``IdlePower.added``; empty where nobody asked.
        hourly_cost: of the machine, where it was given.
        quality: ``text``, ``documents`` and ``reference`` where a text was scored.
        ceilings: as ``roofline.Roof.to_record``; None where utilization is unknown.
    """
    environment: dict[str, Any] = {
        **engine.environment,
        "device": engine.info.device,
        "threads": spec.threads if engine.info.threads is None else engine.info.threads,
        "packages": dict(engine.versions),
    }
    if gpus is not None:
        environment["gpus"] = [dict(gpu) for gpu in gpus]
    if energy:
        environment["energy"] = dict(energy)
    if hourly_cost is not None:
        environment["hourly_cost"] = hourly_cost
    stored_workload: dict[str, Any] = {"hash": work_hash(cell, spec, _work(workload, quality))}
    if ceilings is not None:
        environment["ceilings"] = dict(ceilings)
    architecture = engine.info.architecture
    if workload is not None and measurement is not None:
        environment["conditions"] = dict(measurement.conditions)
        if measurement.canary:
            environment["canary"] = dict(measurement.canary)
        stored_workload |= {
            "requests": workload.hash,
            "input_tokens": measurement.rounds[0].requests[0].input_tokens,
            "output_tokens": workload.output_len,
            "batch_size": workload.batch_size,
            "rounds": workload.rounds,
            "warmup": workload.warmup,
        }
    return {
        "schema": SCHEMA,
        "nodeid": nodeid,
        "cell": cell.id,
        "model": {
            "name": cell.model.name,
            "source": cell.model.recorded_source,
            "revision": engine.info.revision,
            "dtype": engine.info.dtype,
            "load_format": spec.load_format,
            "parameters": engine.info.parameters,
            **({"architecture": architecture.to_wire()} if architecture else {}),
        },
        "backend": {
            "name": spec.backend,
            "version": engine.version,
            "args": dict(spec.args),
            "settings": dict(engine.info.settings),
        },
        "quantization": {"mode": cell.quantization, "compute_dtype": spec.compute_dtype},
        "workload": stored_workload,
        "metrics": {
            key: value.as_dict(with_samples=key not in POOLED or key in chosen)
            for key, value in metrics.items()
        },
        "environment": environment,
        "run": {**asdict(run), "engine": engine.number},
        "gate": {name: dict(values) for name, values in limits.items()},
        **({"quality": dict(quality)} if quality else {}),
    }


def _work(workload: Workload | None, quality: Mapping[str, Any] | None) -> str | None:
    if quality is not None:
        return str(quality["text"]["sha256"])
    return workload.hash if workload else None


def work_hash(cell: Cell, spec: EngineSpec, work: str | None) -> str:
    """Names the work that was done: equal hashes did the same work on the same kind of engine.

    Versions, rounds and machines are left out: they are what runs are compared over.
    """
    parts = {
        "model": [cell.model.name, spec.revision, spec.load_format, spec.dtype],
        "backend": [spec.backend, sorted(spec.args.items())],
        "quantization": cell.quantization,
        "workload": work,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
