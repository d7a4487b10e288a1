"""Ask git, and say why it does not answer."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str) -> str:
    """Return the output of a git command; empty if it fails or there is no git."""
    done = _run(folder, *arguments)
    return done.stdout.strip() if done and done.returncode == 0 else ""


def why_no_commit(folder: Path, revision: str) -> str:
    """Return in one line why git knows no commit of a name, by what git says itself."""
    done = _run(folder, "rev-parse", "--git-dir")
    if done is None:
        return "git is not installed"
    said = done.stderr.strip().splitlines()
    if any("dubious ownership" in line for line in said):
        return (
            f"git refuses {folder}, which belongs to another user: "
            f"git config --global --add safe.directory {shlex.quote(str(folder))}"
        )
    if done.returncode:
        return f"{folder} is not in a git repository"
    if not git(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"):
        return f"the repository in {folder} has no commit yet"
    line = f"{revision!r} is not a commit of the repository in {folder}"
    if git(folder, "rev-parse", "--is-shallow-repository") == "true":
        return f"{line}, which is a shallow clone: git fetch --unshallow (fetch-depth: 0 in a workflow)"
    return line


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError:
        return None
