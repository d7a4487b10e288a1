"""plan.json comes from anywhere: it is checked before anything of it is used or run."""

import json
import os

import pytest

from pytest_llmperf.ab import plan as plans
from pytest_llmperf.ab import stored_plan
from pytest_llmperf.ab.plan import PlanError, Withheld
from pytest_llmperf.ab.sides import Side
from pytest_llmperf.gate.limits import LimitSettings

ODD = [
    None,
    True,
    -1,
    0.5,
    10**30,
    "",
    "\0",
    "\ud800",
    "x" * 10_000,
    [],
    [[]],
    [None],
    {},
    {"a": 1},
]


@pytest.fixture
def folder(tmp_path):
    """The folder of a comparison that has begun."""
    head = Side("head", python="/usr/bin/python3", args=("-x",))
    plans.new(tmp_path, Side("base"), head, pytest_args=["-q"]).begin(tmp_path / "out")
    return tmp_path / "out"


def change(folder, data):
    (folder / "plan.json").write_text(json.dumps(data))


def stored(folder):
    return json.loads((folder / "plan.json").read_text())


def problem(folder):
    """Why the plan is refused; empty if it is not."""
    try:
        plans.load(folder)
    except PlanError as error:
        return str(error)
    return ""


def test_a_plan_is_read_as_it_was_written(folder, tmp_path):
    plan = plans.load(folder)
    assert plan.head == Side("head", python="/usr/bin/python3", args=("-x",))
    assert plan.repository == str(tmp_path)
    assert (plan.pytest_args, plan.first_pairs, plan.more_pairs) == (("-q",), 3, 5)


FIELDS = [
    *("schema", "job", "base", "head", "repository", "pytest_args", "setup", "first_pairs"),
    *("more_pairs", "min_effect", "must_see"),
    *((side, part) for side in ("base", "head") for part in Side.__dataclass_fields__),
]


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_every_odd_value_is_one_line_or_has_a_meaning(folder, field):
    for odd in ODD:
        data = stored(folder)
        part, name = (data, field) if isinstance(field, str) else (data[field[0]], field[1])
        before = part[name]
        part[name] = odd
        change(folder, data)
        assert "\n" not in problem(folder)
        if isinstance(odd, dict):
            assert "is not a plan" in problem(folder)
        part[name] = before
        change(folder, data)


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_a_field_that_is_missing_is_one_line(folder, field):
    data = stored(folder)
    part, name = (data, field) if isinstance(field, str) else (data[field[0]], field[1])
    del part[name]
    change(folder, data)
    with pytest.raises(PlanError, match=rf"is not a plan of pytest-llmperf ab .*`{name}`"):
        plans.load(folder)


def test_a_plan_says_whether_sides_take_turns(tmp_path):
    for in_turns in (True, False):
        out = tmp_path / str(in_turns)
        head = Side("head", args=("-x",))
        plans.new(tmp_path, Side("base"), head, in_turns=in_turns).begin(out)
        assert plans.load(out).in_turns is in_turns


def test_an_earlier_plan_goes_on_one_side_after_the_other(folder):
    before = {**stored(folder), "schema": 1}
    del before["in_turns"]
    change(folder, before)
    assert plans.load(folder).in_turns is False


def test_a_field_of_no_meaning_is_one_line(folder):
    change(folder, {**stored(folder), "run": "me"})
    with pytest.raises(PlanError, match="unknown field `run`"):
        plans.load(folder)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"schema": 1, "job": ' + b"[" * 100_000, b"\xff", b"\0" * 10]
)
def test_deep_or_damaged_json_is_one_line(folder, content):
    (folder / "plan.json").write_bytes(content)
    with pytest.raises(PlanError, match="is not a plan"):
        plans.load(folder)


@pytest.mark.parametrize(
    ("field", "value"), [("first_pairs", 1001), ("more_pairs", -1), ("min_effect", 1.5)]
)
def test_a_number_out_of_range_is_one_line(folder, field, value):
    change(folder, {**stored(folder), field: value})
    with pytest.raises(PlanError, match=field):
        plans.load(folder)


def test_a_plan_of_another_machine_is_one_line(folder):
    change(folder, {**stored(folder), "repository": "/nosuch/project"})
    with pytest.raises(PlanError) as raised:
        plans.load(folder)
    assert str(raised.value) == f"{folder} was begun in /nosuch/project, which is not here"


@pytest.mark.parametrize("name", [".", "plan.json"])
def test_what_others_can_write_is_not_run(folder, name):
    place = folder / name
    place.chmod(place.stat().st_mode | 0o002)
    with pytest.raises(PlanError) as raised:
        plans.load(folder)
    assert str(raised.value) == (
        f"{place} can be written by every user, and --resume would run what its plan says: if you "
        "trust it, go on with a copy of the folder"
    )


def test_a_folder_of_another_user_is_not_run(folder, monkeypatch):
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(PlanError) as raised:
        plans.load(folder)
    assert str(raised.value).startswith(f"{folder} belongs to another user, and --resume would run")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "plan.json holds no secrets: give --setup again"),
        ("touch b", "--resume goes on with --setup that it began with"),
    ],
)
def test_a_setup_command_of_a_file_is_never_run(folder, given, message):
    change(folder, {**stored(folder), "setup": "touch a"})
    with pytest.raises(PlanError) as raised:
        plans.resumed(folder, [], LimitSettings(), Withheld(setup=given))
    assert str(raised.value) == message


def test_of_two_that_begin_at_once_one_has_the_folder(folder, tmp_path):
    plan = plans.new(tmp_path, Side("base"), Side("head", args=("-x",)))
    before = (folder / "plan.json").read_text()
    with pytest.raises(PlanError, match="holds a comparison already"):
        plan.begin(folder)
    assert (folder / "plan.json").read_text() == before


def test_a_pipe_in_the_place_of_a_plan_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "plan.json")
    with pytest.raises(
        PlanError, match=r"is not a plan of pytest-llmperf ab \(.*not a regular file"
    ):
        stored_plan.read(tmp_path / "plan.json")
