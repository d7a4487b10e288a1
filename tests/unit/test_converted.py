import errno
import subprocess
import sys

import pytest

from pytest_llmperf.backends.conversion import (
    folder_digest,
    make_once,
    new_folder,
    remove_unfinished,
)


def test_a_folder_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "cache" / "model"
    with new_folder(target) as part:
        (part / "weights").write_text("1")
        assert not target.exists()
    assert (target / "weights").read_text() == "1"
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def half_a_conversion(target):
    with new_folder(target) as part:
        (part / "weights").write_text("1")
        raise OSError("disk is full")


def test_an_error_leaves_nothing_behind(tmp_path):
    with pytest.raises(OSError, match="disk"):
        half_a_conversion(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_process_that_was_first_stays(tmp_path):
    target = tmp_path / "model"
    with new_folder(target) as part:
        (part / "weights").write_text("second")
        target.mkdir()
        (target / "weights").write_text("first")
    assert (target / "weights").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_checkpoint_is_named_by_every_file_of_it(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "weights").write_text("1")
    before = folder_digest(tmp_path, 1)
    assert folder_digest(tmp_path, 1) == before
    assert folder_digest(tmp_path, 2) != before
    (tmp_path / "weights").write_text("2")
    changed = folder_digest(tmp_path, 1)
    (tmp_path / "weights").rename(tmp_path / "others")
    assert len({before, changed, folder_digest(tmp_path, 1)}) == 3


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write(part):
    (part / "weights").write_text("1")


def in_another_process(target, code):
    """Start a process that makes the folder, and runs some code while it does."""
    script = f"""
import os, sys, time
from pathlib import Path
from pytest_llmperf.backends.conversion import make_once

def make(part):
    (part / "weights").write_text("theirs")
    print("making", flush=True)
    {code}

make_once(Path({str(target)!r}), "convert", make)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "making\n"
    return process


def test_a_folder_is_made_once(tmp_path):
    phases = []
    for _ in range(2):
        make_once(tmp_path / "model", "convert", write, lambda *phase: phases.append(phase))
    assert phases == [("convert", 0, 0)]
    assert names(tmp_path) == ["model"]


def test_a_folder_that_another_process_is_making_is_waited_for(tmp_path):
    target, phases = tmp_path / "model", []
    with in_another_process(target, "sys.stdin.readline()") as other:

        def report(phase, number, total):
            phases.append(phase)
            other.stdin.write("go on\n")
            other.stdin.flush()

        make_once(target, "convert", write, report)
    assert phases == ["wait"]
    assert (target / "weights").read_text() == "theirs"
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("sweep", [True, False])
def test_what_a_killed_process_has_left_is_removed(tmp_path, sweep):
    target = tmp_path / "model"
    (tmp_path / ".another-12345678").mkdir()
    with in_another_process(target, "os.kill(os.getpid(), 9)"):
        pass
    assert len(names(tmp_path)) == 3
    if sweep:
        remove_unfinished(tmp_path)
        assert names(tmp_path) == [".another-12345678"]
    make_once(target, "convert", write)
    assert names(tmp_path) == [".another-12345678", "model"]


def test_a_folder_that_is_being_made_stays(tmp_path):
    target = tmp_path / "model"
    with in_another_process(target, "sys.stdin.readline()") as other:
        before = names(tmp_path)
        remove_unfinished(tmp_path)
        assert names(tmp_path) == before
        other.stdin.write("\n")
    assert names(tmp_path) == ["model"]


def test_a_failed_conversion_is_made_again(tmp_path):
    with pytest.raises(OSError, match="disk"):
        make_once(tmp_path / "model", "convert", fail)
    make_once(tmp_path / "model", "convert", write)
    assert names(tmp_path) == ["model"]


def fail(part):
    raise OSError("disk is full")


def test_without_locks_the_folder_is_made_and_nothing_else_is_touched(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    (tmp_path / ".model-12345678").mkdir()
    (tmp_path / ".another.lock").touch()
    (tmp_path / ".another-12345678").mkdir()
    make_once(tmp_path / "model", "convert", write)
    remove_unfinished(tmp_path)
    assert names(tmp_path) == [".another-12345678", ".another.lock", ".model-12345678", "model"]
