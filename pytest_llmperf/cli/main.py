"""The ``pytest-llmperf`` command."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from ..core.values import shown, unusable
from ..core.version import __version__
from . import ab, cache, compare, fit, history, recover, tradeoff
from .common import INTERRUPTED, USAGE_ERROR, Parser, complain, in_main_thread


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, with every subcommand."""
    top = Parser(prog="pytest-llmperf", description=__doc__)
    top.add_argument("--version", action="version", version=f"pytest-llmperf {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (ab, cache, compare, fit, history, recover, tradeoff):
        command.add(commands)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code (0 done, 3 usage or input, 130 Ctrl-C; see each command)."""
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
    with _noted_interrupt() as interrupted:
        return _run(options, interrupted)


def _run(options: argparse.Namespace, interrupted: threading.Event) -> int:
    try:
        code: int = options.run(options)
    except KeyboardInterrupt:
        complain(options.command, "interrupted")
        return INTERRUPTED
    except OSError as error:
        # A folder that cannot be written, a missing program: not 1, which means a regression.
        return complain(options.command, str(error))
    except Exception:
        if interrupted.is_set():
            # A library that was being imported has made another error of it.
            complain(options.command, "interrupted")
            return INTERRUPTED
        # A bug. Python would exit with 1, which means a regression here.
        traceback.print_exc()
        return USAGE_ERROR
    return code


@contextmanager
def _noted_interrupt() -> Iterator[threading.Event]:
    """Yield an event that is set if the user presses Ctrl-C."""
    interrupted = threading.Event()

    def interrupt(signum: int, frame: object) -> NoReturn:
        interrupted.set()
        raise KeyboardInterrupt

    before = signal.getsignal(signal.SIGINT)
    # Not where it is ignored (nohup), and not where another program calls this function in a thread.
    if before is not signal.default_int_handler or not in_main_thread():
        yield interrupted
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
