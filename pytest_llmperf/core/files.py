"""Write files so that a reader sees the old content or the new, never a part."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text file in one step: to a temporary file beside it, which then takes its name.

    An existing file keeps its permissions.

    Raises:
        OSError: the file cannot be written; what was there before is untouched, and nothing is left
            beside it.
    """
    target = path.resolve()  # A symbolic link stays one.
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
