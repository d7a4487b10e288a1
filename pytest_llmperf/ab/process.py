"""One pytest run of one side, in a process of its own, with its progress as it goes."""

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
    """How a run ended."""

    exit_code: int | None
    """None: an earlier run, of which only the log is known."""
    failed: tuple[str, ...]
    """Ids of tests that failed."""
    skipped: tuple[str, ...]
    last_line: str
    """Of its output: pytest's message if it cannot run at all."""


def run_pytest(
    side: PreparedSide, arguments: Sequence[str], log: Path, progress: Progress
) -> Outcome:
    """Run pytest and wait. Its output goes to the log.

    On an exception (Ctrl-C) the run is asked to end, so that its engine ends too, then ended.
    """
    command = [side.python, "-m", "pytest", *arguments, *side.side.args]
    # Not -v, which a -q of the user or of the ini file would take back.
    command += ["--verbosity=1", "--color=no", "-o", "console_output_style=count"]
    # What the ini file judges by stored runs has none in a fresh worktree.
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
    """Read from a run's log how it ended; ``folder`` is where it ran."""
    lines = log.read_text("utf-8", errors="replace").splitlines()
    matches = [m for line in lines if (m := _OUTCOME.match(line))]
    # pytest shows tests as seen from where it was started, and calls them as seen from its root.
    roots = [line.removeprefix("rootdir: ") for line in lines if line.startswith("rootdir: ")]
    root = Path(roots[0]) if roots else folder

    def those(*outcomes: str) -> tuple[str, ...]:
        tests = (_from_root(m["test"], folder, root) for m in matches if m["outcome"] in outcomes)
        return tuple(dict.fromkeys(tests))

    said = [line.strip() for line in lines if line.strip()]
    # pytest's own parser puts its usage before what is wrong.
    errors = [line for line in said if line.startswith("ERROR") or ": error: " in line]
    last = (errors or said or ["no output"])[-1]
    return Outcome(exit_code, those("FAILED", "ERROR"), those("SKIPPED"), last)


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
