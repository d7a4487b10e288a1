"""The temporary folder of a comparison, and the removal of those that a dead one has left."""

import subprocess
import tempfile

import pytest

from pytest_llmperf.ab.leftovers import HeldError, locked, sweep, workplace


@pytest.fixture
def repository(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return made(tmp_path / "repository")


def made(folder):
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a", "--allow-empty")
    return folder


def git(folder, *arguments):
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def left_by_a_dead_one(repository, temporary):
    """Make what a killed comparison leaves."""
    place = temporary / "llmperf-ab-dead"
    place.mkdir(parents=True)
    (place / "lock").touch()
    git(repository, "worktree", "add", "--detach", str(place / "base"))
    return place


def test_a_folder_is_removed_with_its_worktrees(repository):
    with workplace(repository) as place:
        git(repository, "worktree", "add", "--detach", str(place / "base"))
    assert not place.exists()
    assert len(git(repository, "worktree", "list")) == 1


def test_what_a_dead_one_left_is_removed(repository, tmp_path):
    place = left_by_a_dead_one(repository, tmp_path / "tmp")
    git(repository, "worktree", "lock", str(place / "base"))  # Killed while git made it.
    with workplace(repository):
        assert not place.exists()
        assert len(git(repository, "worktree", "list")) == 1


def test_worktrees_of_this_repository_are_found_in_another_temporary_folder(repository, tmp_path):
    place = left_by_a_dead_one(repository, tmp_path / "elsewhere")
    sweep(repository)
    assert not place.exists()
    assert len(git(repository, "worktree", "list")) == 1


def test_worktrees_of_another_repository_are_unregistered_there(repository, tmp_path):
    other = made(tmp_path / "other")
    place = left_by_a_dead_one(other, tmp_path / "tmp")
    sweep(repository)
    assert not place.exists()
    assert len(git(other, "worktree", "list")) == 1


def test_a_folder_that_is_held_stays(repository, tmp_path):
    place = left_by_a_dead_one(repository, tmp_path / "tmp")
    with locked(place / "lock"):
        sweep(repository)
        assert len(git(repository, "worktree", "list")) == 2
    assert place.exists()


def test_a_folder_without_a_lock_stays(repository, tmp_path):
    place = left_by_a_dead_one(repository, tmp_path / "tmp")
    (place / "lock").unlink()
    sweep(repository)
    assert place.exists()


def test_a_link_is_not_followed(repository, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "lock").touch()
    (tmp_path / "tmp" / "llmperf-ab-link").symlink_to(kept)
    sweep(repository)
    assert kept.exists()


def test_a_lock_has_one_holder(tmp_path):
    file = tmp_path / "plan.json"
    file.touch()
    with locked(file), pytest.raises(HeldError) as raised, locked(file):
        pass
    assert str(raised.value) == f"{tmp_path}: another pytest-llmperf ab measures there"
    with locked(file):
        pass
