"""Run pytest for one side in a separate process, or for both at once, and report their progress."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.turns import PATH
from .guard import Guarded
from .outcomes import Outcome, Progress, Report, ended_tests, outcome
from .sides import PreparedSide
from .turns import Arbiter

_CHILD = Path(__file__).parent.parent / "session" / "child.py"
"""A script of pytest's own process, which may have another interpreter: it is never imported here."""
_LOOK = 0.2
"""Seconds between two looks at a run: rare enough to disturb no measurement."""
_TURNS = "pytest_llmperf.core.turns"
"""The module that a release has whose engines can take turns."""
_ASK_LIMIT = 60.0
"""Seconds for an interpreter to say whether it has that module."""


@dataclass(frozen=True)
class Task:
    """A run of pytest for one side, with its files."""

    side: PreparedSide
    arguments: Sequence[str]
    log: Path
    """For its output."""
    report: Path
    """For what happens."""


class _Run:
    """A run that has started."""

    def __init__(self, task: Task) -> None:
        side, report = task.side, task.report
        asked = {
            "report": str(report.resolve()),
            "own": str(side.tree.root),
            "others": [str(path) for path in side.tree.others],
        }
        command = [side.python, str(_CHILD), json.dumps(asked)]
        command += side.tree.arguments([*task.arguments, *side.side.args])
        # For the person who reads the log. Not -v, which a -q of the user or of the ini file would
        # take back.
        command += ["--verbosity=1", "--color=no", "-o", "console_output_style=count"]
        # Options of the ini file that need stored runs: a fresh worktree has none.
        command += ["-o", "llm_gate=", "-o", "llm_fail_if="]
        report.unlink(missing_ok=True)
        self.task = task
        self._lines = Report(report)
        with task.log.open("wb") as output:
            self._child = Guarded(command, side.folder, side.environment, output)
        self._code: int | None = None

    def look(self) -> tuple[bool, list[dict[str, Any]]]:
        """Return whether it still runs, and the new lines of its report."""
        if self._code is None:
            self._code = self._child.poll()
        return self._code is None, list(self._lines.new_lines())

    def stop(self) -> None:
        """Interrupt it, so that its engine ends too, then kill it."""
        if self._code is None:
            self._child.stop()

    def outcome(self) -> Outcome:
        """Return how it ended."""
        return outcome(self.task.report, self.task.log, self.task.side.folder, self._code)


def run_pytest(task: Task, progress: Progress) -> Outcome:
    """Run pytest and wait. On an exception (Ctrl-C) the run is interrupted, then killed."""
    run = _Run(task)
    try:
        is_running = True
        while is_running:
            is_running, lines = run.look()
            for test, number, total in ended_tests(lines):
                progress(test, number, total)
            if is_running:
                time.sleep(_LOOK)
    except BaseException:
        run.stop()
        raise
    return run.outcome()


def run_in_turns(
    tasks: tuple[Task, Task], progress: Progress, ended: Callable[[Task, Outcome], None]
) -> str:
    """Run both sides of a pair at once, their rounds in turns.

    The second side starts when the engine of the first one has come to its first rounds. If it never
    does, or leaves no room for another engine, the second side starts when the first one has ended.

    Args:
        tasks: of the side that begins, and of the other one.
        progress: told the tests of both.
        ended: called with a side's outcome when it has ended; what it raises ends both sides.

    Returns:
        Why there was no room for both engines; empty if there was.
    """
    names = [task.side.side.name for task in tasks]
    numbers = dict.fromkeys(names, 0)
    waiting: Task | None = tasks[1]
    with Arbiter(names[0], {t.side.side.name: t.side.environment[PATH] for t in tasks}) as arbiter:
        first, second = (arbiter.seats[name] for name in names)
        runs = {names[0]: _Run(tasks[0])}
        arbiter.begins(names[0])
        try:
            while runs:
                arbiter.hear(_LOOK)
                for name, run in list(runs.items()):
                    is_running, lines = run.look()
                    arbiter.note(name, lines)
                    for test, number, total in ended_tests(lines):
                        numbers[name] = number
                        progress(test, sum(numbers.values()), 2 * total)
                    if not is_running:
                        arbiter.seats[name].has_ended = True
                        del runs[name]
                        ended(run.task, run.outcome())
                if waiting and first.no_room:
                    second.has_ended = True  # As far as the first one is concerned.
                elif waiting and first.has_measured and runs:
                    runs[names[1]], waiting = _Run(waiting), None
                    arbiter.begins(names[1])
                arbiter.give()
        except BaseException:
            for run in runs.values():
                run.stop()
            raise
    if waiting:
        ended(waiting, run_pytest(waiting, progress))
    return first.no_room


def why_no_turns(sides: Sequence[PreparedSide]) -> str:
    """Return why sides cannot take turns, whatever memory they need; empty if they can."""
    for side in sides:
        if not _takes_turns(side):
            return f"{side.side.name}'s pytest-llmperf cannot take turns"
    names = [side.side.name for side in sides]
    try:
        Arbiter(names[0], {side.side.name: side.environment[PATH] for side in sides}).close()
    except OSError as error:  # The path of the temporary folder may be too long.
        return f"no socket can be made in the temporary folder: {error}"
    return ""


def _takes_turns(side: PreparedSide) -> bool:
    command = [side.python, "-c", f"import {_TURNS}"]
    try:
        done = subprocess.run(
            command,
            cwd=side.folder,
            env=dict(side.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_ASK_LIMIT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
