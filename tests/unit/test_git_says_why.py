"""Why git knows no commit of a name, in one line that says what to do."""

import subprocess

import pytest

from pytest_llmperf.ab.git import why_no_commit
from pytest_llmperf.ab.sides import SideError, resolve_commit


def git(folder, *arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    subprocess.run(["git", "-C", folder, *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    return folder


def test_a_repository_without_a_commit(repository):
    assert why_no_commit(repository, "HEAD") == f"the repository in {repository} has no commit yet"


def test_a_folder_outside_of_a_repository(tmp_path):
    assert why_no_commit(tmp_path, "HEAD") == f"{tmp_path} is not in a git repository"


def test_a_revision_that_is_none(repository):
    git(repository, "commit", "-q", "--allow-empty", "-m", "x")
    line = f"'nosuch' is not a commit of the repository in {repository}"
    assert why_no_commit(repository, "nosuch") == line


def test_a_shallow_clone(repository, tmp_path):
    for message in ("a", "b"):
        git(repository, "commit", "-q", "--allow-empty", "-m", message)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", str(clone))
    with pytest.raises(SideError) as error:
        resolve_commit("HEAD~1", clone)
    assert str(error.value) == (
        f"'HEAD~1' is not a commit of the repository in {clone}, which is a shallow clone: "
        "git fetch --unshallow (fetch-depth: 0 in a workflow)"
    )


def test_a_folder_of_somebody_else(repository, monkeypatch):
    git(repository, "commit", "-q", "--allow-empty", "-m", "x")
    # git's own switch for its tests.
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    with pytest.raises(SideError) as error:
        resolve_commit("HEAD", repository)
    assert str(error.value) == (
        f"git refuses {repository}, which belongs to another user: "
        f"git config --global --add safe.directory {repository}"
    )


def test_without_git(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert why_no_commit(repository, "HEAD") == "git is not installed"
