"""The two sides of an A/B comparison: their differences, and the folders that they run in."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import OneLine
from ..core.secrets import masked_arguments
from ..core.values import location
from . import environment, git
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
        GitError: a checkout does not work.
        SideError: a setup command or an interpreter does not.
    """
    with workplace(repository) as place:
        folders = []
        prefix = git.output(repository, "rev-parse", "--show-prefix")
        for side in sides:
            tree = folder = Path(side.folder or repository)
            if side.commit:
                tree = place / side.name
                # The arguments are relative to the user's current folder in the repository.
                folder = tree / prefix
                git.checked(repository, "worktree", "add", "--detach", str(tree), side.commit)
            folders.append((tree, folder))
        roots = [
            tree if side.commit else git.top(tree)
            for side, (tree, _) in zip(sides, folders, strict=True)
        ]
        ready = []
        for side, root, (tree, folder) in zip(sides, roots, folders, strict=True):
            own = OwnTree.of(root, [git.top(repository), *roots])
            ours = root if side.commit or side.folder else None
            turns = place / f"{side.name}.turns"
            variables = environment.of_side(ours, folder, own, job, turns)
            if setup:
                _set_up(setup, side, tree, variables, logs)
            if not folder.is_dir():
                raise SideError(
                    f"{side.name} ({side.label}) has no folder {folder.relative_to(tree)}"
                )
            python = _interpreter(side, tree)
            ready.append(PreparedSide(side, folder, python, variables, own))
        yield ready[0], ready[1]


def with_commit(side: Side, revision: str | None, repository: Path) -> Side:
    """Return the side with a commit, or with a folder if the revision names one (``.`` as it is)."""
    if revision is None:
        return side
    if Path(revision).is_dir() and (revision.startswith(".") or os.sep in revision):
        return replace(side, folder=str(Path(revision).resolve()))
    return replace(side, commit=git.resolve_commit(revision, repository))


def _set_up(command: str, side: Side, tree: Path, variables: Mapping[str, str], logs: Path) -> None:
    log = logs / f"setup-{side.name}.log"
    shell = ["/bin/sh", "-c", command.replace(TREE, shlex.quote(str(tree)))]
    with log.open("wb") as output:
        child = Guarded(shell, tree, variables, output)
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


def _fail(message: str) -> str:
    raise SideError(message)
