"""``pytest-llmperf history``: level, noise and steps of every entry."""

import csv
import json
import sys

import pytest

from pytest_llmperf.cli.main import main
from pytest_llmperf.gate import series
from pytest_llmperf.store.stored import read_run

NODEID = "test_speed.py::test_x[m-vllm-none]"


@pytest.fixture
def runs(save, stored_json, storage, monkeypatch):
    """Stored runs with these times to the first token, in the storage below the current folder."""
    monkeypatch.chdir(storage.parent)

    def make(*values):
        return [save(i, stored_json(i, NODEID, ttft=v)) for i, v in enumerate(values, 1)]

    return make


@pytest.fixture
def row(capsys):
    """The fields of the only row that the command prints."""

    def make(*arguments):
        assert main(["history", *map(str, arguments)]) == 0
        lines = capsys.readouterr().out.splitlines()
        (found,) = (line for line in lines if line.startswith(NODEID))
        return found.removeprefix(NODEID).split()

    return make


def test_an_entry_has_its_level_its_noise_and_its_newest_run(runs, row):
    runs(0.100, 0.101, 0.099, 0.110)
    metric, n, level, _, between, newest, _, change = row()
    assert (metric, n, level, newest) == ("ttft", "4", "100.5", "110")
    assert change == "+9.5%"
    # Standard deviation of the logarithms, by hand.
    assert between == "4.84%"


def test_the_level_begins_at_the_accepted_run(runs, row, tmp_path):
    paths = runs(0.100, 0.100, 0.120, 0.122)
    since = read_run(paths[2]).started_at
    entry = {
        "nodeid": NODEID,
        "metric": "ttft",
        "since": since,
        "commit": "c",
        "reason": "wanted",
    }
    accepted = tmp_path / "accepted.json"
    accepted.write_text(json.dumps({"schema": 1, "accepted": [entry]}))
    _, n, level, *_, change = row("--accepted", accepted)
    assert (n, level, change) == ("4", "121", "+0.8%")


def test_every_value_is_exported(runs, row, tmp_path):
    runs(0.1, 0.2)
    file = tmp_path / "values.csv"
    row("--csv", file)
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert [(r["test"], r["metric"], r["unit"], float(r["value"])) for r in rows] == [
        (NODEID, "ttft", "s", 0.1),
        (NODEID, "ttft", "s", 0.2),
    ]


def test_a_test_or_metric_that_is_not_there_is_one_line_and_3(runs, capsys):
    runs(0.1)
    assert main(["history", "--metric=tpot"]) == 3
    assert capsys.readouterr().err == "pytest-llmperf history: no stored run has such an entry\n"


def test_a_broken_file_is_named_and_left_out(runs, row, storage, capsys):
    runs(0.1, 0.1)
    (storage / "0009_broken.json").write_text("{")
    assert main(["history"]) == 0
    out = capsys.readouterr().out
    assert "left out: .benchmarks/0009_broken.json: is not complete JSON" in out


def test_an_environment_without_otava_is_one_line_and_3(runs, capsys):
    runs(0.1, 0.1)
    assert main(["history", f"--otava={sys.executable}"]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "No module named 'otava'" in error


def test_change_points_come_back_with_their_run(runs, tmp_path):
    # No environment of the tests has otava: a stand-in with its documented function and result.
    package = tmp_path / "otava"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "analysis.py").write_text(
        """
class Stats:
    def forward_rel_change(self):
        return 0.25

class Point:
    index = 2
    stats = Stats()

def compute_change_points(series, window_len, max_pvalue, min_magnitude):
    assert (window_len, max_pvalue, min_magnitude) == (50, 0.0001, 0.02)
    return [Point()] if len(series) == 4 else [], None
"""
    )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    found = series.collect([read_run(p) for p in runs(0.1, 0.1, 0.125, 0.125)], {})
    assert series.change_points(found, str(python)) == [[(2, 0.25)]]


def test_text_of_others_controls_no_terminal_and_is_no_formula(runs, storage, capsys, tmp_path):
    path, *_ = runs(0.1, 0.1)
    content = json.loads(path.read_text())
    content["commit_info"]["branch"] = "=cmd|calc!A0"
    path.write_text(json.dumps(content))
    (storage / "0009_x\n\x1b[31mred.json").write_text("{")
    sheet = tmp_path / "h.csv"
    assert main(["history", "--csv", str(sheet)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"0009_x\n\x1b[31mred.json: is not complete JSON" in out
    rows = csv.DictReader(sheet.read_text().splitlines())
    branches = [row["branch"] for row in rows]
    assert branches[0] == "'=cmd|calc!A0"
    assert not branches[1].startswith("'")


def test_a_changed_setting_is_a_break_in_the_series(
    save, stored_json, storage, monkeypatch, capsys
):
    monkeypatch.chdir(storage.parent)
    for number in range(1, 5):
        save(number, stored_json(number, NODEID, ttft=0.1))
    changed = {"name": "vllm", "version": "1", "args": {"block_size": 32}, "settings": {}}
    for number in range(5, 8):
        save(number, stored_json(number, NODEID, ttft=0.2, backend=changed))
    assert main(["history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (found,) = [line for line in lines if line.startswith("break: ")]
    assert found == f"break: {NODEID} at 05cccccc: vllm.block_size: 16 / 32"


def test_two_machines_that_take_turns_are_one_break_each_way(
    save, stored_json, storage, monkeypatch, capsys
):
    monkeypatch.chdir(storage.parent)
    for number in range(1, 7):
        machine = {"device": "cpu", "cpu": f"CPU {number % 2}", "cores": 2}
        save(number, stored_json(number, NODEID, ttft=0.1, environment=machine))
    assert main(["history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = [line for line in lines if line.startswith("break: ")]
    assert len(found) == 2
    assert found[0].endswith(": CPU: CPU 1 / CPU 0 (3 times)")


def test_a_run_of_the_future_does_not_hide_the_others(runs, capsys, stored_json, save):
    runs(0.100, 0.101)
    content = stored_json(3, NODEID, ttft=0.5)
    record = content["benchmarks"][0]["extra_info"]["llmperf"]
    record["run"]["started_at"] = "2046-01-01T00:00:00+00:00"
    save(3, content)
    assert main(["history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    start = "its start, 2046-01-01T00:00:00+00:00, is ahead of this machine's clock"
    assert any(line.startswith("left out: ") and start in line for line in lines)
    (row,) = [line for line in lines if line.startswith(NODEID)]
    assert row.removeprefix(NODEID).split()[:2] == ["ttft", "2"]


def test_a_branch_without_runs_names_those_that_there_are(runs, capsys):
    runs(0.1)
    assert main(["history", "--branch=nosuch"]) == 3
    assert capsys.readouterr().err == (
        "pytest-llmperf history: --branch: no stored run is of branch 'nosuch'; stored: 1 of main\n"
    )
