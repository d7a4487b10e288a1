"""``pytest-llmperf ab``: measure two sides as interleaved pairs of processes, and judge them."""

from __future__ import annotations

import argparse
import datetime
import math
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import OneLine
from ..core.folders import make_ignored
from ..core.printable import printable
from ..core.secrets import masked_arguments
from ..core.values import duration, whole
from ..gate.limits import FIRST_PAIRS, MORE_PAIRS, MOST_PAIRS
from .common import (
    INTERRUPTED,
    USAGE_ERROR,
    Subcommands,
    add_limits,
    add_reports,
    argument,
    check_targets,
    complain,
    in_main_thread,
    say,
)

if TYPE_CHECKING:
    from ..ab.plan import Plan
    from ..ab.sides import Side
    from ..gate.verdict import Judgement

_FOLDER = Path(".llmperf-ab")
_NEW_ONLY = (
    "base",
    "head",
    "base_python",
    "head_python",
    "base_args",
    "head_args",
    "setup",
    "pairs",
    "more_pairs",
    "in_turns",
    "out",
)
"""Options of a new comparison, which a resumed one takes from its plan, unless they are secret."""


def add(commands: Subcommands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "ab",
        help="measure two sides as interleaved pairs of processes and judge them",
        usage="pytest-llmperf ab [--base REV] [options] -- [pytest arguments]",
        description="Measures base and head in pairs of fresh processes whose rounds alternate, and "
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
        "--base-args", metavar="ARGS", default="", help="pytest arguments of base only"
    )
    sides.add_argument("--head-args", metavar="ARGS", default="", help="of head only")
    sides.add_argument(
        "--setup",
        metavar="COMMAND",
        default="",
        help="shell command run once in each side's folder, such as an installation; {tree} is that "
        "folder, in interpreters too",
    )
    parser.add_argument(
        "--pairs",
        type=argument(whole(2, MOST_PAIRS)),
        metavar="N",
        help=f"of all tests (default: {FIRST_PAIRS})",
    )
    parser.add_argument(
        "--more-pairs",
        type=argument(whole(0, MOST_PAIRS)),
        metavar="N",
        help=f"more, of the tests that look worse after the first (default: {MORE_PAIRS})",
    )
    parser.add_argument(
        "--in-turns",
        action=argparse.BooleanOptionalAction,
        help="load both sides at once and alternate their rounds, where memory allows (default); else "
        "one process after the other",
    )
    parser.add_argument(
        "--budget",
        type=argument(duration),
        metavar="TIME",
        default=math.inf,
        help="such as 20min or 2h: begin no pair that would end later (default: no limit)",
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
    from ..gate.extra import lacking

    if missing := lacking("tqdm"):
        return complain("ab", f"judging {missing}")
    from ..ab import plan as plans
    from ..ab.budget import Budget
    from ..ab.comparison import Comparison
    from ..ab.leftovers import locked
    from ..report.ab import ABDisplay

    try:
        check_targets(options.json, options.markdown)
        folder, plan = _plan(options)
    except (OneLine, ValueError) as error:
        return complain("ab", str(error))
    say(f"{plan.names[0]} against {plan.names[1]}; every run is kept in {folder}")
    try:
        with (
            _ended_like_ctrl_c(),
            locked(folder / plans.FILE),
            ABDisplay(sys.stderr) as display,
        ):
            judgement = Comparison(plan, folder, display, Budget(options.budget)).run()
    except KeyboardInterrupt:
        complain("ab", f"interrupted; go on with: pytest-llmperf ab --resume {folder}")
        return INTERRUPTED
    except OneLine as error:
        return complain("ab", str(error))
    code = judgement.exit_code(options.strict)
    return code if _deliver(judgement, folder, options) else code or USAGE_ERROR


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP do what Ctrl-C does, until the comparison is over."""
    of_ctrl_c = signal.getsignal(signal.SIGINT)
    handler = of_ctrl_c if callable(of_ctrl_c) else signal.default_int_handler
    endings = (signal.SIGTERM, signal.SIGHUP) if in_main_thread() else ()
    before = {ending: signal.getsignal(ending) for ending in endings}
    # Ignored as nohup asks for; None: not set by Python, which could not set it again.
    ours = {e: was for e, was in before.items() if was not in (signal.SIG_IGN, None)}
    try:
        for ending in ours:
            signal.signal(ending, handler)
        yield
    finally:
        for ending, was in ours.items():
            signal.signal(ending, was)


def _deliver(judgement: Judgement, folder: Path, options: argparse.Namespace) -> bool:
    """Show the verdict and write its files; return whether all of them are written."""
    from ..report.verdicts import show, write_files

    show(judgement, options.all, options.strict)
    written = True
    targets = [(folder / "verdict.json", None), (None, folder / "verdict.md")]
    targets += [(options.json, None), (None, options.markdown)]
    for json_file, markdown_file in targets:
        try:
            write_files(judgement, json_file, markdown_file)
        except OSError as error:
            complain("ab", f"{json_file or markdown_file} cannot be written: {error.strerror}")
            written = False
    return written


def _plan(options: argparse.Namespace) -> tuple[Path, Plan]:
    """Return a new comparison in its folder, or the one to go on with."""
    from ..ab import plan as plans
    from ..ab.git import has_uncommitted_changes
    from ..gate.limits import LimitSettings

    limits = LimitSettings(options.min_effect, options.must_see)
    if options.resume:
        given = {name for name in _NEW_ONLY if getattr(options, name) not in (None, "")}
        if given - plans.withheld_by(options.resume):
            raise ValueError("--resume goes on as planned: it takes limits and reports only")
        withheld = plans.Withheld(
            setup=options.setup,
            base_args=_side(options, "base").args,
            head_args=_side(options, "head").args,
        )
        plan = plans.resumed(options.resume, options.pytest_args, limits, withheld)
        for side in (plan.base, plan.head):
            command = [side.python or sys.executable, "-m", "pytest", *plan.pytest_args, *side.args]
            note = f"note: {side.name} runs {shlex.join(masked_arguments(command))}"
            print(printable(note), file=sys.stderr)
        return options.resume, plan
    repository = Path.cwd()
    plan = plans.new(
        repository,
        _side(options, "base"),
        _side(options, "head"),
        base_revision=options.base,
        head_revision=options.head,
        pytest_args=options.pytest_args,
        setup=options.setup,
        first_pairs=options.pairs,
        more_pairs=options.more_pairs,
        limits=limits,
        in_turns=options.in_turns,
    )
    if options.base and not options.head and has_uncommitted_changes(repository):
        print(
            "note: uncommitted changes are not measured (--head . measures the folder as it is)",
            file=sys.stderr,
        )
    folder: Path = options.out or _new_folder()
    plan.begin(folder)
    return folder, plan


def _new_folder() -> Path:
    """Make a folder for a comparison that begins now; git ignores it."""
    make_ignored(_FOLDER)
    time = f"{datetime.datetime.now(datetime.UTC):%Y%m%d_%H%M%S}"
    for name in chain([time], (f"{time}-{number}" for number in count(2))):
        with suppress(FileExistsError):  # Another one has begun in this second.
            (_FOLDER / name).mkdir()
            break
    return _FOLDER / name


def _side(options: argparse.Namespace, name: str) -> Side:
    """Return a side from the options, without its commit."""
    from ..ab.sides import Side

    arguments = tuple(shlex.split(getattr(options, f"{name}_args")))
    return Side(name, python=getattr(options, f"{name}_python"), args=arguments)
