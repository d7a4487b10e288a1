"""``pytest-llmperf ab``: two sides measured as interleaved pairs of processes."""

from __future__ import annotations

import argparse
import datetime
import shlex
import signal
import sys
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ..core.values import whole
from .common import (
    MISSING_EXTRA,
    Subcommands,
    add_limits,
    add_reports,
    argument,
    complain,
    missing_extra,
)

if TYPE_CHECKING:
    from ..ab.plan import Plan

_INTERRUPTED = 130
_FOLDER = Path(".llmperf-ab")


def add(commands: Subcommands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "ab",
        help="measure two sides as interleaved pairs of processes and judge them",
        usage="pytest-llmperf ab [--base REV] [options] -- [pytest arguments]",
        description="Measures base and head in turns (AB BA AB ...), each in a fresh process, and "
        "judges every metric of every test. Exit code: 0 no regression, 1 regression, 2 undecided "
        "(--strict), 3 usage, or a side that does not run.",
    )
    sides = parser.add_argument_group("sides (at least one has to differ)")
    sides.add_argument("--base", metavar="REV", help="commit of the baseline, in a worktree")
    sides.add_argument(
        "--head", metavar="REV", help="commit of the candidate (default: HEAD); a folder as it is"
    )
    sides.add_argument(
        "--base-python", metavar="PATH", default="", help="interpreter of the baseline"
    )
    sides.add_argument("--head-python", metavar="PATH", default="", help="of the candidate")
    sides.add_argument(
        "--base-args", metavar="ARGS", default="", help="pytest arguments of base alone"
    )
    sides.add_argument("--head-args", metavar="ARGS", default="", help="of head alone")
    sides.add_argument(
        "--setup",
        metavar="COMMAND",
        default="",
        help="shell command run once in each side's folder, such as an installation; {tree} is that "
        "folder, in interpreters too",
    )
    parser.add_argument(
        "--pairs", type=argument(whole(2)), default=3, metavar="N", help="of all tests (default: 3)"
    )
    parser.add_argument(
        "--more-pairs",
        type=argument(whole(0)),
        default=5,
        metavar="N",
        help="more, of the tests that look worse after the first (default: 5)",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=f"default: {_FOLDER}/TIME")
    parser.add_argument(
        "--resume", type=Path, metavar="FOLDER", help="go on with an interrupted one"
    )
    add_limits(parser)
    add_reports(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Plan or resume, measure, judge, report."""
    if missing_extra():
        return complain("ab", MISSING_EXTRA)
    from ..ab import plan as plans
    from ..ab.comparison import ABError, Comparison
    from ..ab.sides import SideError
    from ..report.ab import ABDisplay
    from ..report.verdicts import deliver

    try:
        folder, plan = _plan(options)
    except (SideError, plans.PlanError, ValueError) as error:
        return complain("ab", str(error))
    print(f"{plan.names[0]} against {plan.names[1]}; every run is kept in {folder}", flush=True)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ABDisplay(sys.stderr) as display:
            judgement = Comparison(plan, folder, display).run()
    except KeyboardInterrupt:
        complain("ab", f"interrupted; go on with: pytest-llmperf ab --resume {folder}")
        return _INTERRUPTED
    except (ABError, SideError) as error:
        return complain("ab", str(error))
    deliver(
        judgement,
        options.json or folder / "verdict.json",
        options.markdown or folder / "verdict.md",
        options.all,
    )
    return judgement.exit_code(options.strict)


def _plan(options: argparse.Namespace) -> tuple[Path, Plan]:
    """A new comparison in its folder, or the one to go on with."""
    from ..ab import plan as plans
    from ..ab.sides import Side, has_uncommitted_changes, with_commit
    from ..gate.limits import LimitSettings

    if options.resume:
        fresh = (
            "base",
            "head",
            "base_python",
            "head_python",
            "base_args",
            "head_args",
            "setup",
            "out",
        )
        if any(getattr(options, name) for name in fresh):
            raise ValueError("--resume goes on as planned: it takes limits and reports alone")
        plan = plans.load(options.resume)
        if options.pytest_args and tuple(options.pytest_args) != plan.pytest_args:
            raise ValueError("--resume goes on with the pytest arguments that it began with")
        given = LimitSettings(
            options.min_effect or plan.limits.min_effect, options.must_see or plan.limits.must_see
        )
        return options.resume, replace(plan, limits=given)
    repository = Path.cwd()
    arguments = {
        name: tuple(shlex.split(getattr(options, f"{name}_args"))) for name in ("base", "head")
    }
    base = Side("base", python=options.base_python, args=arguments["base"])
    head = Side("head", python=options.head_python, args=arguments["head"])
    if options.head and not options.base:
        raise ValueError("--head needs --base: which commit is it compared with?")
    if options.base:
        base = with_commit(base, options.base, repository)
        head = with_commit(head, options.head or "HEAD", repository)
        if not options.head and has_uncommitted_changes(repository):
            print(
                "note: uncommitted changes are not measured (--head . measures the folder as it is)",
                file=sys.stderr,
            )
    if not (options.base or base.python or head.python or base.args or head.args):
        raise ValueError(
            "nothing differs between the sides: give --base, --base-python/--head-python or "
            "--base-args/--head-args"
        )
    now = datetime.datetime.now(datetime.UTC)
    folder: Path = options.out or _FOLDER / now.strftime("%Y%m%d_%H%M%S")
    if (folder / plans.FILE).exists():
        raise ValueError(f"{folder} holds a comparison already: --resume it, or take another --out")
    plan = plans.Plan(
        job=f"ab-{uuid.uuid4().hex[:12]}",
        base=base,
        head=head,
        repository=str(repository),
        pytest_args=tuple(options.pytest_args),
        setup=options.setup,
        first_pairs=options.pairs,
        more_pairs=options.more_pairs,
        limits=LimitSettings(options.min_effect, options.must_see),
    )
    folder.mkdir(parents=True, exist_ok=True)
    plan.save(folder)
    return folder, plan


def _interrupt(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
