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
            say(_recovered(path, storage))
        except journal.BusyError as error:
            say(str(error))
        except journal.JournalError as error:
            code = complain("recover", str(error))
        except OSError as error:
            code = complain("recover", f"{path}: cannot be stored ({error})")
    return code


def _recovered(path: Path, storage: Path) -> str:
    """Store an interrupted run unless it goes on or is stored; return a line on what was done."""
    from ..store import journal
    from ..store.find import stored_files

    run = journal.read(path)
    if run.is_running:
        return f"{path}: {_why_left_alone(run)}; left alone"
    kept = f"; they are kept in {run.kept}" if run.unreadable else ""
    if target := journal.stored_file(run.run_id, stored_files(storage)):
        journal.end(run)
        left_out = f"; {_damaged(run.unreadable)}{kept}" if kept else ""
        return f"{path}: its run is stored already: {target}{left_out}"
    if not run.entries and not run.unreadable:
        journal.end(run)
        return f"{path}: its run had not measured anything; removed"
    if not run.entries:
        raise journal.JournalError(f"{path}: holds no entry that can be read")
    target = journal.store(run, storage)
    left_out = f" ({_damaged(run.unreadable)} left out)" if kept else ""
    return f"recovered {len(run.entries)} entries{left_out}: {target}{kept}"


def _why_left_alone(run: Interrupted) -> str:
    if run.is_of_this_machine:
        return f"the run is still going on (process {run.header['pid']})"
    return (
        f"the run belongs to another machine ({run.machine}) and may still be going on: recover it "
        "there, or here a day after its last entry"
    )


def _damaged(lines: int) -> str:
    return f"{lines} damaged {'line' if lines == 1 else 'lines'}"
