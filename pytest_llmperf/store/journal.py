"""Finished measurements on disk at once: pytest-benchmark writes only when the run ends.

One file a run in the storage folder, a JSON object a line: first a header with machine and commit,
then an entry a line as it stands in pytest-benchmark's files. A run that ends as it should removes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = ".llmperf"
VERSION = 1
_HEADER = ("pid", "machine_info", "commit_info", "machine_id", "benchmark_version", "datetime")


class JournalError(Exception):
    """A journal that cannot be read; one line that names the file."""


class Journal:
    """The journal of the run that is going on."""

    def __init__(self, storage: Path, run_id: str, header: Mapping[str, Any]) -> None:
        """``header``: machine and commit, as pytest-benchmark's file has them."""
        self.path = storage / FOLDER / f"{run_id}.jsonl"
        self._header = header
        self.entries = 0

    def append(self, entries: Sequence[dict[str, Any]]) -> None:
        """Write entries and wait until the disk has them."""
        lines = list(entries)
        if not self.entries:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lines.insert(0, {"journal": VERSION, "pid": os.getpid(), **self._header})
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line, default=str) + "\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        self.entries += len(entries)

    def remove(self) -> None:
        """Forget what the run's own file now holds."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):  # Other runs' journals are there, or it never was.
            self.path.parent.rmdir()


@dataclass(frozen=True)
class Interrupted:
    """What an interrupted run left behind."""

    path: Path
    header: dict[str, Any]
    entries: tuple[dict[str, Any], ...]

    @property
    def run_id(self) -> str:
        return self.path.stem

    @property
    def is_running(self) -> bool:
        """Whether the run that writes it is still going on."""
        try:
            os.kill(int(self.header["pid"]), 0)
        except PermissionError:
            return True  # Another user's, and alive.
        except OSError:
            return False
        return True

    def as_run(self) -> dict[str, Any]:
        """The content of a stored run."""
        return {
            "machine_info": self.header["machine_info"],
            "commit_info": self.header["commit_info"],
            "benchmarks": list(self.entries),
            "datetime": self.header["datetime"],
            "version": self.header["benchmark_version"],
        }


def interrupted_runs(storage: Path) -> list[Path]:
    """Journals in a storage folder, oldest first."""
    return sorted((storage / FOLDER).glob("*.jsonl"), key=lambda path: path.stat().st_mtime)


def read(path: Path) -> Interrupted:
    """Read a journal; an incomplete last line (the run died while writing it) is left out.

    Raises:
        JournalError: it is no journal, or of a version that this release does not know.
    """
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise JournalError(f"{path}: cannot be read ({error})") from None
    complete, tail = lines[:-1], lines[-1]
    del tail
    objects = []
    for number, line in enumerate(complete, 1):
        try:
            objects.append(json.loads(line))
        except ValueError:
            raise JournalError(f"{path}: line {number} is not valid JSON") from None
    if not objects or not isinstance(objects[0], dict) or "journal" not in objects[0]:
        raise JournalError(f"{path}: not a journal of pytest-llmperf")
    if objects[0]["journal"] != VERSION:
        raise JournalError(
            f"{path}: journal version {objects[0]['journal']} is not known to this release "
            f"(it knows {VERSION})"
        )
    missing = [key for key in _HEADER if key not in objects[0]]
    if missing:
        raise JournalError(f"{path}: its header has no {missing[0]}")
    return Interrupted(path, objects[0], tuple(objects[1:]))


def store(run: Interrupted, storage: Path) -> Path:
    """Write an interrupted run as a stored one and remove its journal; returns the new file."""
    folder = storage / str(run.header["machine_id"])
    folder.mkdir(parents=True, exist_ok=True)
    commit = run.header["commit_info"].get("id", "unversioned")
    numbers = [int(p.name[:4]) for p in folder.glob("[0-9][0-9][0-9][0-9]_*.json")]
    target = folder / f"{max(numbers, default=0) + 1:04}_{commit}_recovered-{run.run_id}.json"
    part = target.with_suffix(".part")
    part.write_text(json.dumps(run.as_run(), indent=4), encoding="utf-8")
    part.replace(target)
    run.path.unlink()
    return target
