"""Run pytest for one side in a separate process, and report its progress."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .sides import PreparedSide

Progress = Callable[[str, int, int], None]
"""Called after each test with its id, its number from 1, and how many there are."""

# pytest --verbosity=1 -o console_output_style=count: "path::test[id] PASSED   [ 1/12]"
_OUTCOME = re.compile(
    r"^(?P<test>\S+::.+?) (?P<outcome>PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b"
    r"(?:.*\[ *(?P<number>\d+)/(?P<total>\d+)\])?"
)
_STOP_TIMEOUT = 60.0


@dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    exit_code: int | None
    """pytest's exit code; None for an earlier run, of which only the log is known."""
    failed: tuple[str, ...]
    """Ids of tests that failed."""
    skipped: tuple[str, ...]
    last_line: str
    """Last line of the output, or pytest's message if it could not run."""


def run_pytest(
    side: PreparedSide, arguments: Sequence[str], log: Path, progress: Progress
) -> Outcome:
    """Run pytest and wait. Its output goes to the log.

    On an exception (Ctrl-C) the run is interrupted, so that its engine ends too, then killed.
    """
    command = [side.python, "-m", "pytest", *arguments, *side.side.args]
    # Not -v, which a -q of the user or of the ini file would take back.
    command += ["--verbosity=1", "--color=no", "-o", "console_output_style=count"]
    # Options of the ini file that need stored runs: a fresh worktree has none.
    command += ["-o", "llm_gate=", "-o", "llm_fail_if="]
    with log.open("w", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            command,
            cwd=side.folder,
            env=dict(side.environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                output.write(line)
                output.flush()
                ended = _OUTCOME.match(line)
                if ended and ended["number"]:
                    progress(ended["test"], int(ended["number"]), int(ended["total"]))
            exit_code = process.wait()
        except BaseException:
            _stop(process)
            raise
    return outcome(log, side.folder, exit_code)


def outcome(log: Path, folder: Path, exit_code: int | None = None) -> Outcome:
    """Read the result of a run from its log.

    Args:
        folder: the folder that it ran in.
    """
    lines = log.read_text("utf-8", errors="replace").splitlines()
    matches = [m for line in lines if (m := _OUTCOME.match(line))]
    # pytest prints test paths relative to the folder it was started in; ids are relative to its root.
    roots = [line.removeprefix("rootdir: ") for line in lines if line.startswith("rootdir: ")]
    root = Path(roots[0]) if roots else folder

    def tests_with(*outcomes: str) -> tuple[str, ...]:
        tests = (_from_root(m["test"], folder, root) for m in matches if m["outcome"] in outcomes)
        return tuple(dict.fromkeys(tests))

    messages = [line.strip() for line in lines if line.strip()]
    # pytest's option parser prints its usage before the error.
    errors = [line for line in messages if line.startswith("ERROR") or ": error: " in line]
    last = (errors or messages or ["no output"])[-1]
    return Outcome(exit_code, tests_with("FAILED", "ERROR"), tests_with("SKIPPED"), last)


def _from_root(test: str, folder: Path, root: Path) -> str:
    path, colons, rest = test.partition("::")
    return Path(os.path.relpath(folder / path, root)).as_posix() + colons + rest


def _stop(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
