"""Read stored runs: pytest-benchmark's files with this plugin's records in them.

All reports are made of the records that this module returns, so a report of a run and one of its file
are the same.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..core.errors import OneLine
from ..core.files import read_regular
from ..core.secrets import without_secrets
from .reached import SHARES, ceiling_of
from .schema import KEY, SCHEMA, CommitPart, GatePart, MetricPart, Record

QUALITY = "quality"
PAIRED = "perplexity"
_LOAD = "load_time"
NOT_OURS = "holds no measurement of pytest-llmperf"
NO_BRANCH = ("(detached head)", "(unknown)")
NO_COMMIT = ("unversioned", "unknown")
"""What pytest-benchmark writes in the place of a branch or a commit that git does not name."""


class StoredError(OneLine):
    """A file that is not a stored run of this plugin; one line that names the file and the reason."""


class NoRecordError(StoredError):
    """A file of pytest-benchmark without a measurement of this plugin."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A metric of a test in one process. All rounds of a process together are one observation."""

    value: float
    """The median over the samples, in ``unit``."""
    unit: str
    """The metric's unit; of a share of a ceiling, that of the rate."""
    better: str
    kind: str
    samples: tuple[float, ...] = ()
    """Negative log-likelihoods of documents, for perplexity only: they pair up between runs."""


@dataclass(frozen=True, slots=True)
class TestRecord:
    """A test of a stored run."""

    __test__ = False  # Its name looks like a test class to pytest.

    nodeid: str
    cell: str
    """MODEL-BACKEND-MODE, the first part of the test's parameters."""
    subject: Mapping[str, Any]
    """Loaded model, its type, engine and its arguments, quantization; by name."""
    workload: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: Mapping[str, Observation]
    limits: Mapping[str, Any]
    """The gate's settings that the test's marker or the ini file give it, by name."""
    engine_version: str = ""


@dataclass(frozen=True)
class StoredRun:
    """A pytest run, read from its file."""

    path: Path
    run_id: str
    job_id: str
    """The CI job of the run; a run outside CI counts as a separate job."""
    started_at: str
    commit: str
    branch: str
    dirty: bool
    tests: Mapping[str, TestRecord]
    rejected: frozenset[tuple[str, str]]
    """(nodeid, metric) of entries that regressed, by the gate's verdict at the end of the run."""

    @property
    def label(self) -> str:
        """A short name for reports: the commit, or the start time if there is none."""
        known = self.commit not in ("", *NO_COMMIT)
        return self.commit[:8] + ("+" if self.dirty else "") if known else self.started_at


@dataclass(frozen=True)
class StoredFile:
    """The data of this plugin in a file of pytest-benchmark."""

    path: Path
    """Name of the file in messages."""
    records: tuple[Record, ...]
    """A record for each measurement, at least one."""
    chosen: Mapping[str, tuple[str, ...]]
    """Metrics that are separate entries, by test id."""
    branch: str
    rejected: frozenset[tuple[str, str]]
    """(nodeid, metric) of entries that regressed, by the gate's verdict at the end of the run."""

    def run(self) -> StoredRun:
        """Return the run as the gate judges it: with the chosen metrics of each test."""
        run = self.records[0]["run"]
        return StoredRun(
            path=self.path,
            run_id=run["run_id"],
            job_id=run.get("job_id") or run["run_id"],
            started_at=run["started_at"],
            commit=run["commit"] or "",
            branch=self.branch,
            dirty=bool(run["dirty"]),
            tests={
                record["nodeid"]: judged_test(record, self.chosen.get(record["nodeid"], ()))
                for record in self.records
            },
            rejected=self.rejected,
        )


class _ExtraInfo(msgspec.Struct):
    llmperf: msgspec.Raw = msgspec.Raw()


class _Entry(msgspec.Struct):
    fullname: str
    extra_info: _ExtraInfo


class _File(msgspec.Struct):
    benchmarks: list[_Entry]
    commit_info: CommitPart | None = None
    llmperf_gate: GatePart | None = None


class _Shape(msgspec.Struct):
    """The part that every file of pytest-benchmark has."""

    benchmarks: list[msgspec.Raw]


class _Kind(msgspec.Struct):
    """The keys by which a record differs from a sibling, and its schema."""

    schema: int | None = None
    parent: str | None = None
    metric: str | None = None


_FILE = msgspec.json.Decoder(_File)
_SHAPE = msgspec.json.Decoder(_Shape)
_KIND = msgspec.json.Decoder(_Kind | None)
_RECORD = msgspec.json.Decoder(Record)


def read_file(path: Path) -> StoredFile:
    """Read the records of a file.

    Raises:
        StoredError: the file is unreadable, truncated, empty, not one of pytest-benchmark, without a
            measurement of this plugin, or of a schema that is newer than this release.
    """
    try:
        content = read_regular(path)
    except OSError as error:
        raise StoredError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not content.strip():
        raise StoredError(f"{path}: is empty")
    return decode(content, path)


def read_run(path: Path) -> StoredRun:
    """Read a stored run as the gate judges it.

    Raises:
        StoredError: as in ``read_file``.
    """
    try:
        return read_file(path).run()
    except RecursionError:
        raise StoredError(f"{path}: is nested too deeply") from None


def read_runs(paths: Iterable[Path]) -> tuple[list[StoredRun], list[str]]:
    """Read the runs that can be read, oldest first, and return one line for each file left out."""
    runs, problems = [], []
    for path in paths:
        try:
            runs.append(read_run(path))
        except StoredError as error:
            problems.append(str(error))
    return sorted(runs, key=lambda run: run.started_at), problems


def file_of(
    entries: Iterable[Mapping[str, Any]], commit_info: Mapping[str, Any] | None, name: str
) -> StoredFile:
    """Return entries that are not stored yet as they will be read from their file.

    Args:
        entries: the entries as they will be in pytest-benchmark's file.
        commit_info: ``commit_info`` of the file.
        name: name of the run in messages.

    Raises:
        StoredError: as in ``read_file``.
    """
    ours = [
        {"fullname": entry["fullname"], "extra_info": {KEY: entry["extra_info"][KEY]}}
        for entry in entries
        if entry["extra_info"].get(KEY)
    ]
    branch = (commit_info or {}).get("branch")
    file = {"benchmarks": ours, "commit_info": {"branch": branch}}
    return decode(msgspec.json.encode(file), Path(name))


def decode(content: bytes, path: Path) -> StoredFile:
    """Return the data in a file's content.

    Args:
        path: name of the file in messages.

    Raises:
        StoredError: as in ``read_file``.
    """
    try:
        try:
            file = _FILE.decode(content)
        except msgspec.ValidationError:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Python's own writer puts NaN and lone surrogates into other people's benchmarks.
            file = _FILE.decode(msgspec.json.encode(_strict(json.loads(content))))
        return _stored(file, path)
    except msgspec.ValidationError as error:
        problem = _problem(content) or f"does not hold what schema {SCHEMA} says ({error})"
    except (ValueError, RecursionError, MemoryError) as error:
        problem = f"is not complete JSON ({error})"
    raise StoredError(f"{path}: {problem}")


def is_entry(value: Mapping[str, Any]) -> bool:
    """Return whether a value is an entry that can be read when it is stored."""
    named = isinstance(value.get("name"), str) and isinstance(value.get("stats"), dict)
    return named and _is_readable({"benchmarks": [{"fullname": "", "extra_info": {}, **value}]})


def is_commit(value: Mapping[str, Any]) -> bool:
    """Return whether a value is a ``commit_info`` that can be read when it is stored."""
    named = isinstance(value.get("id", ""), (str, type(None)))
    return named and _is_readable({"benchmarks": [], "commit_info": value})


def _is_readable(file: dict[str, Any]) -> bool:
    try:
        decode(msgspec.json.encode(_strict(file)), Path())
    except NoRecordError:
        return True
    except (StoredError, ValueError, RecursionError):
        return False
    return True


def _strict(value: Any) -> Any:
    """Return JSON as the standard has it: null for numbers that are not finite, no lone surrogates."""
    if isinstance(value, dict):
        return {_strict(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _problem(content: bytes) -> str | None:
    """Return what is wrong with a file apart from its records, or None."""
    try:
        data = _strict(json.loads(content))
    except (ValueError, RecursionError, MemoryError) as error:
        return f"is not complete JSON ({error})"
    try:
        _SHAPE.decode(msgspec.json.encode(data))
    except msgspec.ValidationError:
        return "is not a file of pytest-benchmark"
    return None


def _stored(file: _File, path: Path) -> StoredFile:
    records: dict[str, Record] = {}
    chosen: dict[str, list[str]] = {}
    for entry in file.benchmarks:
        ours = _KIND.decode(entry.extra_info.llmperf) if entry.extra_info.llmperf else None
        if ours is None:
            continue
        if ours.parent is not None and ours.metric is not None:
            chosen.setdefault(ours.parent, []).append(ours.metric)
        elif ours.schema is not None and ours.schema > SCHEMA:
            raise StoredError(
                f"{path}: schema {ours.schema} is newer than this release knows ({SCHEMA}); "
                "upgrade pytest-llmperf"
            )
        else:
            records[entry.fullname] = _RECORD.decode(entry.extra_info.llmperf)
    if not records:
        raise NoRecordError(f"{path}: {NOT_OURS}")
    commit, gate = file.commit_info or {}, file.llmperf_gate or {}
    return StoredFile(
        path=path,
        records=tuple(records.values()),
        chosen={
            record["nodeid"]: tuple(chosen.get(fullname, ()))
            for fullname, record in records.items()
        },
        branch=_branch(next(iter(records.values())), commit),
        rejected=frozenset((r["nodeid"], r["metric"]) for r in gate.get("regressions", ())),
    )


def _branch(record: Record, commit: CommitPart) -> str:
    """Return a run's branch; pytest-benchmark's words for what git does not name are not one."""
    by_git = commit.get("branch") or ""
    return record["run"].get("branch") or ("" if by_git in NO_BRANCH else by_git)


@dataclass(frozen=True)
class CellName:
    """The parts of a cell's id, as tests show them."""

    id: str
    """MODEL-BACKEND-MODE, and the degree where several devices share the model."""
    backend: str
    """The engine with its label (``vllm@next``)."""
    degree: str
    """The parallelism, for instance ``tp2``; empty for one device."""


def cell_name(record: Record) -> CellName:
    """Return the cell of a record; early files have only its parts."""
    model, mode = record["model"]["name"], record["quantization"]["mode"]
    backend = record["backend"]["name"]
    cell = record.get("cell") or f"{model}-{backend}-{mode}"
    match = re.fullmatch(rf"(.+?)-{re.escape(mode)}(?:-(.+))?", cell.removeprefix(f"{model}-"))
    return CellName(cell, *(match.groups(default="") if match else (backend, "")))


def judged_test(record: Record, chosen: Sequence[str]) -> TestRecord:
    """Return a record as the gate judges it.

    A share of a ceiling is judged by the rate that was reached: another ceiling is not another result.

    Args:
        chosen: metrics that are separate entries.
    """
    metrics, model, backend = record["metrics"], record["model"], record["backend"]
    judged = [key for key in metrics if key in chosen or key == PAIRED]
    ceilings = {key: ceiling_of(record["environment"], key) for key in SHARES.intersection(judged)}
    judged = [key for key in judged if key not in SHARES or ceilings[key]]
    if not judged and _LOAD in metrics:
        judged = [_LOAD]  # A test of loading only: its one entry is that time.
    workload: dict[str, Any] = {**record["workload"]}
    nats: tuple[float, ...] = ()
    if quality := record.get("quality"):
        workload["text"] = quality["text"]["sha256"]
        nats = tuple(document["nll"] for document in quality["documents"])
    return TestRecord(
        nodeid=record["nodeid"],
        cell=cell_name(record).id,
        subject={
            "model": model["name"],
            "revision": model["revision"],
            "type": model["dtype"],
            "load format": model["load_format"],
            "engine": backend["name"],
            "quantization": record["quantization"]["mode"],
            # Files of earlier releases hold secrets.
            **{
                f"{backend['name']}.{key}": value
                for key, value in without_secrets(backend["args"]).items()
            },
        },
        workload=workload,
        environment=record["environment"],
        metrics={
            key: _observation(metrics[key], nats if key == PAIRED else (), ceilings.get(key))
            for key in judged
        },
        limits=record.get("gate", {}),
        engine_version=backend["version"],
    )


def _observation(
    metric: MetricPart, samples: tuple[float, ...], ceiling: tuple[float, str] | None
) -> Observation:
    size, unit = ceiling or (1.0, metric["unit"])
    return Observation(
        value=metric["p50"] * size,
        unit=unit,
        better=metric["better"],
        kind=metric["kind"],
        samples=samples,
    )
