"""The folders that are written to."""

import os
import stat
from types import SimpleNamespace

import pytest

from pytest_llmperf.core import folders
from pytest_llmperf.core.files import check_target
from pytest_llmperf.core.folders import check_writable, may_be_writable, private_folder
from pytest_llmperf.session.logs import Logs


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The shared temporary folder."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def logs(temporary, tmp_path):
    """The logs of a run without pytest's cache."""
    root = tmp_path / "project"
    root.mkdir()
    return Logs(SimpleNamespace(rootpath=root))


def test_a_check_leaves_nothing(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_check_leaves_what_was_there(tmp_path):
    (tmp_path / "a").mkdir()
    check_writable(tmp_path / "a")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_full_disk_is_found_and_nothing_is_left(tmp_path, monkeypatch):
    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        check_writable(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    assert not may_be_writable(tmp_path / "file" / "a")
    with pytest.raises(NotADirectoryError):
        check_writable(tmp_path / "file" / "a")


def test_a_target_that_exists_keeps_its_content(tmp_path):
    (tmp_path / "run.json").write_text("old")
    check_target(tmp_path / "run.json")
    check_target(tmp_path / "new.json")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_the_private_folder_has_the_same_name_in_every_run(temporary):
    folder = private_folder()
    assert folder == temporary / f"pytest-llmperf-{os.geteuid()}"
    assert private_folder() == folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_private_folder_that_others_could_enter_is_closed(temporary):
    private_folder().chmod(0o777)
    assert stat.S_IMODE(private_folder().stat().st_mode) == 0o700


def test_a_link_in_the_place_of_the_private_folder_is_not_followed(temporary):
    (temporary / "elsewhere").mkdir()
    (temporary / f"pytest-llmperf-{os.geteuid()}").symlink_to("elsewhere")
    folder = private_folder()
    assert folder.parent == temporary
    assert folder.name.startswith(f"pytest-llmperf-{os.geteuid()}-")
    assert list((temporary / "elsewhere").iterdir()) == []


def test_a_folder_of_another_user_is_not_taken(temporary, monkeypatch):
    taken = private_folder()
    uid = os.geteuid()
    monkeypatch.setattr(folders, "is_own", lambda folder: False)
    folder = private_folder()
    assert folder != taken
    assert folder.name.startswith(f"pytest-llmperf-{uid}-")


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_a_log_that_is_a_link_is_replaced_and_its_target_stays(logs, tmp_path, link):
    victim = tmp_path / "victim"
    victim.write_text("# of somebody\n")
    log = logs.folder / "cell.log"
    log.symlink_to(victim) if link == "symbolic" else log.hardlink_to(victim)
    assert logs.file("cell") == log
    assert victim.read_text() == "# of somebody\n"
    assert log.lstat().st_nlink == 1
    assert not log.is_symlink()


def test_a_pipe_in_the_place_of_a_log_is_replaced(logs):
    os.mkfifo(logs.folder / "cell.log")
    assert logs.file("cell").is_file()


def test_a_long_name_fits_into_a_file_name(logs):
    names = {logs.file("ä" * 150 + end).name for end in ("a", "b")}
    assert len(names) == 2
    assert all(len(name.encode()) <= 255 for name in names)


def test_two_projects_have_logs_of_their_own(temporary, tmp_path):
    roots = [tmp_path / name / "project" for name in ("a", "b")]
    assert len({Logs(SimpleNamespace(rootpath=root)).folder for root in roots}) == 2
