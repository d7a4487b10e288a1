"""Shared parts of the subcommands of ``pytest-llmperf``. In each, ``add`` declares it, ``run`` runs it.

A command imports its libraries when it runs, so that ``recover`` works without the extra ``gate``.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from ..core.files import check_target
from ..core.printable import printable
from ..core.values import ratio
from ..gate.accepted import FILE
from ..store.project import default_storage, storage_folder

T = TypeVar("T")

DONE = 0
USAGE_ERROR = 3
INTERRUPTED = 130
_SHOWN = 500
"""Characters of each end of a message."""

Subcommands = Any
"""argparse's subparsers object, whose type has no public name."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are lines of a length that can be read, safe on a terminal."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and an error; exit."""
        super().error(_readable(message))


def complain(command: str, message: str) -> int:
    """Print an error in one line; return its exit code."""
    print(
        _readable(" ".join(("pytest-llmperf", *command.split())) + f": {message}"), file=sys.stderr
    )
    return USAGE_ERROR


def _readable(message: str) -> str:
    """Return a message in one line, without the middle of a very long one."""
    line = printable(message)
    if len(line) <= 2 * _SHOWN:
        return line
    return f"{line[:_SHOWN]} ... {line[-_SHOWN:]}"


def say(line: str) -> None:
    """Print one line, in which others may have written."""
    print(printable(line), flush=True)


def warn_left_out(problems: Iterable[str]) -> None:
    """Name each file that is left out; beside the report, which may be markdown."""
    for problem in problems:
        print(printable(f"left out: {problem}"), file=sys.stderr)


def in_main_thread() -> bool:
    """Return whether handlers of signals can be set here."""
    return threading.current_thread() is threading.main_thread()


def check_targets(*files: Path | None) -> None:
    """Raise ValueError if a file that is to be written at the end cannot be; nothing is changed."""
    for file in files:
        if file is None:
            continue
        if file.is_dir():
            raise ValueError(f"{file} is a folder, not a file to write")
        try:
            check_target(file)
        except OSError as error:
            raise ValueError(f"{file} cannot be written: {error.strerror}") from None


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
        type=argument(storage_folder),
        default=default_storage(),
        metavar="FOLDER",
        help="pytest-benchmark's storage folder, or its file:// URI (default: that of the project's "
        "addopts, here %(default)s)",
    )


def find_runs(name: str, storage: Path) -> list[Path]:
    """Return the stored runs of a name, which may be a number (``4``) or a revision of git (``HEAD~1``).

    Raises:
        StoredError: there is no such run; one line.
    """
    from ..ab.git import output
    from ..store.find import find_files
    from ..store.stored import StoredError

    try:
        return find_files(f"{int(name):04}" if _is_number(name) else name, storage)
    except StoredError:
        commit = output(Path(), "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if not commit or commit.startswith(name):
            raise
    try:
        return find_files(commit, storage)
    except StoredError:
        raise StoredError(
            f"{name} is commit {commit[:10]}, which has no stored run in {storage}"
        ) from None


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) < 4 and not Path(name).exists()


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
