"""Programs in a folder of their own, and the processes that they leave."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = "LLMPERF_FAULT_CASE"
# Pytest names the place of a Ctrl-C, wherever it is: "FILE:LINE: KeyboardInterrupt".
TRACEBACK = re.compile(
    r"Traceback \(most recent call last\)|INTERNALERROR"
    r"|^\S*(?:pytest_llmperf|execnet)/\S+\.py:\d+: (?!KeyboardInterrupt$)",
    re.MULTILINE,
)
NOT_OURS = ("PYTEST_", "GIT_", "GITHUB_", "COV_")


@dataclass(frozen=True)
class Ended:
    """What a program did."""

    code: int | None
    """Its exit code; None if it had to be killed because it did not end."""
    output: str
    """Standard output and standard error, in the order in which they were written."""

    @property
    def has_traceback(self) -> bool:
        """Whether a person saw a traceback, or lines of this package's code."""
        return bool(TRACEBACK.search(self.output))


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment whose programs keep their files in the folder and carry its mark."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(NOT_OURS)}
    own = {MARK: str(folder), "TMPDIR": str(temporary), "XDG_CACHE_HOME": str(folder / "cache")}
    return {**inherited, "COLUMNS": "200", **own, **more}


def start(
    module: str, arguments: Sequence[str], folder: Path, output: Path, **more: str
) -> subprocess.Popen[bytes]:
    """Start ``python -m MODULE`` in the folder, as the leader of a session, as a terminal does."""
    with output.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env=environment(folder, **more),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_default_signals,
        )


def ended(process: subprocess.Popen[bytes], output: Path, seconds: float) -> Ended:
    """Wait for the end of a program; kill it, and all that it started, if it does not come."""
    try:
        code: int | None = process.wait(seconds)
    except subprocess.TimeoutExpired:
        code = None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return Ended(code, output.read_text(errors="replace"))


def run(
    module: str, arguments: Sequence[str], folder: Path, seconds: float = 60, **more: str
) -> Ended:
    """Run ``python -m MODULE`` in the folder."""
    output = folder / "output.txt"
    return ended(start(module, arguments, folder, output, **more), output, seconds)


def living(folder: Path) -> dict[int, str]:
    """Return the command lines of the living processes with the folder's mark, by process id."""
    mark = f"{MARK}={folder}\0".encode()
    processes = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and mark in (process / "environ").read_bytes():
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                processes[int(process.name)] = line.decode(errors="replace").strip()
        except OSError:  # It has ended meanwhile.
            continue
    return processes


def left(folder: Path, seconds: float = 10) -> dict[int, str]:
    """Return the processes that still live after some time, and kill them."""
    deadline = time.monotonic() + seconds
    while (processes := living(folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in processes:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return processes


def _default_signals() -> None:
    # A job in the background ignores them; one on a terminal does not.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def path_with(folder: Path) -> str:
    """Return PYTHONPATH with a folder in front."""
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
