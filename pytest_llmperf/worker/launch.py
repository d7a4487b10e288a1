"""The processes of a worker that start before it answers: its interpreter, and the watchdog."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..core.printable import printable
from ..machine.variables import OF_COVERAGE
from . import remains
from .remains import MARK

# Before Python runs: what its start prints to standard error belongs to the log, and every process that
# it starts inherits the mark. Torch keeps compiled kernels among the temporary files; they shall last.
# Coverage, which these variables start in every process, would slow the engine down.
_START = (
    f"unset {' '.join(OF_COVERAGE)}; "
    f'export {MARK}="$0" TMPDIR="$1" TORCHINDUCTOR_CACHE_DIR="${{TORCHINDUCTOR_CACHE_DIR:-$2}}"; '
    'log=$3 python=$4; shift 4; exec "$python" "$@" 2>>"$log"'
)


def command(python: str, mark: str, scratch: Path, log: Path) -> str:
    """Return the command that starts an interpreter, as execnet takes it."""
    words = ["/bin/sh", "-c", _START, mark, str(scratch), str(_torch_cache()), str(log), python]
    # Two slashes would end the command.
    return re.sub("/{2,}", "/", shlex.join(words))


def _torch_cache() -> Path:
    """Return the folder where torch keeps compiled kernels unless a variable names another."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # In a container, a user may have no name.
        user = str(os.geteuid())
    return Path(tempfile.gettempdir()) / f"torchinductor_{user}"


class Watchdog:
    """The process that clears up if pytest disappears without notice, even by SIGKILL.

    The kernel then closes the pipe that it reads.
    """

    def __init__(self, mark: str, folder: Path, since: float) -> None:
        """Start it; the arguments are those of ``Remains``."""
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", remains.__file__, mark, str(folder), str(since)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def leader(self, pid: int) -> None:
        """Name the process that leads the worker's session."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(b"%d\n" % pid)
            self._process.stdin.flush()

    def end(self) -> None:
        """End it: nothing is left to clear up."""
        with suppress(OSError, ValueError):
            self._process.communicate(b"done\n")


def output_of(command: Sequence[str], limit: float) -> str:
    """Return what a short command prints; when its time is up, end it and all that it has started.

    Raises:
        OSError: it cannot be run.
        subprocess.SubprocessError: it failed, or its time was up.
    """
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            printed, written = process.communicate(timeout=limit)
        except BaseException:
            # A child of it would keep the pipe open.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, printed, written)
    return printed.decode("utf-8", "replace")


def printed_at_start(python: str) -> str:
    """Return what an interpreter prints before it runs anything, for a message."""
    try:
        lines = output_of([python, "-c", ""], limit=10).splitlines()
    except (OSError, subprocess.SubprocessError):
        lines = []
    return printable(repr(lines[0][:80])) if lines else "something"
