"""The file of accepted changes."""

import datetime
import json

import pytest

from pytest_llmperf.gate import accepted
from pytest_llmperf.gate.accepted import Accepted, AcceptedError

CHANGE = Accepted("test_a", "ttft", "2026-01-02T03:04:05+00:00", "abc", "safer sampling")
OTHER = Accepted("test_a", "e2e", "2026-01-03T03:04:05+00:00", "abd", "the same")


@pytest.fixture
def path(tmp_path):
    return tmp_path / accepted.FILE


def test_without_a_file_nothing_is_accepted(path):
    assert accepted.read(path) == ()
    assert accepted.anchors(accepted.read(path)) == {}


def test_what_is_added_is_read_back_in_the_order_of_tests(path):
    accepted.add(path, [CHANGE])
    accepted.add(path, [OTHER])
    assert accepted.read(path) == (OTHER, CHANGE)


def test_an_entry_that_is_accepted_again_replaces_its_older_entry(path):
    again = Accepted("test_a", "ttft", "2026-02-02T03:04:05+00:00", "ace", "once more")
    accepted.add(path, [CHANGE, OTHER])
    accepted.add(path, [again])
    assert accepted.read(path) == (OTHER, again)


def test_anchors_are_the_beginnings_by_entry(path):
    accepted.add(path, [CHANGE, OTHER])
    assert accepted.anchors(accepted.read(path)) == {
        ("test_a", "ttft"): CHANGE.since,
        ("test_a", "e2e"): OTHER.since,
    }


def test_the_file_is_made_to_be_reviewed(path):
    accepted.add(path, [CHANGE])
    assert (
        path.read_text()
        == json.dumps(
            {
                "schema": 1,
                "accepted": [
                    {
                        "nodeid": "test_a",
                        "metric": "ttft",
                        "since": "2026-01-02T03:04:05+00:00",
                        "commit": "abc",
                        "reason": "safer sampling",
                    }
                ],
            },
            indent=2,
        )
        + "\n"
    )


def test_nothing_else_is_left_beside_the_file(path):
    accepted.add(path, [CHANGE])
    assert list(path.parent.iterdir()) == [path]


ENTRY = {
    "nodeid": "test_a",
    "metric": "ttft",
    "since": "2026-01-02T03:04:05+00:00",
    "commit": "abc",
    "reason": "x",
}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '"text"',
        "{}",
        '{"schema": 1}',
        '{"schema": "1", "accepted": []}',
        '{"schema": 1, "accepted": 3}',
        '{"schema": 1, "accepted": [3]}',
        '{"schema": 1, "accepted": ["text"]}',
        '{"schema": 1, "accepted": [{}]}',
        json.dumps({"schema": 1, "accepted": [{**ENTRY, "more": 1}]}),
        json.dumps({"schema": 1, "accepted": [{**ENTRY, "since": None}]}),
        json.dumps({"schema": 1, "accepted": [{**ENTRY, "since": 5}]}),
        json.dumps({"schema": 1, "accepted": [{**ENTRY, "since": "zzz"}]}),
        json.dumps({"schema": 1, "accepted": [{**ENTRY, "since": ""}]}),
        json.dumps({"schema": True, "accepted": 1}),
        '{"schema": NaN, "accepted": 0}',
        '{"schema": 1, "accepted": ' + "[" * 100_000,
        '{"schema": ' + "9" * 5000 + ', "accepted": []}',
        json.dumps({"schema": 1, "accepted": [{**ENTRY, "nodeid": ["test_a"]}]}),
    ],
)
def test_what_is_no_such_file_is_refused_in_one_line(path, content):
    path.write_text(content)
    with pytest.raises(AcceptedError) as error:
        accepted.read(path)
    assert str(error.value).startswith(f"{path}: cannot be read as a list of accepted changes (")
    assert "\n" not in str(error.value)


def test_a_binary_file_is_refused(path):
    path.write_bytes(b"\x00\xff\xfe")
    with pytest.raises(AcceptedError, match="cannot be read as a list"):
        accepted.read(path)


def test_a_newer_schema_is_refused(path):
    path.write_text('{"schema": 2, "accepted": []}')
    with pytest.raises(AcceptedError, match="schema 2 is newer than this release knows"):
        accepted.read(path)


def test_a_damaged_file_is_not_overwritten(path):
    path.write_text("{")
    with pytest.raises(AcceptedError):
        accepted.add(path, [CHANGE])
    assert path.read_text() == "{"


def test_a_change_that_begins_ahead_of_now_is_not_used_and_is_named(path):
    future = Accepted("test_a", "tpot", "2046-01-01T00:00:00+00:00", "abc", "wanted")
    accepted.add(path, [CHANGE, future])
    changes = accepted.read(path)
    assert accepted.anchors(changes) == {("test_a", "ttft"): CHANGE.since}
    (line,) = accepted.problems(path, changes)
    assert line.startswith(
        f"{accepted.FILE}: test_a tpot is accepted since {future.since}, ahead of"
    )


def test_clocks_of_two_machines_may_differ_a_little(path):
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=5)
    change = Accepted("test_a", "tpot", soon.isoformat(timespec="seconds"), "abc", "wanted")
    assert accepted.ahead([change]) == []
