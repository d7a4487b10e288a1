"""``pytest-llmperf recover``: store the measurements of interrupted runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .common import DONE, Subcommands, add_storage, complain, say

if TYPE_CHECKING:
    from ..store.journal import Interrupted


def add(commands: Subcommands) -> None:
    """Declare the command."""
    parser = commands.add_parser("recover", help="store the measurements of interrupted runs")
    add_storage(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Store every interrupted run of a storage folder, and report each."""
    from ..store import journal

    storage: Path = options.storage
    if not storage.is_dir():
        return complain("recover", f"{storage} is not a folder")
    paths = journal.interrupted_runs(storage)
    if not paths:
        say(f"nothing to recover in {storage}")
    code = DONE
    for path in paths:
        try:
            run = journal.read(path)
            if run.is_running:
                say(f"{path}: {_why_left_alone(run)}; left alone")
                continue
            is_stored = journal.stored_file(run, storage) is not None
            target = journal.store(run, storage)
        except FileNotFoundError:
            continue  # Another process has just stored it.
        except (journal.JournalError, OSError) as error:
            code = complain("recover", str(error))
            continue
        if is_stored:
            say(f"{path}: its run is stored already: {target}")
            continue
        say(f"recovered {len(run.entries)} entries{_left_out(run.unreadable)}: {target}")
    return code


def _why_left_alone(run: Interrupted) -> str:
    if run.is_of_this_machine:
        return f"the run is still going on (process {run.header['pid']})"
    return (
        f"the run belongs to another machine ({run.machine}) and may still be going on: recover it "
        "there, or here a day after its last entry"
    )


def _left_out(lines: int) -> str:
    return f" ({lines} damaged {'line' if lines == 1 else 'lines'} left out)" if lines else ""
