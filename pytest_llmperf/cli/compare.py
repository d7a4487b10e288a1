"""``pytest-llmperf compare A B``: judge stored runs against stored runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..core.errors import OneLine
from .common import (
    Subcommands,
    add_accepted,
    add_limits,
    add_reports,
    add_storage,
    check_targets,
    complain,
)

_RUNS = "file, folder, glob, run number, commit or run id"


def add(commands: Subcommands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "compare",
        help="judge stored runs against stored runs",
        description="Judges the runs of CANDIDATE against those of BASELINE. Exit code: 0 no "
        "regression, 1 regression, 2 undecided (--strict), 3 broken input.",
    )
    parser.add_argument("baseline", metavar="BASELINE", help=_RUNS)
    parser.add_argument("candidate", metavar="CANDIDATE", help=_RUNS)
    add_storage(parser)
    add_accepted(parser)
    add_limits(parser)
    add_reports(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read, judge, report."""
    from ..gate.extra import lacking

    if missing := lacking():
        return complain("compare", f"judging {missing}")
    from ..gate import accepted, history
    from ..gate.limits import LimitSettings
    from ..report.verdicts import deliver
    from ..store import stored
    from ..store.find import find_files

    try:
        check_targets(options.json, options.markdown)
        files = [find_files(n, options.storage) for n in (options.baseline, options.candidate)]
        anchors = accepted.anchors(accepted.read(options.accepted))
        candidate, of_candidate = stored.read_runs(files[1])
        baseline, of_baseline = stored.read_runs(f for f in files[0] if f not in files[1])
    except (OneLine, ValueError) as error:
        return complain("compare", str(error))
    for name, runs, paths, problems in (
        (options.baseline, baseline, files[0], of_baseline),
        (options.candidate, candidate, files[1], of_candidate),
    ):
        if not runs:
            return complain("compare", problems[0] if problems else f"{name}: {_nothing(paths)}")
    judgement = history.judge(
        baseline,
        candidate,
        LimitSettings(options.min_effect, options.must_see),
        anchors=anchors,
        names=(options.baseline, options.candidate),
        problems=of_baseline + of_candidate,
    )
    deliver(judgement, options.json, options.markdown, options.all)
    if not judgement.entries:
        return complain("compare", "the candidate has no test in common with the baseline")
    return judgement.exit_code(options.strict)


def _nothing(paths: list[Path]) -> str:
    return f"all {len(paths)} files are the candidate's" if paths else "no stored run"
