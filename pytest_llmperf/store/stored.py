"""Stored runs as the gate reads them: pytest-benchmark's files with this plugin's records in them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .record import SCHEMA

try:  # Part of the extra "gate": a few times faster over a thousand files, the same answers.
    from orjson import loads as _loads
except ImportError:
    from json import loads as _loads  # type: ignore[assignment]

QUALITY = "quality"
PAIRED = "perplexity"
_LOAD = "load_time"
_KINDS = ("timing", "exact", QUALITY)


class StoredError(Exception):
    """A file that is no stored run of ours; one line that names it and says why."""


@dataclass(frozen=True, slots=True)
class Observation:
    """One metric of one test in one process: rounds of a process are one observation, never more."""

    value: float
    """The median over the samples, in the metric's unit."""
    n: int
    """Samples behind it."""
    unit: str
    better: str
    kind: str
    spread: float
    """(p90 - p50) / p50: how far the samples reach up."""
    samples: tuple[float, ...] = ()
    """Negative log-likelihoods of documents, for perplexity alone: they pair up between runs."""


@dataclass(frozen=True, slots=True)
class TestRecord:
    """One test of a stored run."""

    __test__ = False  # Not a pytest class, whatever its name says.

    nodeid: str
    cell: str
    """MODEL-BACKEND-MODE, the first part of the test's parameters."""
    subject: Mapping[str, Any]
    """What was loaded: model, type, engine and its arguments, quantization."""
    workload: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: Mapping[str, Observation]
    limits: Mapping[str, Any]
    """The gate's settings that the test's marker or the ini file give it, by name."""


@dataclass(frozen=True)
class StoredRun:
    """One pytest run, read from its file."""

    path: Path
    run_id: str
    job_id: str
    """The CI job of the run; a run outside CI is a job of its own."""
    started_at: str
    commit: str
    branch: str
    dirty: bool
    tests: Mapping[str, TestRecord]
    rejected: frozenset[tuple[str, str]]
    """(nodeid, metric) that the gate found regressed when the run ended."""

    @property
    def label(self) -> str:
        """Short, for a person: the commit, or when it ran where there is none."""
        known = self.commit not in ("", "unversioned")
        return self.commit[:8] + ("+" if self.dirty else "") if known else self.started_at


def read_run(path: Path) -> StoredRun:
    """Read a stored run.

    Raises:
        StoredError: unreadable, truncated, empty, not pytest-benchmark's, without one measurement of
            ours, or of a schema that is newer than this release.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoredError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not content.strip():
        raise StoredError(f"{path}: is empty")
    try:
        data = _loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise StoredError(f"{path}: is not complete JSON ({error})") from None
    return parse_run(data, path)


def parse_run(data: Any, path: Path) -> StoredRun:
    """The same from the file's content; ``path`` names it in messages."""
    entries = data.get("benchmarks") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise StoredError(f"{path}: is not a file of pytest-benchmark")
    try:
        return _run(data, entries, path)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise StoredError(
            f"{path}: does not hold what schema {SCHEMA} says ({type(error).__name__}: {error})"
        ) from None


def _run(data: Mapping[str, Any], entries: Sequence[Any], path: Path) -> StoredRun:
    records: list[Mapping[str, Any]] = []
    chosen: dict[str, list[str]] = {}
    for entry in entries:
        ours = entry["extra_info"].get("llmperf")
        if not ours:
            continue
        if "parent" in ours:
            chosen.setdefault(ours["parent"], []).append(ours["metric"])
        else:
            if ours["schema"] > SCHEMA:
                raise StoredError(
                    f"{path}: schema {ours['schema']} is newer than this release knows ({SCHEMA}); "
                    "upgrade pytest-llmperf"
                )
            records.append({**ours, "fullname": entry["fullname"]})
    if not records:
        raise StoredError(f"{path}: holds no measurement of pytest-llmperf")
    run = records[0]["run"]
    commit = _mapping(data.get("commit_info") or {})
    gate = _mapping(data.get("llmperf_gate") or {})
    run_id = _text(run["run_id"])
    return StoredRun(
        path=path,
        run_id=run_id,
        job_id=_text(run.get("job_id") or run_id),
        started_at=_text(run["started_at"]),
        commit=_text(run["commit"] or ""),
        branch=_text(commit.get("branch") or ""),
        dirty=bool(run["dirty"]),
        tests={
            _text(record["nodeid"]): _test(record, chosen.get(record["fullname"], ()))
            for record in records
        },
        rejected=frozenset(
            (_text(cell["nodeid"]), _text(cell["metric"])) for cell in gate.get("regressions", ())
        ),
    )


def _test(record: Mapping[str, Any], chosen: Iterable[str]) -> TestRecord:
    metrics = _mapping(record["metrics"])
    judged = [key for key in metrics if key in chosen or key == PAIRED]
    if not judged and _LOAD in metrics:
        judged = [_LOAD]  # A test of loading alone: its one entry is that time.
    model, backend = record["model"], record["backend"]
    mode = record["quantization"]["mode"]
    subject = {
        "model": model["name"],
        "revision": model["revision"],
        "type": model["dtype"],
        "load format": model["load_format"],
        "engine": backend["name"],
        "quantization": mode,
        **{f"{backend['name']}.{key}": value for key, value in _mapping(backend["args"]).items()},
    }
    return TestRecord(
        nodeid=record["nodeid"],
        cell=_text(record.get("cell", f"{model['name']}-{backend['name']}-{mode}")),
        subject=subject,
        workload=_mapping(record["workload"]),
        environment=_environment(record["environment"]),
        metrics={
            key: _observation(metrics[key], _documents(record) if key == PAIRED else ())
            for key in judged
        },
        limits=_limits(record.get("gate", {})),
    )


def _documents(record: Mapping[str, Any]) -> tuple[float, ...]:
    """Negative log-likelihoods of the documents, in their order; they pair up between runs."""
    documents = _mapping(record.get("quality") or {}).get("documents") or ()
    if not isinstance(documents, list):
        raise TypeError("quality has no list of documents")
    return tuple(_number(_mapping(document)["nll"]) for document in documents)


def _observation(metric: Mapping[str, Any], samples: tuple[float, ...]) -> Observation:
    value = _number(metric["p50"])
    if metric["better"] not in ("lower", "higher") or metric["kind"] not in _KINDS:
        raise ValueError(f"better {metric['better']!r}, kind {metric['kind']!r}")
    return Observation(
        value=value,
        n=int(_number(metric["n"])),
        unit=_text(metric["unit"]),
        better=metric["better"],
        kind=metric["kind"],
        spread=(_number(metric["p90"]) - value) / value if value else 0.0,
        samples=samples,
    )


def _environment(value: Any) -> Mapping[str, Any]:
    """Checked as deep as the gate looks into it."""
    found = _mapping(value)
    for key in ("gpus", "accelerators"):
        cards = found.get(key) or []
        if not isinstance(cards, list) or not all(isinstance(card, dict) for card in cards):
            raise TypeError(f"{key} is no list of devices")
    _mapping(found.get("packages") or {})
    for seconds in _mapping(found.get("canary") or {}).values():
        if not isinstance(seconds, list):
            raise TypeError("canary is no list of seconds")
        for value in seconds:
            _number(value)
    conditions = _mapping(found.get("conditions") or {})
    for name in ("swapped_mib", "steal_share", "other_cores", "other_gpu_processes"):
        _number(conditions.get(name) or 0)
    throttling = conditions.get("throttling") or []
    if not isinstance(throttling, list) or not all(isinstance(r, str) for r in throttling):
        raise TypeError("throttling is no list of reasons")
    return found


def _limits(value: Any) -> Mapping[str, Any]:
    """Numbers, or numbers by metric."""
    found = _mapping(value)
    for limit in found.values():
        for number in limit.values() if isinstance(limit, dict) else (limit,):
            if not 0 < _number(number) < 1:
                raise ValueError(f"{number!r} is no share between 0 and 1")
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no object")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def read_runs(paths: Iterable[Path]) -> tuple[list[StoredRun], list[str]]:
    """Read what can be read: the runs, oldest first, and a line for each file that is left out."""
    runs, problems = [], []
    for path in paths:
        try:
            runs.append(read_run(path))
        except StoredError as error:
            problems.append(str(error))
    return sorted(runs, key=lambda run: run.started_at), problems
