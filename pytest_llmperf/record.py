"""A measurement in its stored form: ``extra_info["llmperf"]``, schema 1."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .backends.base import EngineSpec
from .cells import Cell
from .engine import LoadedEngine
from .metrics import POOLED, Metric
from .workload import Workload

SCHEMA = 1


@dataclass(frozen=True)
class Run:
    """One pytest run: the part of a record that all its measurements share."""

    run_id: str
    started_at: str
    """UTC, ISO 8601."""
    commit: str | None
    dirty: bool | None


def make_record(
    nodeid: str,
    cell: Cell,
    spec: EngineSpec,
    engine: LoadedEngine,
    workload: Workload | None,
    input_tokens: int | None,
    metrics: Mapping[str, Metric],
    chosen: Sequence[str],
    run: Run,
) -> dict[str, Any]:
    """The stored form; builtin types only, and no path of this machine."""
    stored_workload: dict[str, Any] = {"hash": work_hash(cell, spec, workload)}
    if workload is not None:
        stored_workload |= {
            "input_tokens": input_tokens,
            "output_tokens": workload.output_len,
            "batch_size": workload.batch_size,
            "rounds": workload.rounds,
            "warmup": workload.warmup,
        }
    return {
        "schema": SCHEMA,
        "nodeid": nodeid,
        "model": {
            "name": cell.model.name,
            "source": cell.model.recorded_source,
            "revision": engine.info.revision,
            "dtype": engine.info.dtype,
            "load_format": spec.load_format,
            "parameters": engine.info.parameters,
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
        "environment": {
            **engine.environment,
            "device": engine.info.device,
            "threads": spec.threads,
            "packages": dict(engine.versions),
        },
        "run": {**asdict(run), "engine": engine.number},
    }


def work_hash(cell: Cell, spec: EngineSpec, workload: Workload | None) -> str:
    """Names the work that was done: equal hashes did the same work on the same kind of engine.

    Versions, rounds and machines are left out: they are what runs are compared over.
    """
    parts = {
        "model": [cell.model.name, spec.revision, spec.load_format, spec.dtype],
        "backend": [spec.backend, sorted(spec.args.items())],
        "quantization": cell.quantization,
        "workload": workload.hash if workload else None,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
