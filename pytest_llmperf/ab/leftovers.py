"""A comparison's temporary folder: who holds it, and the removal of those that a dead one has left."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..core.errors import OneLine
from ..core.files import lock_now
from . import git

_PREFIX = "llmperf-ab-"
_LOCK = "lock"
"""A file of the folder, locked as long as its comparison lives: the kernel unlocks it."""


class HeldError(OneLine):
    """Another comparison holds it; one line."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock, which ends with this process at the latest.

    Raises:
        HeldError: another process holds it.
    """
    with path.open("r+b") as file:
        if lock_now(file.fileno()) is False:
            raise HeldError(f"{path.parent}: another pytest-llmperf ab measures there")
        yield


@contextmanager
def workplace(repository: Path) -> Iterator[Path]:
    """Give a temporary folder for worktrees; it and its worktrees are removed afterwards.

    Folders of the same kind whose comparison was killed are removed before.
    """
    sweep(repository)
    place = Path(tempfile.mkdtemp(prefix=_PREFIX)).resolve()
    new = place / f"new-{_LOCK}"
    new.touch()
    try:
        with locked(new):
            new.rename(place / _LOCK)  # Whoever finds it finds it locked.
            yield place
    finally:
        _remove(place, repository)


def sweep(repository: Path) -> None:
    """Remove the folders and worktrees of comparisons that were killed.

    Looked for are those in the temporary folder, of any repository, and those of this repository
    anywhere. Only this user's are removed. Worktrees whose folder is gone are left to ``git worktree
    prune``: a container has a temporary folder of its own, and may use them.
    """
    places = set(Path(tempfile.gettempdir()).resolve().glob(f"{_PREFIX}*"))
    places |= {tree.parent for tree in _worktrees(repository)}
    for place in places:
        if _is_left(place):
            _remove(place, repository)


def _is_left(place: Path) -> bool:
    """Return whether no comparison holds a folder."""
    if not place.name.startswith(_PREFIX):
        return False
    try:
        if place.is_symlink() or place.stat().st_uid != os.getuid():
            return False
        with (place / _LOCK).open("r+b") as file:
            # Without locks, nobody knows whether it is in use.
            return lock_now(file.fileno()) is True
    except OSError:  # Not made by this release.
        return False


def _remove(place: Path, repository: Path) -> None:
    """Remove a folder, and the registration of its worktrees in their repository."""
    gits = {repository}
    for tree in (place / "base", place / "head"):
        with suppress(OSError):
            # "gitdir: /repository/.git/worktrees/base"
            own = (tree / ".git").read_text("utf-8").partition("gitdir: ")[2].strip()
            gits.add(Path(own).parent.parent)
    shutil.rmtree(place, ignore_errors=True)
    for git_folder in gits:
        for tree in _worktrees(git_folder):
            if tree.parent == place:
                # Twice: a worktree that was being made is locked.
                git.output(git_folder, "worktree", "remove", "--force", "--force", str(tree))


def _worktrees(repository: Path) -> list[Path]:
    """Return the repository's worktrees that lie in folders of this kind."""
    lines = git.output(repository, "worktree", "list", "--porcelain").splitlines()
    trees = [Path(line.removeprefix("worktree ")) for line in lines if line.startswith("worktree ")]
    return [tree for tree in trees if tree.parent.name.startswith(_PREFIX)]
