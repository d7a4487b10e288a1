"""What a worker has made and may leave: processes, shared memory, and a folder of temporary files.

An engine is ended by SIGKILL, so it cleans nothing up: whoever ends it does. That is pytest, or the
watchdog, which is this file run as a program: it waits until pytest ends, even by SIGKILL.
It finds the processes by an environment variable that every child inherits, by the worker's session and
by descent, because an engine's processes may leave its group or overwrite their environment.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MARK = "PYTEST_LLMPERF_WORKER"
_PROC = Path("/proc")
_SHARED = Path("/dev/shm")
_ROUNDS = 20
"""Looks for processes; each one may find what was started since the one before."""
_PATIENCE = 5.0
"""Seconds for processes to end after SIGKILL."""
_TRACKER = b"multiprocessing.resource_tracker"
"""The process of Python that removes shared memory once its users have ended, which it sees itself."""
_TRACKER_PATIENCE = 2.0
_TABLE = tuple[int, int, int]
"""Parent, group and session of a process."""


class Remains:
    """The processes, segments and files of one worker."""

    def __init__(self, mark: str, folder: str, since: float) -> None:
        """Name what belongs to the worker.

        Args:
            mark: value of the environment variable that its processes inherit.
            folder: its temporary files.
            since: time at which it was started; shared memory that is older belongs to others.
        """
        self._mark = b"\0%s=%s\0" % (MARK.encode(), mark.encode())
        self._folder = folder
        self._since = since
        self._leader: int | None = None

    def leader(self, pid: int) -> None:
        """Note the process that leads the worker's session."""
        self._leader = pid

    def clear(self) -> None:
        """End all processes and remove what they have made. Never raises."""
        segments = self.end()
        self._unlink(segments)
        # Not at the top: the watchdog reads this file at every start of an engine.
        import shutil

        shutil.rmtree(self._folder, ignore_errors=True)

    def end(self) -> set[Path]:
        """End all processes; return the shared memory that they had mapped."""
        segments: set[Path] = set()
        for _ in range(_ROUNDS):
            members = self._members()
            trackers = {pid for pid in members if _TRACKER in _read(pid, "cmdline")}
            if not members:
                break
            segments |= {path for pid in members for path in _mapped(pid)}
            if members != trackers:
                _kill(members - trackers)
            elif not _wait(trackers, _TRACKER_PATIENCE):
                _kill(trackers)
        if self._leader is not None and not _PROC.exists():
            with suppress(OSError):
                os.killpg(self._leader, signal.SIGKILL)
        return segments

    def _members(self) -> set[int]:
        """Return the worker's processes that have not ended."""
        table = dict(_processes())
        members = {
            pid
            for pid, (_, group, session) in table.items()
            if self._leader in (pid, group, session) or self._mark in b"\0" + _read(pid, "environ")
        }
        while True:
            children = {pid for pid, (parent, _, _) in table.items() if parent in members}
            if children <= members:
                return members - {os.getpid()}
            members |= children

    def _unlink(self, segments: set[Path]) -> None:
        """Remove shared memory that the worker made and nobody else uses."""
        segments = {path for path in segments if self._is_own(path)}
        if segments:
            segments -= {path for pid, _ in _processes() for path in _mapped(pid)}
        for path in segments:
            with suppress(OSError):
                path.unlink()

    def _is_own(self, path: Path) -> bool:
        """Return whether a file is a segment that was made after the worker was started.

        Somebody may keep a model's files in this folder, and an engine maps them, too.
        """
        try:
            status = path.lstat()
        except OSError:
            return False
        return (
            path.parent == _SHARED
            and stat.S_ISREG(status.st_mode)
            and not status.st_mode & 0o077
            and status.st_uid == os.geteuid()
            and status.st_ctime >= self._since
        )


def _processes() -> Iterator[tuple[int, _TABLE]]:
    """Yield this user's processes that have not ended."""
    try:
        entries = list(_PROC.iterdir())
    except OSError:
        return
    for entry in entries:
        if entry.name.isdigit():
            with suppress(OSError, ValueError):
                if entry.stat().st_uid != os.geteuid():
                    continue
                # The name in parentheses may contain anything, even parentheses.
                state, *numbers = _read(int(entry.name), "stat").rpartition(b")")[2].split()[:4]
                if state not in (b"Z", b"X"):
                    parent, group, session = map(int, numbers)
                    yield int(entry.name), (parent, group, session)


def _mapped(pid: int) -> Iterator[Path]:
    """Yield the files in shared memory that a process has mapped."""
    for line in _read(pid, "maps").splitlines():
        _, found, name = line.partition(b" %s/" % os.fsencode(_SHARED))
        if found and not name.endswith(b" (deleted)"):
            yield _SHARED / os.fsdecode(name)


def _kill(pids: set[int]) -> None:
    """End processes at once, and wait until they have ended."""
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    _wait(pids, _PATIENCE)


def _wait(pids: set[int], seconds: float) -> bool:
    """Wait for the end of processes; return whether all have ended."""
    until = time.monotonic() + seconds
    for pid in pids:
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        except (OSError, AttributeError):
            time.sleep(0.05)  # No such call in this kernel: look again.
            continue
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                return False
        finally:
            os.close(fd)
    return True


def _read(pid: int, name: str) -> bytes:
    """Return the content of a file of a process; empty if it cannot be read."""
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""


def watch(mark: str, folder: str, since: str) -> None:
    """Wait for the end of pytest, which holds the other end of the standard input; then clear."""
    remains = Remains(mark, folder, float(since))
    for line in iter(sys.stdin.buffer.readline, b""):
        if line == b"done\n":
            return
        remains.leader(int(line))
    remains.clear()


if __name__ == "__main__":
    watch(*sys.argv[1:])
