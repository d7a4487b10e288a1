"""The git repository that sides are commits of, without its hooks: those are for who works in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ..core.errors import OneLine


class GitError(OneLine):
    """Git cannot do what a comparison needs; one line with the cause and the way out."""


def output(folder: Path, *arguments: str) -> str:
    """Return the output of a git command; empty if it fails, or if there is no git."""
    try:
        done = _run(folder, *arguments)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def checked(folder: Path, *arguments: str) -> None:
    """Run a git command.

    Raises:
        GitError: it fails.
    """
    try:
        done = _run(folder, *arguments)
    except OSError as error:
        raise GitError(f"git cannot be run: {error.strerror}") from None
    if done.returncode:
        raise GitError(f"git {arguments[0]} failed: {_cause(done.stderr)}")


def top(folder: Path) -> Path:
    """Return the root of the repository that holds a folder; outside of one, the folder."""
    return Path(output(folder, "rev-parse", "--show-toplevel") or folder)


def has_uncommitted_changes(folder: Path) -> bool:
    return bool(output(folder, "status", "--porcelain", "--untracked-files=no"))


def resolve_commit(revision: str, folder: Path) -> str:
    """Return the full id of a commit.

    Raises:
        GitError: no repository, no such commit, or git refuses to look; the message says which.
    """
    try:
        done = _run(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    except OSError as error:
        raise GitError(f"{revision!r}: git cannot be run ({error.strerror})") from None
    if done.returncode == 0:
        return done.stdout.strip()
    raise GitError(f"{revision!r} is not a commit{_why_not(folder)}")


def _why_not(folder: Path) -> str:
    """Return the end of a message: the cause that no revision is found, and the way out."""
    looked = _run(folder, "rev-parse", "--is-shallow-repository")
    if looked.returncode:
        if "dubious ownership" in looked.stderr:
            return (
                f": git does not trust {folder}, which belongs to another user: git config --global "
                f"--add safe.directory {_untrusted(looked.stderr) or folder}"
            )
        if "not a git repository" in looked.stderr:
            return f": {folder} is not in a git repository"
        return f": {_cause(looked.stderr)}"
    where = f" of the repository in {folder}"
    if not output(folder, "rev-list", "--all", "--max-count=1"):
        return f"{where}, which has no commit yet"
    if looked.stdout.strip() == "true":
        way_out = "git fetch --unshallow (in CI: fetch-depth: 0)"
        return f"{where}, a shallow clone, which may lack it: {way_out}"
    return where


def _untrusted(stderr: str) -> str:
    """Return the repository that git itself names: 'dubious ownership in repository at '/x'."""
    return stderr.partition("repository at '")[2].partition("'")[0]


def _cause(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("fatal:", "error:"))]
    return (errors or lines or ["it says nothing"])[-1]


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "-C", str(folder), "-c", f"core.hooksPath={os.devnull}", *arguments],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
