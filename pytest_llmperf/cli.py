"""The ``pytest-llmperf`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import __version__, journal

USAGE_ERROR = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code (0 done, 3 usage or broken input)."""
    parser = argparse.ArgumentParser(prog="pytest-llmperf", description=__doc__)
    parser.add_argument("--version", action="version", version=f"pytest-llmperf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    recover = commands.add_parser(
        "recover", help="turn what interrupted runs have measured into stored runs"
    )
    recover.add_argument(
        "--storage",
        type=Path,
        default=Path(".benchmarks"),
        help="pytest-benchmark's storage folder (default: %(default)s)",
    )
    recover.set_defaults(run=lambda options: recover_runs(options.storage))
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:
        return USAGE_ERROR if end.code else 0
    code: int = options.run(options)
    return code


def recover_runs(storage: Path) -> int:
    """Store every interrupted run of a storage folder; says what it did with each."""
    if not storage.is_dir():
        print(f"pytest-llmperf recover: {storage} is not a folder", file=sys.stderr)
        return USAGE_ERROR
    paths = journal.interrupted_runs(storage)
    if not paths:
        print(f"nothing to recover in {storage}")
    code = 0
    for path in paths:
        try:
            run = journal.read(path)
        except journal.JournalError as error:
            print(f"pytest-llmperf recover: {error}", file=sys.stderr)
            code = USAGE_ERROR
            continue
        if run.is_running:
            print(f"{path}: the run is still going on (process {run.header['pid']}); left alone")
            continue
        target = journal.store(run, storage)
        print(f"recovered {len(run.entries)} entries: {target}")
    return code


if __name__ == "__main__":
    sys.exit(main())
