"""Run pytest for one side in a separate process, and report its progress."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from .guard import Guarded
from .outcomes import Outcome, Progress, Report, outcome
from .sides import PreparedSide

_CHILD = Path(__file__).parent.parent / "session" / "child.py"
"""A script of pytest's own process, which may have another interpreter: it is never imported here."""
_LOOK = 0.2
"""Seconds between two looks at a run: rare enough to disturb no measurement."""


def run_pytest(
    side: PreparedSide, arguments: Sequence[str], log: Path, report: Path, progress: Progress
) -> Outcome:
    """Run pytest and wait. Its output goes to the log; what happens goes to the report.

    On an exception (Ctrl-C) the run is interrupted, so that its engine ends too, then killed.
    """
    asked = {
        "report": str(report.resolve()),
        "own": str(side.tree.root),
        "others": [str(path) for path in side.tree.others],
    }
    command = [side.python, str(_CHILD), json.dumps(asked)]
    command += side.tree.arguments([*arguments, *side.side.args])
    # For the person who reads the log. Not -v, which a -q of the user or of the ini file would take
    # back.
    command += ["--verbosity=1", "--color=no", "-o", "console_output_style=count"]
    # Options of the ini file that need stored runs: a fresh worktree has none.
    command += ["-o", "llm_gate=", "-o", "llm_fail_if="]
    report.unlink(missing_ok=True)
    lines = Report(report)
    with log.open("wb") as output:
        child = Guarded(command, side.folder, side.environment, output)
        try:
            while (exit_code := child.poll()) is None:
                lines.tell(progress)
                time.sleep(_LOOK)
        except BaseException:
            child.stop()
            raise
    lines.tell(progress)
    return outcome(report, log, side.folder, exit_code)
