"""The folders that this package writes to: where they lie, and whether they can be written.

Nothing here is created before it is asked for. This module is part of every pytest run's start.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

LOGS = "llmperf-logs"
"""Name of the folder for engines' logs, in pytest's cache folder or in the user's temporary one."""
CACHE_VARIABLE = "PYTEST_LLMPERF_CACHE"
_PROBE = 64 * 1024
"""Bytes that have to fit: an empty file can be made on a full disk."""
_IGNORE = "# Created by pytest-llmperf.\n*\n"
_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This folder is a cache of pytest-llmperf: backups may leave it out.\n"
)
"""As https://bford.info/cachedir/ specifies it; pytest's own cache folder has such a file, too."""


def default_cache_dir() -> Path:
    """Return ``$PYTEST_LLMPERF_CACHE``, or ``pytest-llmperf`` in the user's cache folder.

    That is ``$XDG_CACHE_HOME``, or ``~/Library/Caches`` on macOS and ``~/.cache`` elsewhere. A user
    without a home folder has pytest's cache folder instead. Nothing is created here.
    """
    # platformdirs knows this too, but it brings a pytest plugin, which every run would import at more
    # than the cost of this one.
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    if root := os.environ.get("XDG_CACHE_HOME"):
        return Path(root) / "pytest-llmperf"
    try:
        home = Path.home()
    except RuntimeError:
        return Path(".pytest_cache") / "d" / "pytest-llmperf"
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "pytest-llmperf"


def may_be_writable(folder: Path) -> bool:
    """Return whether a folder, or the one that it would be made in, is writable, as far as can be seen.

    Nothing is created: ``check_writable`` is sure.
    """
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def check_writable(folder: Path) -> None:
    """Raise OSError if no file can be written in a folder, which may be missing yet. Nothing is left."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    made = []
    try:
        for path in reversed(missing):
            path.mkdir()
            made.append(path)
        probe = folder / f".llmperf-probe-{os.getpid()}"
        try:
            with probe.open("xb") as file:
                file.write(bytes(_PROBE))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # Somebody else has written there since.
            for path in reversed(made):
                path.rmdir()


def make_ignored(folder: Path, is_cache: bool = False) -> None:
    """Create a folder that git ignores; one that exists stays as it is.

    Args:
        folder: the folder, with its parents.
        is_cache: backups leave it out as well.

    Raises:
        OSError: it cannot be made.
    """
    if folder.is_dir():
        return
    folder.mkdir(parents=True, exist_ok=True)
    ignore(folder)
    if is_cache:
        (folder / "CACHEDIR.TAG").write_text(_TAG, "utf-8")


def remove_ignored(folder: Path) -> None:
    """Remove a folder that ``make_ignored`` has created, unless it holds something."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [".gitignore"]:
            (folder / ".gitignore").unlink()
        folder.rmdir()


def ignore(folder: Path) -> None:
    """Make git ignore a folder."""
    (folder / ".gitignore").write_text(_IGNORE, "utf-8")


def private_name() -> Path:
    """Return where ``private_folder`` is for this user, whether or not it exists."""
    import tempfile

    return Path(tempfile.gettempdir()) / f"pytest-llmperf-{os.geteuid()}"


def private_folder() -> Path:
    """Return this user's own folder in the shared temporary folder: the same one in every run.

    Where another user has made a folder (or a link) of that name, it is a new one with a random name.

    Raises:
        OSError: there is no temporary folder that can be written.
    """
    folder = private_name()
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if is_own(folder):
        folder.chmod(0o700)
        return folder
    import tempfile

    return Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))


def is_own(folder: Path) -> bool:
    """Return whether a path is a folder of this user, and no link to one."""
    try:
        info = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(info.st_mode) and info.st_uid == os.geteuid()
