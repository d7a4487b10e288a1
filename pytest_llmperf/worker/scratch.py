"""The folder of a worker's temporary files, which whoever ends the worker removes."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_PREFIX = "llmperf-worker-"
_YOUNG = 60.0
"""Seconds in which a folder without a lock may belong to a process that has just made it."""


class Scratch:
    """A new folder, locked as long as this process lives."""

    def __init__(self) -> None:
        """Make it, and remove those of processes that ended without notice.

        Raises:
            OSError: there is no place for temporary files.
        """
        _remove_abandoned(Path(tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock: int | None = _locked(self.path)

    def release(self) -> None:
        """Give up the lock: the folder has been removed."""
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)


def _remove_abandoned(place: Path) -> None:
    """Remove this user's folders that no process holds, for instance after the machine was reset."""
    for folder in place.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if status.st_uid != os.geteuid() or time.time() - status.st_mtime < _YOUNG:
                continue
            lock = _locked(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)


def _locked(folder: Path) -> int | None:
    """Return a lock on a folder; None if another process has it, or the file system has none."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
