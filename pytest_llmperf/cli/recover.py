"""``pytest-llmperf recover``: what interrupted runs have measured becomes stored runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import DONE, Subcommands, add_storage, complain


def add(commands: Subcommands) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "recover", help="turn what interrupted runs have measured into stored runs"
    )
    add_storage(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Store every interrupted run of a storage folder; says what it did with each."""
    from ..store import journal

    storage: Path = options.storage
    if not storage.is_dir():
        return complain("recover", f"{storage} is not a folder")
    paths = journal.interrupted_runs(storage)
    if not paths:
        print(f"nothing to recover in {storage}")
    code = DONE
    for path in paths:
        try:
            found = journal.read(path)
        except journal.JournalError as error:
            code = complain("recover", str(error))
            continue
        if found.is_running:
            print(f"{path}: the run is still going on (process {found.header['pid']}); left alone")
            continue
        target = journal.store(found, storage)
        print(f"recovered {len(found.entries)} entries: {target}")
    return code
