"""Why a revision is not a commit, and what to type; hooks of the repository do not run."""

import os
import subprocess

import pytest

from pytest_llmperf.ab import git
from pytest_llmperf.ab.leftovers import workplace

IDENTITY = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")


def run(folder, *arguments):
    done = subprocess.run(
        ["git", *IDENTITY, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository with two commits."""
    folder = tmp_path / "repository"
    folder.mkdir()
    run(folder, "init", "-q")
    for name in ("one", "two"):
        (folder / "file").write_text(name)
        run(folder, "add", "-A")
        run(folder, "commit", "-qm", name)
    return folder


def refusal(revision, folder):
    with pytest.raises(git.GitError) as raised:
        git.resolve_commit(revision, folder)
    return str(raised.value)


def test_a_commit_is_found(repository):
    assert git.resolve_commit("HEAD~1", repository) == run(repository, "rev-parse", "HEAD~1")


def test_an_unknown_revision_is_named(repository):
    assert refusal("nosuch", repository) == (
        f"'nosuch' is not a commit of the repository in {repository}"
    )


def test_a_shallow_clone_is_named_with_the_way_out(repository, tmp_path):
    run(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", "shallow")
    shallow = tmp_path / "shallow"
    assert refusal("HEAD~1", shallow) == (
        f"'HEAD~1' is not a commit of the repository in {shallow}, a shallow clone, which may lack it: "
        "git fetch --unshallow (in CI: fetch-depth: 0)"
    )


def test_a_repository_without_a_commit_is_named(tmp_path):
    run(tmp_path, "init", "-q")
    assert refusal("HEAD", tmp_path) == (
        f"'HEAD' is not a commit of the repository in {tmp_path}, which has no commit yet"
    )


def test_a_repository_of_another_user_is_named_with_the_way_out(repository, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "true")  # Git's own, for its tests.
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    assert refusal("HEAD", repository) == (
        f"'HEAD' is not a commit: git does not trust {repository}, which belongs to another user: "
        f"git config --global --add safe.directory {repository}"
    )


@pytest.mark.parametrize("hook", ["post-checkout", "reference-transaction", "post-index-change"])
def test_a_worktree_is_made_without_the_hooks_of_the_repository(repository, tmp_path, hook):
    file = repository / ".git" / "hooks" / hook
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\nexit 1\n")
    file.chmod(0o755)
    with workplace(repository) as place:
        git.checked(repository, "worktree", "add", "--detach", str(place / "base"), "HEAD")
        assert (place / "base" / "file").read_text() == "two"
    assert not (tmp_path / "hooked").exists()
    assert len(run(repository, "worktree", "list").splitlines()) == 1


def test_a_checkout_that_fails_names_the_cause_and_leaves_no_worktree(repository):
    # As git-lfs where it is not installed.
    (repository / ".gitattributes").write_text("file filter=absent\n")
    run(repository, "add", "-A")
    run(repository, "commit", "-qm", "filtered")
    run(repository, "config", "filter.absent.required", "true")
    run(repository, "config", "filter.absent.smudge", "no-such-program")
    with pytest.raises(git.GitError) as raised, workplace(repository) as place:
        git.checked(repository, "worktree", "add", "--detach", str(place / "base"), "HEAD")
    assert str(raised.value) == "git worktree failed: fatal: file: smudge filter absent failed"
    assert len(run(repository, "worktree", "list").splitlines()) == 1
