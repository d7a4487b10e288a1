import fcntl
import json
import os
import platform
import re
import resource
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_llmperf.store import journal

ONE = {"name": "test_a", "stats": {"data": [0.1, 0.2]}}
TWO = {"name": "test_b", "stats": {"data": [0.3]}}
HEADER = {
    "machine_info": {"cpu": "some"},
    "commit_info": {"id": "abc123"},
    "machine_id": "Linux-CPython-3.11-64bit",
    "benchmark_version": "5.3.1",
    "datetime": "2026-01-02T03:04:05+00:00",
}
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@pytest.fixture
def own(storage):
    """The journal of the run that is going on."""
    return journal.Journal(storage, "0123abcd", HEADER)


def test_nothing_is_written_before_the_first_entry(own, storage):
    assert list(storage.iterdir()) == []
    assert own.entries == 0


def test_entries_are_on_disk_after_each_append(own):
    own.append([ONE])
    assert journal.read(own.path).entries == (ONE,)
    own.append([TWO, ONE])
    assert journal.read(own.path).entries == (ONE, TWO, ONE)
    assert own.entries == 3


def test_the_header_says_who_writes_it_and_is_written_once(own):
    own.append([ONE])
    own.append([TWO])
    header = journal.read(own.path).header
    # A tick of the kernel's clock, where the kernel says it.
    assert (header.pop("process_start") is not None) == Path("/proc/self/stat").exists()
    assert (header.pop("boot") is not None) == BOOT_ID.exists()
    assert header == {"journal": 1, "pid": os.getpid(), **HEADER}
    assert len(own.path.read_text().splitlines()) == 3


def test_a_run_is_named_after_its_file(own):
    own.append([ONE])
    assert journal.read(own.path).run_id == "0123abcd"


def test_a_value_that_is_no_json_is_written_as_text(own, tmp_path):
    own.append([{**ONE, "params": {"path": tmp_path, (1, 2): "a tuple as a key"}}])
    params = {"path": str(tmp_path), "(1, 2)": "a tuple as a key"}
    assert journal.read(own.path).entries == ({**ONE, "params": params},)


def test_a_removed_journal_leaves_nothing(own, storage):
    own.append([ONE])
    own.remove()
    assert list(storage.iterdir()) == []


def test_removing_a_journal_that_was_never_written_is_fine(own):
    own.remove()


def test_removing_a_journal_leaves_those_of_other_runs(own, leave_journal):
    other = leave_journal("ffff", [TWO])
    own.append([ONE])
    own.remove()
    assert other.is_file()


def test_an_incomplete_last_line_is_left_out(leave_journal):
    path = leave_journal("ffff", [ONE, TWO])
    path.write_text(path.read_text()[:-5])
    assert journal.read(path).entries == (ONE,)


def test_a_last_line_that_lacks_only_its_end_is_read(leave_journal):
    path = leave_journal("ffff", [ONE, TWO])
    path.write_text(path.read_text().removesuffix("\n"))
    run = journal.read(path)
    assert (run.entries, run.unreadable) == ((ONE, TWO), 0)


def test_a_run_that_is_going_on_is_known_by_its_process(leave_journal):
    assert journal.read(leave_journal("aaaa", [ONE], pid=os.getpid())).is_running
    assert not journal.read(leave_journal("bbbb", [ONE])).is_running


def test_a_run_of_another_user_is_going_on_too(leave_journal, monkeypatch):
    def not_permitted(pid, number):
        raise PermissionError(1, "Operation not permitted")

    run = journal.read(leave_journal("aaaa", [ONE]))
    monkeypatch.setattr(os, "kill", not_permitted)
    assert run.is_running


@pytest.mark.parametrize("damaged", [b'{"name": "tes', b"3", b"\xff\xfe", b""])
def test_a_damaged_line_costs_itself_only_and_is_counted(leave_journal, damaged):
    path = leave_journal("ffff", [ONE, TWO, ONE])
    lines = path.read_bytes().splitlines()
    lines[2] = damaged
    path.write_bytes(b"\n".join(lines) + b"\n")
    run = journal.read(path)
    assert run.entries == (ONE, ONE)
    assert run.unreadable == 1


@contextmanager
def full_disk(path, room):
    """Let a file grow by so many bytes: what a full disk does, it takes a part and refuses the rest."""
    size = path.stat().st_size if path.exists() else 0
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("room", [0, 1, 30])
def test_what_a_full_disk_did_not_take_does_not_swallow_later_entries(own, room):
    own.append([ONE])
    with full_disk(own.path, room), pytest.raises(OSError, match="File too large"):
        own.append([TWO])
    own.append([ONE, ONE])
    run = journal.read(own.path)
    assert run.entries == (ONE, ONE, ONE)
    assert own.entries == 3


def test_a_header_that_a_full_disk_did_not_take_is_written_again(own):
    with full_disk(own.path, 30), pytest.raises(OSError, match="File too large"):
        own.append([ONE])
    assert not own.path.exists()
    own.append([TWO])
    assert journal.read(own.path).entries == (TWO,)


def test_a_run_on_another_machine_is_not_known_by_this_ones_processes(leave_journal):
    # Its process number means nothing here, whether it lives here or not.
    path = leave_journal("aaaa", [ONE], machine_info={"node": "another"})
    assert journal.read(path).is_running
    assert not journal.read(path).is_of_this_machine


def test_a_run_on_another_machine_that_was_silent_for_a_day_is_over(leave_journal):
    path = leave_journal("aaaa", [ONE], pid=os.getpid(), machine_info={"node": "another"})
    for hours, is_running in ((23, True), (25, False)):
        long_ago = time.time() - hours * 3600
        os.utime(path, (long_ago, long_ago))
        assert journal.read(path).is_running is is_running


def test_a_run_on_this_machine_is_known_by_its_process_however_silent(leave_journal):
    here = {"node": platform.node()}
    living = leave_journal("aaaa", [ONE], pid=os.getpid(), machine_info=here)
    dead = leave_journal("bbbb", [ONE], machine_info=here)
    os.utime(living, (1, 1))
    assert journal.read(living).is_running
    assert not journal.read(dead).is_running


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the kernel does not say it")
def test_another_process_with_the_same_number_is_not_the_run(own):
    own.append([ONE])
    assert journal.read(own.path).is_running
    header, entry = own.path.read_text().splitlines()
    earlier = {**json.loads(header), "process_start": json.loads(header)["process_start"] - 1}
    own.path.write_text(f"{json.dumps(earlier)}\n{entry}\n")
    assert not journal.read(own.path).is_running


@pytest.mark.parametrize("pid", [0, -1, 2**70])
def test_a_number_that_no_process_has_is_not_running(leave_journal, pid):
    assert not journal.read(leave_journal("aaaa", [ONE], pid=pid)).is_running


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pid", "12"),
        ("pid", True),
        ("commit_info", None),
        ("commit_info", {"id": 5}),
        ("commit_info", {"branch": []}),
        ("machine_id", 3),
        ("machine_id", "../../x"),
        ("machine_id", "/tmp"),
        ("machine_id", ".."),
        ("machine_id", ".llmperf"),
        ("machine_id", "a\0b"),
        ("machine_id", ""),
    ],
)
def test_a_header_that_holds_something_else_is_rejected(leave_journal, key, value):
    path = leave_journal("aaaa", [ONE], **{key: value})
    message = f"{path}: its header's {key} cannot be {value!r}"
    with pytest.raises(journal.JournalError, match=f"^{re.escape(message)}$"):
        journal.read(path)


def test_a_journal_that_goes_away_while_they_are_listed_is_not_listed(storage, leave_journal):
    kept = leave_journal("aaaa", [ONE])
    (kept.parent / "gone.jsonl").symlink_to("nothing")
    assert journal.interrupted_runs(storage) == [kept]


@pytest.mark.parametrize("content", ["", "{}\n", "[]\n", '"journal"\n', '{"journal": 1'])
def test_a_foreign_file_is_rejected(tmp_path, content):
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    message = f"{path}: not a journal of pytest-llmperf"
    with pytest.raises(journal.JournalError, match=f"^{re.escape(message)}$"):
        journal.read(path)


def test_a_file_that_is_no_text_is_rejected(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(journal.JournalError, match=f"^{re.escape(str(path))}: cannot be read \\("):
        journal.read(path)


def test_a_future_version_is_rejected(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"journal": 2}\n')
    message = f"{path}: journal version 2 is not known to this release (it knows 1)"
    with pytest.raises(journal.JournalError, match=f"^{re.escape(message)}$"):
        journal.read(path)


def test_a_header_without_machine_and_commit_is_rejected(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"journal": 1}\n')
    with pytest.raises(journal.JournalError, match=f"^{re.escape(str(path))}: "):
        journal.read(path)


def test_journals_are_listed_oldest_first(storage, leave_journal):
    new, old = leave_journal("aaaa", [ONE]), leave_journal("bbbb", [TWO])
    os.utime(old, (1, 1))
    os.utime(new, (2, 2))
    assert journal.interrupted_runs(storage) == [old, new]


def test_a_folder_without_journals_has_no_interrupted_runs(storage):
    assert journal.interrupted_runs(storage) == []


def test_a_stored_run_has_the_form_of_pytest_benchmarks_files(storage, leave_journal):
    path = leave_journal("ffff", [ONE, TWO])
    target = journal.store(journal.read(path), storage)
    folder = storage / "Linux-CPython-3.11-64bit"
    assert target == folder / "0001_abc123_recovered-ffff.json"
    assert json.loads(target.read_text()) == {
        "machine_info": {"cpu": "some"},
        "commit_info": {"id": "abc123"},
        "benchmarks": [ONE, TWO],
        "datetime": "2026-01-02T03:04:05+00:00",
        "version": "5.3.1",
    }
    assert not path.exists()
    assert list(folder.iterdir()) == [target]


def test_a_stored_run_continues_the_numbers(storage, leave_journal):
    folder = storage / "Linux-CPython-3.11-64bit"
    folder.mkdir()
    (folder / "0007_abc_20260101.json").write_text("{}")
    (folder / "notes.json").write_text("{}")
    names = [
        journal.store(journal.read(leave_journal(run_id, [ONE])), storage).name
        for run_id in ("aaaa", "bbbb")
    ]
    assert names == ["0008_abc123_recovered-aaaa.json", "0009_abc123_recovered-bbbb.json"]


def test_a_commit_that_is_no_file_name_writes_no_other_file(storage, leave_journal):
    path = leave_journal("aaaa", [ONE], commit_info={"id": "../../x"})
    target = journal.store(journal.read(path), storage)
    assert target.parent.parent == storage
    assert ".._.._x" in target.name


@pytest.mark.parametrize(
    "line",
    ["[" * 100_000, '{"name": 1, "stats": {}}', '{"name": "test_a"}', "9" * 5000, "null"],
    ids=["deep", "its name is a number", "no stats", "5,000 digits", "null"],
)
def test_a_line_that_is_no_entry_is_left_out_and_counted(leave_journal, line):
    path = leave_journal("aaaa", [ONE])
    path.write_text(path.read_text() + line + "\n")
    run = journal.read(path)
    assert (run.entries, run.unreadable) == ((ONE,), 1)


def test_an_entry_whose_record_cannot_be_read_does_not_cost_the_others(leave_journal):
    damaged = {**ONE, "fullname": "test_a", "extra_info": {"llmperf": {"schema": 1, "run": 3}}}
    run = journal.read(leave_journal("aaaa", [damaged, TWO]))
    assert (run.entries, run.unreadable) == ((TWO,), 1)


def test_of_a_test_that_ran_again_the_last_entry_is_kept(leave_journal):
    first, last = ({**ONE, "fullname": "a.py::test_a", "stats": {"data": [n]}} for n in (1, 2))
    assert journal.read(leave_journal("aaaa", [first, TWO, last])).entries == (last, TWO)


def test_an_earlier_attempt_that_had_more_metrics_leaves_none(leave_journal):
    test, other = ({**ONE, "fullname": f"a.py::test_{name}", "extra_info": {}} for name in "ab")
    metric = {
        **ONE,
        "fullname": "a.py::test_a[ttft]",
        "extra_info": {"llmperf": {"parent": "a.py::test_a", "metric": "ttft"}},
    }
    again = {**test, "stats": {"data": [0.2]}}
    path = leave_journal("aaaa", [test, metric, other, again])
    assert journal.read(path).entries == (again, other)
    path = leave_journal("bbbb", [test, metric, other, again, metric])
    assert journal.read(path).entries == (again, metric, other)


def test_a_run_goes_on_while_one_of_its_forked_processes_does(leave_journal):
    path = leave_journal("aaaa", [ONE])
    header = json.loads(path.read_text().splitlines()[0])
    with path.open("a") as file:
        file.write(json.dumps({**header, "pid": os.getpid()}) + "\n")
    assert journal.read(path).is_running


@pytest.mark.parametrize("key", ["pid", "process_start", "boot"])
def test_a_header_of_a_forked_process_may_be_damaged(leave_journal, key):
    path = leave_journal("aaaa", [ONE])
    with path.open("a") as file:
        file.write(json.dumps({"journal": 1, key: [2]}) + "\n")
    assert not journal.read(path).is_running


@pytest.mark.skipif(not BOOT_ID.exists(), reason="the kernel does not say it")
def test_a_process_of_an_earlier_start_of_the_machine_is_not_the_run(leave_journal):
    path = leave_journal("aaaa", [ONE], pid=os.getpid(), boot="another start")
    assert not journal.read(path).is_running


def test_each_process_that_a_run_forks_writes_a_header_and_no_entry_is_lost(leave_journal):
    path = leave_journal("aaaa", [ONE])
    header, _ = path.read_text().splitlines(keepends=True)
    path.write_text(path.read_text() + header + json.dumps(TWO) + "\n")
    run = journal.read(path)
    assert (run.entries, run.unreadable) == ((ONE, TWO), 0)


def _fifo(path):
    os.mkfifo(path)


def _link_to_itself(path):
    path.symlink_to(path.name)


def _zeros(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [_fifo, Path.mkdir, _zeros])
def test_what_is_no_file_is_refused_without_waiting(tmp_path, make):
    path = tmp_path / "a.jsonl"
    make(path)
    message = f"{path}: cannot be read (it is not a regular file)"
    with pytest.raises(journal.JournalError, match=f"^{re.escape(message)}$"):
        journal.read(path)


def test_a_link_to_itself_is_not_listed(storage, leave_journal):
    kept = leave_journal("aaaa", [ONE])
    _link_to_itself(kept.with_name("loop.jsonl"))
    assert journal.interrupted_runs(storage) == [kept]


def test_a_journal_is_stored_by_one_process_at_a_time(storage, leave_journal):
    run = journal.read(leave_journal("aaaa", [ONE]))
    with run.path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(journal.JournalError, match=r"another process stores it just now$"):
            journal.store(run, storage)
    journal.store(run, storage)
    with pytest.raises(journal.BusyError, match=r"another process has just stored it$"):
        journal.store(run, storage)
    with pytest.raises(journal.BusyError, match=r"another process has just stored it$"):
        journal.read(run.path)
    assert len(list(storage.glob("*/*.json"))) == 1
