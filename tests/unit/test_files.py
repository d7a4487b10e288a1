"""Files that are written in one step."""

import os
import stat
from pathlib import Path

import pytest

from pytest_llmperf.core.files import write_whole


def test_a_file_holds_the_text_and_nothing_is_left_beside_it(tmp_path):
    write_whole(tmp_path / "a.json", "old")
    write_whole(tmp_path / "a.json", "é\n")
    assert (tmp_path / "a.json").read_text("utf-8") == "é\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path, monkeypatch, step):
    path = tmp_path / "a.json"
    path.write_text("old")

    def no_space(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, step) if step == "fsync" else (Path, step)), no_space)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_text_that_cannot_be_encoded_leaves_nothing(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "a.json", "\ud800")
    assert list(tmp_path.iterdir()) == []


def test_a_new_file_may_be_read_by_others_and_an_old_one_keeps_its_permissions(tmp_path):
    mask = os.umask(0o022)
    try:
        write_whole(tmp_path / "new", "text")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o644
    (tmp_path / "new").chmod(0o600)
    write_whole(tmp_path / "new", "again")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "a.json", "text")
