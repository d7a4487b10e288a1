"""``pytest-llmperf history``: show every entry over many stored runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import DONE, Subcommands, add_accepted, add_storage, complain, find_runs, say

_MOST_BREAKS = 20


def add(commands: Subcommands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "history",
        help="show every entry over stored runs: level, noise, steps",
        description="One row per entry: how many runs, its accepted level, the variation between runs, "
        "the newest run against the level, and the commits at which it stepped. A report, not a gate.",
    )
    parser.add_argument(
        "runs",
        nargs="*",
        metavar="RUNS",
        help="files, folders, globs, run numbers, commits or run ids (default: all of the storage)",
    )
    add_storage(parser)
    parser.add_argument("--branch", help="runs of this branch only")
    parser.add_argument("--test", default="", help="tests whose id contains this text")
    parser.add_argument("--metric", default="", help="one metric")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every value")
    add_accepted(parser)
    parser.add_argument(
        "--otava",
        metavar="PYTHON",
        help="find steps with apache-otava; the interpreter of the environment that has it",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read, collect, report."""
    from ..gate import accepted, clock, series
    from ..gate.branches import no_run_of
    from ..gate.breaks import breaks
    from ..report.series import table
    from ..store import stored

    try:
        names = options.runs or [str(options.storage)]
        files = [file for name in names for file in find_runs(name, options.storage)]
        changes = accepted.read(options.accepted)
    except (stored.StoredError, accepted.AcceptedError) as error:
        return complain("history", str(error))
    read, problems = stored.read_runs(dict.fromkeys(files))
    known, unordered = clock.believable(read)
    for problem in (*problems, *unordered):
        say(f"left out: {problem}")
    for problem in accepted.problems(options.accepted, changes):
        say(problem)
    runs = [run for run in known if options.branch in (None, run.branch)]
    if known and not runs:
        return complain("history", f"--branch: {no_run_of(options.branch, known)}")
    entries = series.collect(runs, accepted.anchors(changes), options.test, options.metric)
    if not entries:
        return complain("history", "no stored run has such an entry")
    steps: list[list[tuple[int, float]]] | None = None
    if options.otava:
        try:
            steps = series.change_points(entries, options.otava)
        except series.ChangePointError as error:
            return complain("history", str(error))
    if options.csv:
        series.write_csv(entries, options.csv)
    for line in table(entries, steps):
        print(line)
    of_shown = {nodeid for nodeid, _ in (entry.key for entry in entries)}
    lines = [b.line for b in breaks(runs, options.test) if b.nodeid in of_shown]
    for line in [*lines[:_MOST_BREAKS], *_more(len(lines) - _MOST_BREAKS)]:
        say(line)
    if lines:
        say("The table has the runs that are comparable with the newest one.")
    return DONE


def _more(n: int) -> list[str]:
    return [f"... and {n} more breaks"] if n > 0 else []
