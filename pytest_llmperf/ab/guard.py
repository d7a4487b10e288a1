"""Child processes that end with this one, whatever ends it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

_STOP_TIMEOUT = 60.0
# The shell leads a session of its own and runs the command. Beside it, a watcher reads a pipe that the
# kernel closes when the parent ends, even by SIGKILL: then it ends the whole session's group. The trap
# lets Ctrl-C reach the command and leaves the shell, which says how the command ended.
_SHELL = """
exec 3<&0 </dev/null
( read -r word <&3; kill -s KILL -- "-$$" ) >/dev/null 2>&1 &
watcher=$!
trap : INT
"$@" 3<&-
code=$?
kill -s KILL "$watcher" 2>/dev/null
exit "$code"
"""


class Guarded:
    """A command in a process group of its own, which ends when this process ends."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        output: IO[bytes],
    ) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _SHELL, "sh", *command],
            cwd=folder,
            env=dict(environment),
            # Nothing is written to it; its other end is the watcher's.
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs; as a shell, 128 and the signal that ended it."""
        code = self._process.poll()
        if code is not None:
            self._close()
        return code

    def wait(self) -> int:
        """Wait for the end; return the exit code."""
        code = self._process.wait()
        self._close()
        return code

    def stop(self) -> None:
        """Ask the group to end, as Ctrl-C does, so that an engine ends too; then end it."""
        self._signal(signal.SIGINT)
        try:
            self._process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._close()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
