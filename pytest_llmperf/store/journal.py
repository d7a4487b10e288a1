"""Keep finished measurements on disk at once: pytest-benchmark writes only when the run ends.

Each run has one file in the storage folder, with one JSON object per line: first a header with machine
and commit, then one line per entry as it is in pytest-benchmark's files. A run that ends normally
removes its file.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import OneLine
from ..core.files import lock_now, parsed_json, read_regular, write_whole
from ..core.folders import make_ignored, remove_ignored
from ..core.values import shown
from .attempts import without_earlier
from .content import is_commit, is_entry
from .plain import plain
from .stored import StoredError, read_file
from .writer import Writer, identity

FOLDER = ".llmperf"
VERSION = 1
SILENCE = 24 * 3600.0
"""Seconds without a new entry after which a run on another machine counts as killed."""
_GONE = "is gone: its run has ended, or another process has just stored it"
_FILE_NAME = re.compile(r"(?!\.)[\w.+ -]{1,200}")
_HEADER: dict[str, Callable[[Any], bool]] = {
    "pid": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "machine_info": lambda value: isinstance(value, dict),
    "commit_info": lambda value: isinstance(value, dict) and is_commit(value),
    # A journal may come from anybody who writes to the storage, and this names a folder.
    "machine_id": lambda value: isinstance(value, str) and bool(_FILE_NAME.fullmatch(value)),
    "benchmark_version": lambda value: isinstance(value, str),
    "datetime": lambda value: isinstance(value, str),
}


class JournalError(OneLine):
    """A journal that cannot be read; one line that names the file."""


class BusyError(JournalError):
    """A journal that another process is storing, or has stored."""


class Journal:
    """The journal of the current run."""

    def __init__(self, storage: Path, run_id: str, header: Mapping[str, Any]) -> None:
        """Make a journal, whose file is written with the first entry.

        Args:
            header: machine and commit, as they are in pytest-benchmark's file.
        """
        self.path = storage / FOLDER / f"{run_id}.jsonl"
        self._header = header
        self.entries = 0

    def append(self, entries: Sequence[dict[str, Any]], again: bool = False) -> None:
        """Write entries and wait until the disk has them.

        Args:
            again: they replace entries of the same names.

        Raises:
            OSError: they cannot be written; then the file is as long as it was before.
        """
        lines = list(entries)
        if not self.entries:
            make_ignored(self.path.parent)
            lines.insert(0, {"journal": VERSION, **identity(), **self._header})
        text = "".join(json.dumps(plain(line)) + "\n" for line in lines)
        # Unbuffered: a buffer that could not be written would be written again when the file closes.
        with self.path.open("ab", buffering=0) as file:
            size = file.tell()
            try:
                _write(file, text.encode())
                os.fsync(file.fileno())
            except OSError:
                # A part of a line would swallow the beginning of the next one.
                with suppress(OSError):
                    file.truncate(size)
                if not size:
                    self.remove()
                raise
        self.entries += 0 if again else len(entries)

    def remove(self) -> None:
        """Remove the journal, whose entries are now in the run's stored file."""
        self.path.unlink(missing_ok=True)
        remove_ignored(self.path.parent)  # Unless it holds other journals.


@dataclass(frozen=True)
class Interrupted:
    """The journal that an interrupted run left behind."""

    path: Path
    header: dict[str, Any]
    entries: tuple[dict[str, Any], ...]
    unreadable: int = 0
    """Complete lines that hold no entry and were left out."""
    seconds_silent: float = 0.0
    """Seconds since the file was last written."""
    writers: tuple[Writer, ...] = ()
    """The run's process, and those that it has forked."""

    @property
    def run_id(self) -> str:
        return self.path.stem

    @property
    def kept(self) -> Path:
        """Return where the journal stays if lines in it are damaged."""
        return self.path.with_suffix(".damaged")

    @property
    def machine(self) -> str:
        """Return the host name of the machine that wrote it; empty if unknown."""
        return str(self.header["machine_info"].get("node") or "")

    @property
    def is_of_this_machine(self) -> bool:
        """Return whether the run belongs to this machine, whose processes can be checked."""
        return self.machine in ("", platform.node())

    @property
    def is_running(self) -> bool:
        """Return whether the run may still be going on.

        On this machine its processes are checked. A run on another machine that has the same storage
        counts as going on until it has written nothing for ``SILENCE``.
        """
        if not self.is_of_this_machine:
            return self.seconds_silent < SILENCE
        return any(writer.is_alive for writer in self.writers)

    def as_run(self) -> dict[str, Any]:
        """Return the content of a stored run."""
        return {
            "machine_info": self.header["machine_info"],
            "commit_info": self.header["commit_info"],
            "benchmarks": list(self.entries),
            "datetime": self.header["datetime"],
            "version": self.header["benchmark_version"],
        }


def interrupted_runs(storage: Path) -> list[Path]:
    """Return the journals in a storage folder, oldest first."""
    ages: dict[Path, float] = {}
    for path in (storage / FOLDER).glob("*.jsonl"):
        with suppress(OSError):  # Its run has just ended, or it is a link that leads nowhere.
            ages[path] = path.stat().st_mtime
    return sorted(ages, key=lambda path: ages[path])


def read(path: Path) -> Interrupted:
    """Read a journal.

    Damaged lines are left out and counted; an incomplete last one is not, because the run died while
    writing it. Of a test that ran again, the last attempt counts. Each process that the run has forked
    begins with a header of its own.

    Raises:
        BusyError: it is gone.
        JournalError: the file is not a journal, or has a version that this release does not know.
    """
    try:
        first, *lines = read_regular(path).split(b"\n")
        header_line = first.decode()
        silent = max(0.0, time.time() - path.stat().st_mtime)
    except FileNotFoundError:
        raise BusyError(f"{path}: {_GONE}") from None
    except OSError as error:
        raise JournalError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise JournalError(f"{path}: cannot be read ({error})") from None
    if not lines:
        raise JournalError(f"{path}: not a journal of pytest-llmperf")
    header = _checked_header(path, header_line)
    entries: list[dict[str, Any]] = []
    writers = [Writer.of(header)]
    unreadable = 0
    for number, line in enumerate(lines, 1):
        value = _parsed(line)
        if isinstance(value, dict) and "journal" in value:
            writers.append(Writer.of(value))
        elif isinstance(value, dict) and is_entry(value):
            entries.append(value)
        elif number < len(lines):
            unreadable += 1
    latest = tuple(without_earlier(entries))
    return Interrupted(path, header, latest, unreadable, silent, tuple(writers))


def store(run: Interrupted, storage: Path) -> Path:
    """Write an interrupted run as a stored one and end its journal; return the file.

    Raises:
        BusyError: another process stores it, or has just done so.
        OSError: the file cannot be written; the journal is unchanged.
    """
    folder = storage / str(run.header["machine_id"])
    commit = re.sub(r"[^\w.+-]", "_", run.header["commit_info"].get("id") or "unversioned")[:60]
    with _locked(run.path):
        folder.mkdir(parents=True, exist_ok=True)
        numbers = [int(p.name[:4]) for p in folder.glob("[0-9][0-9][0-9][0-9]_*.json")]
        name = f"{max(numbers, default=0) + 1:04}_{commit}_recovered-{run.run_id[:60]}.json"
        write_whole(folder / name, json.dumps(run.as_run(), indent=4))
        end(run)
    return folder / name


def end(run: Interrupted) -> None:
    """Remove the journal of a stored run; one with damaged lines is renamed to ``run.kept``."""
    if run.unreadable:
        run.path.replace(run.kept)
    else:
        run.path.unlink(missing_ok=True)
        remove_ignored(run.path.parent)  # Unless it holds others.


def stored_file(run_id: str, files: Iterable[Path]) -> Path | None:
    """Return the file that holds a run, or None."""
    name = json.dumps(run_id).encode()
    for path in files:
        try:
            # Most files are of other runs, and decoding one takes longer.
            if name in read_regular(path) and read_file(path).run().run_id == run_id:
                return path
        except (OSError, StoredError, RecursionError):
            continue
    return None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise BusyError(f"{path}: {_GONE}") from None
    with file:
        if lock_now(file.fileno()) is False:
            raise BusyError(f"{path}: another process stores it just now")
        if not path.exists():
            raise BusyError(f"{path}: {_GONE}")
        yield


def _checked_header(path: Path, line: str) -> dict[str, Any]:
    try:
        header = parsed_json(line)
    except ValueError:
        raise JournalError(f"{path}: line 1 is not valid JSON") from None
    if not isinstance(header, dict) or "journal" not in header:
        raise JournalError(f"{path}: not a journal of pytest-llmperf")
    if header["journal"] != VERSION:
        raise JournalError(
            f"{path}: journal version {shown(header['journal'])} is not known to this release "
            f"(it knows {VERSION})"
        )
    for key, fits in _HEADER.items():
        if key not in header:
            raise JournalError(f"{path}: its header has no {key}")
        if not fits(header[key]):
            raise JournalError(f"{path}: its header's {key} cannot be {shown(header[key])}")
    return header


def _parsed(line: bytes) -> Any:
    """Return the value of a line; None for a damaged one."""
    try:
        return parsed_json(line)
    except ValueError:  # UnicodeDecodeError is one.
        return None


def _write(file: io.RawIOBase, content: bytes) -> None:
    """Write all of the content: on a full disk, the first call writes only a part of it."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) or 0 :]
