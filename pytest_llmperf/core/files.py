"""Write files so that a reader sees either the old content or the new content, never a part."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from .folders import check_writable


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
