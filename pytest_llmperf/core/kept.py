"""What this package keeps on a machine besides stored runs: where it lies, its size, its removal."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .folders import LOGS, is_own, private_name

_OLD = "pytest-llmperf-logs-"
"""Beginning of the names of folders that earlier releases made, one for each run."""
_UNFINISHED = 3600.0
"""Seconds for which something that begins with a dot may still be written by a run."""


@dataclass(frozen=True)
class Kind:
    """A kind of kept things."""

    name: str
    pattern: re.Pattern[str]
    """Names of its entries: nothing else in its folder is counted or removed."""


# NAME-DIGEST, or .NAME-DIGEST-RANDOM while it is made.
_FOLDER = re.compile(r".+-[0-9a-f]{12}|\..+-[0-9a-f]{12}-\w{8}")
KINDS = {
    kind.name: kind
    for kind in (
        Kind("models", _FOLDER),
        Kind("compute-types", re.compile(r"ctranslate2-.+\.txt")),
        Kind("references", _FOLDER),
        Kind("ceilings", re.compile(r"[0-9a-f]{16}\.json")),
        Kind("logs", re.compile(r".+\.log(\.1)?")),
    )
}
"""By name, which is the name of the folder in the cache folder; logs lie elsewhere."""


@dataclass(frozen=True)
class Entry:
    """One kept thing: a file, or a folder with all that is in it."""

    path: Path
    size: int
    """Bytes."""
    used: float
    """Time of the last use, in seconds since the epoch, as far as the file system notes it."""

    @classmethod
    def of(cls, path: Path) -> Entry:
        """Look at a file or folder; what disappears meanwhile has no size."""
        size, used = 0, 0.0
        paths = [path] if path.is_symlink() or not path.is_dir() else [path, *path.rglob("*")]
        for part in paths:
            try:
                info = part.lstat()
            except OSError:
                continue
            size += info.st_size if not part.is_dir() else 0
            used = max(used, info.st_mtime, info.st_atime if part.is_file() else 0.0)
        return cls(path, size, used)

    @property
    def may_be_in_the_making(self) -> bool:
        """Return whether a run may be writing it now."""
        return self.path.name.startswith(".") and time.time() - self.used < _UNFINISHED


@dataclass(frozen=True)
class Place:
    """A folder with the entries of one kind."""

    kind: Kind
    folder: Path
    entries: tuple[Entry, ...]
    is_temporary: bool = False
    """The folder is one project's, among others in the temporary folder."""

    @property
    def label(self) -> str:
        """The folder; those of all projects in the temporary folder have one label."""
        if not self.is_temporary:
            return str(self.folder)
        in_private = self.folder.parent.name == LOGS
        return str(self.folder.parent / ("*" if in_private else f"{_OLD}*"))

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.entries)

    def tidy(self) -> None:
        """Remove a temporary folder that holds no log any more."""
        if not self.is_temporary or not self.folder.is_dir():
            return
        if {path.name for path in self.folder.iterdir()} <= {"README.md", ".gitignore"}:
            shutil.rmtree(self.folder, ignore_errors=True)


def places(cache: Path, pytest_cache: Path) -> list[Place]:
    """Return every place, those that do not exist included.

    Args:
        cache: the cache folder.
        pytest_cache: the project's ``.pytest_cache``.
    """
    private = private_name()
    caches = [cache, *(folder for folder in (private / "cache",) if folder.is_dir())]
    kinds = [kind for kind in KINDS.values() if kind.name != "logs"]
    kept = [_place(kind, folder / kind.name) for folder in caches for kind in kinds]
    logs = [_place(KINDS["logs"], pytest_cache / "d" / LOGS)]
    logs += [_place(KINDS["logs"], folder, True) for folder in _temporary_logs(private)]
    return [*kept, *logs]


def remove(entry: Entry) -> None:
    """Remove an entry; a link, not what it leads to.

    Raises:
        OSError: it cannot be removed.
    """
    if entry.path.is_dir() and not entry.path.is_symlink():
        shutil.rmtree(entry.path)
    else:
        entry.path.unlink(missing_ok=True)


def _temporary_logs(private: Path) -> Iterator[Path]:
    """Yield the folders in the temporary folder that hold logs."""
    temporary = private.parent
    for pattern in (f"{private.name}*", f"{_OLD}*"):
        for folder in sorted(filter(is_own, temporary.glob(pattern))):
            below = folder / LOGS
            if below.is_dir():
                yield from sorted(below.iterdir())
            elif any(folder.glob("*.log")):
                yield folder


def _place(kind: Kind, folder: Path, is_temporary: bool = False) -> Place:
    try:
        paths = sorted(os.scandir(folder), key=lambda item: item.name)
    except OSError:
        return Place(kind, folder, (), is_temporary)
    names = [Path(item.path) for item in paths if kind.pattern.fullmatch(item.name)]
    return Place(kind, folder, tuple(Entry.of(path) for path in names), is_temporary)
