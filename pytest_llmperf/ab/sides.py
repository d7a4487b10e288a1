"""The two sides of an A/B comparison: their differences, and the folders that they run in."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..core.defaults import AB
from ..core.errors import OneLine
from ..core.secrets import masked_arguments
from ..core.values import location
from .git import git, why_no_commit
from .guard import Guarded
from .leftovers import workplace
from .own_tree import OwnTree

TREE = "{tree}"


class SideError(OneLine):
    """A side cannot be prepared; one line."""


@dataclass(frozen=True)
class Side:
    """A side as the user asked for it."""

    name: str
    """``base`` or ``head``."""
    commit: str = ""
    """Full id; empty for the folder as it is."""
    folder: str = ""
    """The folder that it runs in, if it is not a commit."""
    python: str = ""
    """Interpreter, which may contain ``{tree}``; empty for the current one."""
    args: tuple[str, ...] = ()
    """Pytest arguments of this side only."""

    @property
    def label(self) -> str:
        """Return a short name for reports."""
        parts = [self.commit[:10]] if self.commit else []
        # Reports are published, so only the end of a path, which names the environment.
        parts += ["/".join(Path(self.python).parts[-3:])] if self.python else []
        return " ".join([*parts, *masked_arguments(self.args)]) or "as it is"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Side:
        return cls(**{**data, "args": tuple(data["args"])})

    def as_dict(self) -> dict[str, Any]:
        """Return the stored form, with secrets masked."""
        return {**asdict(self), "args": list(masked_arguments(self.args))}


@dataclass(frozen=True)
class PreparedSide:
    """A side that can run now."""

    side: Side
    folder: Path
    python: str
    environment: Mapping[str, str]
    tree: OwnTree


def resolve_commit(revision: str, repository: Path) -> str:
    """Return the full id of a commit.

    Raises:
        SideError: not a repository, or no such commit.
    """
    found = git(repository, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    return found or _fail(why_no_commit(repository, revision))


def has_uncommitted_changes(repository: Path) -> bool:
    return bool(_git(repository, "status", "--porcelain", "--untracked-files=no"))


@contextmanager
def prepared(
    sides: tuple[Side, Side], repository: Path, setup: str, logs: Path, job: str
) -> Iterator[tuple[PreparedSide, PreparedSide]]:
    """Check out each commit in a separate worktree and run the setup command there; remove all later.

    The worktrees are outside the repository: below it, pytest would find its ini file and conftest.

    Args:
        setup: shell command, run once in each folder; empty for none.
        logs: folder for its output.
        job: identity of the comparison, recorded with every run.

    Raises:
        SideError: a checkout, a setup command or an interpreter does not work.
    """
    with workplace(repository) as place:
        folders = []
        prefix = _git(repository, "rev-parse", "--show-prefix")
        for side in sides:
            tree = folder = Path(side.folder or repository)
            if side.commit:
                tree = place / side.name
                # The arguments are relative to the user's current folder in the repository.
                folder = tree / prefix
                _checked_git(repository, "worktree", "add", "--detach", str(tree), side.commit)
            folders.append((tree, folder))
        roots = [
            tree if side.commit else _top(tree)
            for side, (tree, _) in zip(sides, folders, strict=True)
        ]
        ready = []
        for side, root, (tree, folder) in zip(sides, roots, folders, strict=True):
            own = OwnTree.of(root, [_top(repository), *roots])
            ours = root if side.commit or side.folder else None
            environment = _environment(ours, folder, own, job)
            if setup:
                _set_up(setup, side, tree, environment, logs)
            if not folder.is_dir():
                raise SideError(
                    f"{side.name} ({side.label}) has no folder {folder.relative_to(tree)}"
                )
            python = _interpreter(side, tree)
            ready.append(PreparedSide(side, folder, python, environment, own))
        yield ready[0], ready[1]


def with_commit(side: Side, revision: str | None, repository: Path) -> Side:
    """Return the side with a commit, or with a folder if the revision names one (``.`` as it is)."""
    if revision is None:
        return side
    if Path(revision).is_dir() and (revision.startswith(".") or os.sep in revision):
        return replace(side, folder=str(Path(revision).resolve()))
    return replace(side, commit=resolve_commit(revision, repository))


def _environment(tree: Path | None, folder: Path, own: OwnTree, job: str) -> dict[str, str]:
    inherited = {**os.environ, "PYTEST_LLMPERF_JOB": job, AB: job, "PWD": str(folder)}
    environment = own.environment(inherited)
    if tree is not None:
        # Before installed packages: this side is about the code in the folder.
        paths = [str(path) for path in (tree / "src", tree) if path.is_dir()]
        existing = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([*paths, *([existing] if existing else [])])
    return environment


def _top(folder: Path) -> Path:
    """Return the root of the repository that holds a folder; outside of one, the folder."""
    return Path(_git(folder, "rev-parse", "--show-toplevel") or folder)


def _set_up(
    command: str, side: Side, tree: Path, environment: Mapping[str, str], logs: Path
) -> None:
    log = logs / f"setup-{side.name}.log"
    shell = ["/bin/sh", "-c", command.replace(TREE, shlex.quote(str(tree)))]
    with log.open("wb") as output:
        child = Guarded(shell, tree, environment, output)
        try:
            code = child.wait()
        except BaseException:
            child.stop()
            raise
    if code:
        raise SideError(f"--setup failed on {side.name} with exit code {code}; log: {log}")


def _interpreter(side: Side, tree: Path) -> str:
    if not side.python:
        return sys.executable
    wanted = side.python.replace(TREE, str(tree))
    try:
        path = location(wanted, Path())
    except ValueError as error:
        raise SideError(f"--{side.name}-python: {error}") from None
    interpreter = shutil.which(str(path.absolute())) or shutil.which(wanted)
    return interpreter or _fail(
        f"--{side.name}-python: {wanted!r} is not an interpreter that can be run"
    )


def _git(repository: Path, *arguments: str) -> str:
    """Return the output of a git command; empty if it fails."""
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _checked_git(repository: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SideError(f"git {arguments[0]} failed: {done.stderr.strip().splitlines()[-1]}")


def _fail(message: str) -> str:
    raise SideError(message)
