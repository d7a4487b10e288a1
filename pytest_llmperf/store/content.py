"""What a file of pytest-benchmark holds of this plugin: records, checked by their types."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ..core.errors import OneLine
from .schema import SCHEMA, CommitPart, GatePart, Record

NOT_OURS = "holds no measurement of pytest-llmperf"


class ContentError(OneLine):
    """Why content is not a stored run of this plugin, in one line that does not name its file."""


class _NoRecordError(ContentError):
    """Content of pytest-benchmark without a measurement of this plugin."""


@dataclass(frozen=True)
class Content:
    """What this plugin reads of a file."""

    records: Mapping[str, Record]
    """A record for each measurement, at least one, by the entry's full name."""
    chosen: Mapping[str, Sequence[str]]
    """Metrics that are separate entries, by the full name of their test's own entry."""
    commit: CommitPart
    gate: GatePart


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


def read_content(content: bytes) -> Content:
    """Return the data in a file's content.

    Raises:
        ContentError: it is not complete JSON, not of pytest-benchmark, without a measurement of this
            plugin, or of a schema that is newer than this release.
    """
    try:
        try:
            file = _FILE.decode(content)
        except msgspec.ValidationError:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Python's own writer puts NaN and lone surrogates into other people's benchmarks.
            file = _FILE.decode(msgspec.json.encode(_strict(json.loads(content))))
        return _read(file)
    except msgspec.ValidationError as error:
        problem = _problem(content) or f"does not hold what schema {SCHEMA} says ({error})"
    except (ValueError, RecursionError, MemoryError) as error:
        problem = f"is not complete JSON ({error})"
    raise ContentError(problem)


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
        read_content(msgspec.json.encode(_strict(file)))
    except _NoRecordError:
        return True
    except (ContentError, ValueError, RecursionError):
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


def _read(file: _File) -> Content:
    records: dict[str, Record] = {}
    chosen: dict[str, list[str]] = {}
    for entry in file.benchmarks:
        ours = _KIND.decode(entry.extra_info.llmperf) if entry.extra_info.llmperf else None
        if ours is None:
            continue
        if ours.parent is not None and ours.metric is not None:
            chosen.setdefault(ours.parent, []).append(ours.metric)
        elif ours.schema is not None and ours.schema > SCHEMA:
            raise ContentError(
                f"schema {ours.schema} is newer than this release knows ({SCHEMA}); "
                "upgrade pytest-llmperf"
            )
        else:
            records[entry.fullname] = _RECORD.decode(entry.extra_info.llmperf)
    if not records:
        raise _NoRecordError(NOT_OURS)
    return Content(records, chosen, file.commit_info or {}, file.llmperf_gate or {})
