"""``pytest-llmperf history``: show every entry over many stored runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import DONE, Subcommands, add_accepted, add_storage, complain, say


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
    from ..gate import accepted, series
    from ..report.series import table
    from ..store import stored
    from ..store.find import find_files

    try:
        names = options.runs or [str(options.storage)]
        files = [file for name in names for file in find_files(name, options.storage)]
        anchors = accepted.anchors(accepted.read(options.accepted))
    except (stored.StoredError, accepted.AcceptedError) as error:
        return complain("history", str(error))
    runs, problems = stored.read_runs(dict.fromkeys(files))
    if options.branch:
        runs = [run for run in runs if run.branch == options.branch]
    entries = series.collect(runs, anchors, options.test, options.metric)
    for problem in problems:
        say(f"left out: {problem}")
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
    return DONE
