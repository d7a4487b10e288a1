"""``pytest-llmperf compare A B``: judge stored runs against stored runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import OneLine
from .common import (
    Subcommands,
    add_accepted,
    add_limits,
    add_reports,
    add_storage,
    check_targets,
    complain,
    find_runs,
    say,
)

if TYPE_CHECKING:
    from ..gate.verdict import Judgement

_RUNS = "file, folder, glob, run number, commit, revision (HEAD~1) or run id"


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
    from ..gate.verdict import new_level_line
    from ..report.verdicts import deliver
    from ..store import stored

    try:
        check_targets(options.json, options.markdown)
        names = (options.baseline, options.candidate)
        files = [find_runs(name, options.storage) for name in names]
        changes = accepted.read(options.accepted)
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
        anchors=accepted.anchors(changes),
        names=names,
        problems=of_baseline + of_candidate + accepted.problems(options.accepted, changes),
    )
    deliver(judgement, options.json, options.markdown, options.all, options.strict)
    if not judgement.entries:
        return complain("compare", "the candidate has no test in common with the baseline")
    if line := new_level_line(judgement):
        say(f"FAILED: {line}")
    if too_few := _too_few(judgement):
        say(too_few)
    return judgement.exit_code(options.strict)


def _too_few(judgement: Judgement) -> str:
    """Return one line if a history is too short to decide anything; empty otherwise."""
    from ..gate.history import LEAST_JOBS
    from ..gate.verdict import Verdict

    runs = judgement.settings["runs"]
    if runs >= LEAST_JOBS or any(e.verdict is not Verdict.INCONCLUSIVE for e in judgement.entries):
        return ""
    has = "1 run" if runs == 1 else f"{runs} runs"
    return (
        f"the baseline has {has}, and times and memory need {LEAST_JOBS}: name more (a folder, a glob), "
        "or measure two commits in turns with `pytest-llmperf ab`"
    )


def _nothing(paths: list[Path]) -> str:
    return f"all {len(paths)} files are the candidate's" if paths else "no stored run"
