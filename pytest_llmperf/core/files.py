"""Files that several processes share, and that anybody may have put there.

A reader waits for no pipe and reads no device. A writer shows either the old content or the new one, and
locks a file while it works.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .folders import check_writable

MOST_BYTES = 1 << 30
"""A file of text that is longer is not read."""


def read_regular(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        OSError: it cannot be read, is longer than ``MOST_BYTES``, or is a pipe, a device, a socket or a
            folder, of which some would be waited for, or read, without end.
    """
    # Without O_NONBLOCK, opening a pipe waits for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(22, "it is not a regular file", str(path))
        if status.st_size > MOST_BYTES:
            raise OSError(27, f"it has {status.st_size:,} bytes", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            # Not MOST_BYTES: so much memory is taken before anything is read.
            return file.read(status.st_size)
    except MemoryError:
        raise OSError(12, "there is no memory for it", str(path)) from None
    finally:
        os.close(descriptor)


def parsed_json(text: str | bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except (RecursionError, MemoryError):
        raise ValueError("nested too deeply") from None


def check_target(path: Path) -> None:
    """Raise OSError if a file cannot be written later; nothing is changed.

    Its folder has to be there. What is no regular file (a pipe, a device) is taken as it is.
    """
    if path.is_dir():
        raise IsADirectoryError(21, "it is a folder")
    if not path.parent.is_dir():
        raise FileNotFoundError(2, f"there is no folder {path.parent}")
    if not path.exists():
        check_writable(path.parent)
    elif not os.access(path, os.W_OK):
        raise PermissionError(13, "Permission denied")


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
            is_locked = lock_now(lock)
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


def lock_now(lock: int) -> bool | None:
    """Lock an open file until it is closed.

    Returns:
        False if another process has it, None if the file system has no locks.
    """
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
