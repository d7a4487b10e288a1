"""Files that several processes share: written in one step, and locked while one of them works."""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PAUSE = 0.1
"""Seconds between two tries to get a lock: there is no blocking call with a limit."""


def write_whole(path: Path, text: str) -> None:
    """Write a text file in one step: write a temporary file beside it and rename that.

    An existing file keeps its permissions.

    Raises:
        OSError: the file cannot be written; the old file is unchanged, and the temporary file is
            removed.
    """
    target = path.resolve()  # A symbolic link stays a symbolic link.
    part = target.with_name(f".{target.name[:40]}-{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            part.chmod(target.stat().st_mode)
        part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


@contextmanager
def held(
    file: Path, patience: float = 0.0, waiting: Callable[[], object] = lambda: None
) -> Iterator[bool]:
    """Hold a lock, which the kernel releases however this process ends.

    Yields whether it is held: a file system without locks lets everybody pass.

    Args:
        file: the lock's file; whoever holds the lock may remove it.
        patience: seconds to wait for another process.
        waiting: called once before waiting.

    Raises:
        BlockingIOError: another process still has it.
        OSError: the file cannot be made.
    """
    until = time.monotonic() + patience
    is_told = False
    while True:
        lock = os.open(file, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            is_locked = _locked(lock)
            if is_locked is not False:
                if not _is_there(lock, file):
                    continue  # Its last holder has removed it.
                yield bool(is_locked)
                return
            if time.monotonic() >= until:
                raise BlockingIOError(f"another process holds {file}")
        finally:
            os.close(lock)
        if not is_told:
            waiting()
            is_told = True
        time.sleep(_PAUSE)


def _locked(lock: int) -> bool | None:
    """Lock an open file; return False if another process has it, None if there are no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_there(lock: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), file.stat())
    except FileNotFoundError:
        return False
