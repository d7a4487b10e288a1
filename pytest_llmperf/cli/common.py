"""The subcommands of ``pytest-llmperf``, one a module: ``add`` declares it, ``run`` does it.

What a command needs is imported when it runs: ``recover`` works without the extra ``gate``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..core.values import ratio
from ..gate.accepted import FILE

T = TypeVar("T")

DONE = 0
USAGE_ERROR = 3
MISSING_EXTRA = "judging needs numpy, scipy and tqdm: pip install 'pytest-llmperf[gate]'"

Subcommands = Any
"""argparse's subparsers object, whose type has no public name."""


def complain(command: str, message: str) -> int:
    """Say what is wrong in one line; returns the exit code for it."""
    print(f"pytest-llmperf {command}: {message}", file=sys.stderr)
    return USAGE_ERROR


def missing_extra() -> bool:
    """Whether the numerical libraries of the gate are absent."""
    import importlib.util

    return any(importlib.util.find_spec(name) is None for name in ("numpy", "scipy", "tqdm"))


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """One of the options' own parsers for argparse, which hides what a ValueError says."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def add_accepted(parser: argparse.ArgumentParser) -> None:
    """The option that names the file of accepted changes."""
    parser.add_argument(
        "--accepted", type=Path, default=Path(FILE), metavar="FILE", help="default: %(default)s"
    )


def add_storage(parser: argparse.ArgumentParser) -> None:
    """The option that names pytest-benchmark's storage folder."""
    parser.add_argument(
        "--storage",
        type=Path,
        default=Path(".benchmarks"),
        metavar="FOLDER",
        help="pytest-benchmark's storage folder (default: %(default)s)",
    )


def add_limits(parser: argparse.ArgumentParser) -> None:
    """The options that say what counts."""
    share = argument(ratio)
    parser.add_argument(
        "--min-effect",
        type=share,
        metavar="SHARE",
        help="a smaller change is no regression (default: what the tests say, else 3%%)",
    )
    parser.add_argument(
        "--must-see",
        type=share,
        metavar="SHARE",
        help="a comparison that could miss so large a regression does not pass "
        "(default: 5%% in pairs, 10%% against a history)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="exit with 2 when something could not be decided"
    )


def add_reports(parser: argparse.ArgumentParser) -> None:
    """The options that write the verdict to files."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdict as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write it as markdown")
    parser.add_argument("--all", action="store_true", help="show entries that pass, too")
