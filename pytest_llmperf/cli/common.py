"""Shared parts of the subcommands of ``pytest-llmperf``. In each, ``add`` declares it, ``run`` runs it.

A command imports its libraries when it runs, so that ``recover`` works without the extra ``gate``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..core.printable import printable
from ..core.values import ratio
from ..gate.accepted import FILE

T = TypeVar("T")

DONE = 0
USAGE_ERROR = 3

Subcommands = Any
"""argparse's subparsers object, whose type has no public name."""


def complain(command: str, message: str) -> int:
    """Print an error in one line; return its exit code."""
    print(printable(f"pytest-llmperf {command}: {message}"), file=sys.stderr)
    return USAGE_ERROR


def say(line: str) -> None:
    """Print one line, in which others may have written."""
    print(printable(line), flush=True)


def check_targets(*files: Path | None) -> None:
    """Raise ValueError if a file that is to be written at the end cannot be; nothing is changed."""
    for file in files:
        if file is None:
            continue
        if file.is_dir():
            raise ValueError(f"{file} is a folder, not a file to write")
        if not file.parent.is_dir():
            raise ValueError(f"{file} cannot be written: there is no folder {file.parent}")
        if not os.access(file if file.exists() else file.parent, os.W_OK):
            raise ValueError(f"{file} cannot be written: permission denied")


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return a parser of this package for argparse, which hides the text of a ValueError."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def add_accepted(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the file of accepted changes."""
    parser.add_argument(
        "--accepted", type=Path, default=Path(FILE), metavar="FILE", help="default: %(default)s"
    )


def add_storage(parser: argparse.ArgumentParser) -> None:
    """Add the option that names pytest-benchmark's storage folder."""
    parser.add_argument(
        "--storage",
        type=Path,
        default=Path(".benchmarks"),
        metavar="FOLDER",
        help="pytest-benchmark's storage folder (default: %(default)s)",
    )


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add the options for the gate's limits."""
    share = argument(ratio)
    parser.add_argument(
        "--min-effect",
        type=share,
        metavar="SHARE",
        help="a smaller change is not a regression (default: the tests' settings, else 3%%)",
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
    """Add the options that write the verdict to files."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the verdict as JSON")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write it as markdown")
    parser.add_argument("--all", action="store_true", help="show entries that pass, too")
