"""Stored files of earlier commits are read for ever, and are what the published JSON Schema says."""

import json
from pathlib import Path

import jsonschema
import pytest

from pytest_llmperf.cli.main import main
from pytest_llmperf.store.stored import StoredError, read_file

ROOT = Path(__file__).parents[2]
EARLIER = ROOT / "tests/data/simulated-7eb26ee.json"
"""The whole suite on the simulated engine, stored by that commit."""
FILES = [
    path
    for path in [EARLIER, *sorted((ROOT / "docs/data").glob("*.json"))]
    if "benchmarks" in json.loads(path.read_text("utf-8"))
]
SCHEMA = ROOT / "docs/reference/record.schema.json"


def records_of(path):
    entries = json.loads(path.read_text("utf-8"))["benchmarks"]
    ours = [entry["extra_info"].get("llmperf", {}) for entry in entries]
    return [record for record in ours if "schema" in record]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_record_of_an_earlier_commit_is_read_as_it_was_stored(path):
    assert list(read_file(path).records) == records_of(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_record_keeps_the_published_schema(path):
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))

    assert [
        error.message for record in records_of(path) for error in validator.iter_errors(record)
    ] == []


def test_the_published_schema_refuses_what_the_reader_refuses(tmp_path):
    content = json.loads(EARLIER.read_text("utf-8"))
    record = content["benchmarks"][0]["extra_info"]["llmperf"]
    record["metrics"]["ttft"]["better"] = "smaller"
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content))

    with pytest.raises(StoredError, match="does not hold what schema 1 says"):
        read_file(path)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record, json.loads(SCHEMA.read_text("utf-8")))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["history", str(EARLIER)], 0),
        (["compare", str(EARLIER), str(FILES[1])], 3),
        (["tradeoff", str(EARLIER)], 3),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_the_commands_work_on_an_earlier_file(arguments, code, capsys):
    assert main(arguments) == code
    assert "Traceback" not in capsys.readouterr().err
