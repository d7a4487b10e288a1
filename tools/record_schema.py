"""Print the JSON Schema of a record.

python tools/record_schema.py > docs/reference/record.schema.json
"""

import json
import sys

import msgspec

from pytest_llmperf.store.schema import Record


def record_schema() -> dict:
    """Return the JSON Schema (2020-12) of ``extra_info["llmperf"]`` of a primary entry."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pytest-llmperf record, schema 1",
        **msgspec.json.schema(Record),
    }


if __name__ == "__main__":
    json.dump(record_schema(), sys.stdout, indent=2)
    print()
