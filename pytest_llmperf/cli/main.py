"""The ``pytest-llmperf`` command."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence

from ..core.values import shown, unusable
from ..core.version import __version__
from . import ab, cache, compare, fit, history, recover, tradeoff
from .common import USAGE_ERROR, Parser, complain


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, with every subcommand."""
    top = Parser(prog="pytest-llmperf", description=__doc__)
    top.add_argument("--version", action="version", version=f"pytest-llmperf {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (ab, cache, compare, fit, history, recover, tradeoff):
        command.add(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code (0 done, 3 usage or broken input; see each command)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    for word in given:
        if problem := unusable(word):
            return complain("", f"{shown(word)} {problem}")
    # argparse would take the arguments after "--" for positionals of the command.
    split = given.index("--") if "--" in given else len(given)
    try:
        options = parser().parse_args(given[:split])
    except SystemExit as end:
        return USAGE_ERROR if end.code else 0
    options.pytest_args = given[split + 1 :]
    if options.pytest_args and options.command != "ab":
        print(f"pytest-llmperf {options.command}: takes nothing after --", file=sys.stderr)
        return USAGE_ERROR
    try:
        code: int = options.run(options)
    except OSError as error:
        # A folder that cannot be written, a missing program: not 1, which means a regression.
        return complain(options.command, str(error))
    except Exception:
        # A bug. Python would exit with 1, which means a regression here.
        traceback.print_exc()
        return USAGE_ERROR
    return code
