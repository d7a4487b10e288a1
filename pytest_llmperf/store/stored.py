"""Read stored runs: pytest-benchmark's files with this plugin's records in them.

All reports are made of the records that this module returns, so a report of a run and one of its file
are the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..core.errors import OneLine
from ..core.files import read_regular
from ..core.secrets import without_secrets
from ..core.traits import devices_of
from .content import ContentError, read_content
from .reached import SHARES, ceiling_of
from .schema import KEY, CommitPart, MetricPart, Record

QUALITY = "quality"
PAIRED = "perplexity"
_LOAD = "load_time"
NO_BRANCH = ("(detached head)", "(unknown)")
NO_COMMIT = ("unversioned", "unknown")
"""What pytest-benchmark writes in the place of a branch or a commit that git does not name."""


class StoredError(OneLine):
    """A file that is not a stored run of this plugin; one line that names the file and the reason."""


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
    """MODEL-BACKEND-MODE and traits, the first part of the test's parameters."""
    subject: Mapping[str, Any]
    """Loaded model, its type, engine and its arguments, quantization; by name."""
    workload: Mapping[str, Any]
    environment: Mapping[str, Any]
    metrics: Mapping[str, Observation]
    limits: Mapping[str, Any]
    """The gate's settings that the test's marker or the ini file give it, by name."""
    engine_version: str = ""
    name: CellName | None = None
    """The parts of ``cell``."""


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
    return _stored(content, path)


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
    return _stored(msgspec.json.encode(file), Path(name))


def _stored(content: bytes, path: Path) -> StoredFile:
    """Return the data in a file's content.

    Args:
        path: name of the file in messages.

    Raises:
        StoredError: as in ``read_file``.
    """
    try:
        read = read_content(content)
    except ContentError as error:
        raise StoredError(f"{path}: {error}") from None
    return StoredFile(
        path=path,
        records=tuple(read.records.values()),
        chosen={
            record["nodeid"]: tuple(read.chosen.get(fullname, ()))
            for fullname, record in read.records.items()
        },
        branch=_branch(next(iter(read.records.values())), read.commit),
        rejected=frozenset((r["nodeid"], r["metric"]) for r in read.gate.get("regressions", ())),
    )


def _branch(record: Record, commit: CommitPart) -> str:
    """Return a run's branch; pytest-benchmark's words for what git does not name are not one."""
    by_git = commit.get("branch") or ""
    return record["run"].get("branch") or ("" if by_git in NO_BRANCH else by_git)


@dataclass(frozen=True)
class CellName:
    """The parts of a cell's id, as tests show them."""

    id: str
    """MODEL-BACKEND-MODE, and the traits."""
    model: str
    backend: str
    """The engine with its label (``vllm@next``)."""
    mode: str
    traits: tuple[str, ...]
    """What else changes speed or numbers (``tp2``, ``kvfp8``)."""

    @property
    def engine(self) -> str:
        """The engine without a label."""
        return self.backend.partition("@")[0]

    @property
    def label(self) -> str:
        """The label of the engine's environment or arguments; empty without one."""
        return self.backend.partition("@")[2]

    @property
    def devices(self) -> tuple[str, ...]:
        """Those traits that say how many devices share the model."""
        return devices_of(self.traits)

    @property
    def variant(self) -> str:
        """The id without the model, as tables and plots name the cell."""
        return "-".join((self.backend, self.mode, *self.traits))


def cell_name(record: Record) -> CellName:
    """Return the cell of a record; early files have only its parts."""
    model, mode = record["model"]["name"], record["quantization"]["mode"]
    backend = record["backend"]["name"]
    cell = record.get("cell") or f"{model}-{backend}-{mode}"
    traits = record["backend"].get("traits")
    # Early files have no traits but degrees of parallelism, in the id only.
    end = "(?:-(?P<traits>.+))?" if traits is None else re.escape("".join(f"-{t}" for t in traits))
    match = re.fullmatch(
        rf"(?P<backend>.+?)-{re.escape(mode)}{end}", cell.removeprefix(f"{model}-")
    )
    if match is None:
        return CellName(cell, model, backend, mode, tuple(traits or ()))
    if traits is None:
        traits = (match["traits"] or "").split("-")
    return CellName(cell, model, match["backend"], mode, tuple(filter(None, traits)))


def judged_test(record: Record, chosen: Sequence[str]) -> TestRecord:
    """Return a record as the gate judges it.

    A share of a ceiling is judged by the rate that was reached: another ceiling is not another result.

    Args:
        chosen: metrics that are separate entries.
    """
    metrics, model, backend = record["metrics"], record["model"], record["backend"]
    name = cell_name(record)
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
        cell=name.id,
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
        name=name,
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
