"""The JSON Schema of a record, docs/reference/record.schema.json: see make_docs.py."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from pytest_llmperf.store.schema import Record


def record_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of ``extra_info["llmperf"]`` of a primary entry."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pytest-llmperf record, schema 1",
        **msgspec.json.schema(Record),
    }


def record_schema_lines() -> list[str]:
    """Return the lines of the published file."""
    return json.dumps(record_schema(), indent=2).splitlines()
