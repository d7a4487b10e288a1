"""The logs of the engines of a run: one file per cell, which later runs continue."""

from __future__ import annotations

import datetime
import hashlib
import os
import shutil
import stat
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import pytest

from ..core.files import write_whole
from ..core.folders import LOGS, check_writable, ignore, private_folder
from ..core.version import __version__

_LONGEST_NAME = 200
"""Bytes of a file name; file systems take 255."""
_LARGEST = 1024 * 1024
"""Bytes of a log that a new run continues; a larger one becomes NAME.log.1."""
_KEPT = 7 * 24 * 3600.0
"""Seconds without a new log after which a temporary folder of logs is removed."""
_README = """\
What engines have printed, one file per cell (MODEL-BACKEND-MODE). Each start of an engine has a line
with its time and the process of pytest. `pytest-llmperf cache` lists this folder and clears it.
"""


def _sweep(folder: Path) -> None:
    """Remove temporary logs of other projects, such as worktrees that are gone, after a week."""
    for other in folder.glob("*"):
        with suppress(OSError):
            if time.time() - other.stat().st_mtime > _KEPT:
                shutil.rmtree(other)


class Logs:
    """The folder of a run's logs, chosen when the first log is needed."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._begun: set[str] = set()

    @cached_property
    def folder(self) -> Path:
        """The folder: in pytest's cache folder, or in a temporary one if that cannot be written.

        Raises:
            OSError: neither can be written.
        """
        folder = self._of_pytest()
        if folder is None:
            root = self._config.rootpath
            digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:8]
            # Another project's engine of the same name has a log of its own.
            all_logs = private_folder() / LOGS
            folder = all_logs / f"{root.name[:100]}-{digest}"
            if not folder.is_dir():
                _sweep(all_logs)
            folder.mkdir(parents=True, exist_ok=True)
            check_writable(folder)
        if not (folder / "README.md").exists():
            ignore(folder)
            write_whole(folder / "README.md", _README)
        return folder

    def _of_pytest(self) -> Path | None:
        """Return the folder in pytest's cache folder; None if there is none or it cannot be written."""
        cache = getattr(self._config, "cache", None)
        if cache is None:
            return None
        try:
            folder = Path(cache.mkdir(LOGS))
            check_writable(folder)
        except OSError:
            return None
        return folder

    def file(self, name: str) -> Path:
        """Return the log of an engine that starts now, with a line that says so at its end.

        Only a file of this user's is continued: a link, or what another user has put there, is replaced.

        Raises:
            OSError: it cannot be written.
        """
        if len(name.encode()) > _LONGEST_NAME:
            digest = hashlib.sha256(name.encode()).hexdigest()[:12]
            name = f"{name.encode()[:_LONGEST_NAME].decode(errors='ignore')}-{digest}"
        log = self.folder / f"{name}.log"
        with suppress(FileNotFoundError):
            info = log.lstat()
            if not stat.S_ISREG(info.st_mode) or info.st_uid != os.geteuid() or info.st_nlink > 1:
                log.unlink()
            elif info.st_size > _LARGEST and name not in self._begun:
                log.replace(log.with_name(f"{log.name}.1"))
        self._begun.add(name)
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        mark = (
            f"--- pytest-llmperf {__version__}, {now}, pytest's process {os.getpid()}: {name} ---\n"
        )
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "ab") as file:
            file.write(mark.encode())
        return log
