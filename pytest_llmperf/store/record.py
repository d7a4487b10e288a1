"""Write a measurement in its stored form: a ``Record`` of schema 1."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from ..core.cell import Cell
from ..core.engine import EngineSpec, LoadedEngine
from ..core.measurement import Measurement
from ..core.secrets import masked, without_secrets
from ..core.workload import Workload
from ..machine.idle import IdlePower
from ..metrics.ceilings import Roof
from ..metrics.definitions import POOLED
from ..metrics.samples import Metric, of_these_rounds
from .schema import (
    SCHEMA,
    BackendPart,
    CeilingsPart,
    EnvironmentPart,
    FloorPart,
    MetricPart,
    ModelPart,
    QualityPart,
    QuantizationPart,
    Record,
    RunPart,
    WorkloadPart,
)


@dataclass(frozen=True)
class Run:
    """The identity of one pytest run, which all its measurements share."""

    run_id: str
    started_at: str
    """UTC, ISO 8601."""
    commit: str | None
    dirty: bool | None
    job_id: str | None = None
    """The CI job that the run belongs to; None outside CI."""
    branch: str | None = None
    """The branch by git, or by the CI where git has a commit only; None if neither names one."""


@dataclass(frozen=True)
class Subject:
    """The measured test, cell and engine."""

    nodeid: str
    cell: Cell
    spec: EngineSpec
    engine: LoadedEngine
    peak_by_driver: bool
    """True if the engine's peak memory on a GPU is the driver's count."""
    parameters: Mapping[str, str] | None = None
    """The test's parameters but the cell, by name; None where not all of them are plain."""


@dataclass(frozen=True)
class Outcome:
    """The results of a measurement."""

    metrics: Mapping[str, Metric]
    samples: Sequence[float]
    """Seconds: wall times of the rounds, or the one time that was measured."""
    workload: Workload | None = None
    measurement: Measurement | None = None
    """Traces of the rounds; None if nothing was generated."""
    quality: QualityPart | None = None
    """Results of a scored text; None without one."""
    roof: Roof | None = None
    """The ceilings that ``mbu`` and ``mfu`` are shares of; None where they are unknown."""
    floor: FloorPart | None = None
    """The check of the engine's output; None if it was the usual one."""


@dataclass(frozen=True)
class Context:
    """The properties of the run and its machine, and the limits from the test's marker."""

    run: Run
    chosen: Sequence[str]
    """Metrics that become separate entries."""
    gpus: Sequence[Mapping[str, Any]] | None = None
    """The run's GPUs, as in ``nvml.Gpus.described``; None without NVML."""
    idle: IdlePower = field(default_factory=IdlePower)
    hourly_cost: float | None = None
    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The gate's ``min_effect`` and ``must_see``, by metric."""


def make_record(subject: Subject, outcome: Outcome, context: Context) -> Record:
    """Return the stored form: only builtin types, without any path of this machine."""
    record: Record = {
        "schema": SCHEMA,
        "nodeid": subject.nodeid,
        "cell": subject.cell.id,
        "model": _model(subject),
        "backend": _backend(subject),
        "quantization": _quantization(subject),
        "workload": _workload(subject, outcome),
        "metrics": _metrics(outcome.metrics, context.chosen),
        "environment": _environment(subject, outcome, context),
        "run": cast("RunPart", {**asdict(context.run), "engine": subject.engine.number}),
        "gate": {name: dict(values) for name, values in context.limits.items()},
    }
    if subject.parameters is not None:
        record["parameters"] = dict(subject.parameters)
    if outcome.quality:
        record["quality"] = outcome.quality
    if outcome.floor:
        record["floor"] = outcome.floor
    return record


def revise_utilization(
    record: Record, shares: Mapping[str, Metric], roof: Roof, chosen: Sequence[str]
) -> None:
    """Put other shares and their ceilings into a record that is stored already."""
    work = record["workload"]
    metrics = of_these_rounds(shares, work.get("rounds", 0), work.get("precision"))
    record["metrics"].update(_metrics(metrics, chosen))
    record["environment"]["ceilings"] = cast("CeilingsPart", roof.to_record())


def _model(subject: Subject) -> ModelPart:
    info = subject.engine.info
    part: ModelPart = {
        "name": subject.cell.model.name,
        "source": masked(subject.cell.model.recorded_source),
        "revision": info.revision,
        "dtype": info.dtype,
        "load_format": subject.spec.load_format,
        "parameters": info.parameters,
    }
    if info.architecture:
        part["architecture"] = cast("Any", info.architecture.to_wire())
    if info.weights:
        part["weights"] = {
            "linear_parameters": info.weights.linear_parameters,
            "linear_bits": info.weights.linear_bits,
            "unquantized_share": info.weights.unquantized_share,
            "unquantized_type": info.weights.unquantized_type,
            "places": dict(info.weights.places),
        }
    return part


def _quantization(subject: Subject) -> QuantizationPart:
    part: QuantizationPart = {
        "mode": subject.cell.quantization,
        "compute_dtype": subject.spec.compute_dtype,
    }
    stored = subject.cell.stored
    if stored is not None:
        part["method"] = stored.method
        part["group_size"] = stored.group_size
    return part


def _backend(subject: Subject) -> BackendPart:
    spec, engine = subject.spec, subject.engine
    part: BackendPart = {
        "name": spec.backend,
        "version": engine.version,
        "args": masked(dict(spec.args)),
        "settings": masked(dict(engine.info.settings)),
        "devices": engine.info.devices,
        "peak_by_driver": subject.peak_by_driver,
        "traits": list(subject.cell.traits.parts),
    }
    if engine.info.architecture:
        part["cache_value_bytes"] = engine.info.cache_value_bytes
    return part


def _workload(subject: Subject, outcome: Outcome) -> WorkloadPart:
    workload, measurement = outcome.workload, outcome.measurement
    part: WorkloadPart = {"hash": work_hash(subject.cell, subject.spec, _work(outcome))}
    if workload is not None and measurement is not None:
        part["requests"] = workload.hash
        lengths = [request.input_tokens for request in measurement.rounds[0].requests]
        part["input_tokens"] = max(lengths)
        part["output_tokens"] = workload.output_len
        part["batch_size"] = workload.batch_size
        part["rounds"] = len(measurement.rounds)
        if workload.need is not None:
            part["precision"] = workload.need.precision
            part["max_time"] = workload.need.max_time
        part["warmup"] = workload.warmup
        if workload.prompts is not None or workload.output_lens is not None:
            part["input_lengths"] = lengths
            part["output_lengths"] = list(workload.output_lengths)
        if workload.temperature:
            part["temperature"] = workload.temperature
            part["seed"] = workload.sampling_seed
        if workload.prefix_len:
            part["prefix_tokens"] = workload.prefix_len
            requests = [request for r in measurement.rounds for request in r.requests]
            part["cached_tokens"] = min(request.cached_tokens for request in requests)
        texts = [p for p in (workload.prompt, *(workload.prompts or ())) if isinstance(p, str)]
        if texts and not subject.engine.info.has_tokenizer:
            part["words_as_ids"] = True
    return part


def _metrics(metrics: Mapping[str, Metric], chosen: Sequence[str]) -> dict[str, MetricPart]:
    return {
        key: cast("MetricPart", metric.as_dict(with_samples=key not in POOLED or key in chosen))
        for key, metric in metrics.items()
    }


def _environment(subject: Subject, outcome: Outcome, context: Context) -> EnvironmentPart:
    engine, measurement = subject.engine, outcome.measurement
    part: dict[str, Any] = {
        **engine.environment,
        "device": engine.info.device,
        "threads": subject.spec.threads if engine.info.threads is None else engine.info.threads,
        "packages": dict(engine.versions),
    }
    if context.gpus is not None:
        part["gpus"] = [dict(gpu) for gpu in context.gpus]
    if measurement and measurement.energy:
        part["energy"] = context.idle.added(measurement.energy)
    if context.hourly_cost is not None:
        part["hourly_cost"] = context.hourly_cost
    if outcome.roof is not None:
        part["ceilings"] = outcome.roof.to_record()
    if measurement is not None:
        part["conditions"] = dict(measurement.conditions)
        if measurement.canary:
            part["canary"] = dict(measurement.canary)
    return cast("EnvironmentPart", part)


def _work(outcome: Outcome) -> str | None:
    if outcome.quality is not None:
        return outcome.quality["text"]["sha256"]
    return outcome.workload.hash if outcome.workload else None


def work_hash(cell: Cell, spec: EngineSpec, work: str | None) -> str:
    """Return a hash of the work: measurements with equal hashes did the same on the same kind of engine.

    Versions, rounds and machines are not part of it, because runs are compared across them. Secrets are
    not either: a new token does not end a history.
    """
    parts = {
        "model": [cell.model.name, spec.revision, spec.load_format, spec.dtype],
        "backend": [spec.backend, sorted(without_secrets(spec.args).items())],
        "quantization": cell.quantization,
        "workload": work,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
