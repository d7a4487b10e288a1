"""The records of a run: on disk at once, and in memory until it ends."""

from __future__ import annotations

import datetime
import os
import uuid
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pytest

from ..core.defaults import AB
from ..machine import ci
from ..metrics.samples import Metric
from ..store.attempts import without_earlier
from ..store.entries import BenchmarkStore
from ..store.find import stored_files
from ..store.journal import (
    BusyError,
    Interrupted,
    Journal,
    JournalError,
    interrupted_runs,
    read,
    stored_file,
)
from ..store.record import Run
from ..store.schema import KEY, Record
from ..store.stored import NO_BRANCH, NO_COMMIT


class Results:
    """The measurements of one run."""

    def __init__(self, store: BenchmarkStore) -> None:
        self.records: list[Record] = []
        """One for each measurement, in order: all reports at the end are made of these."""
        self.entries: list[dict[str, Any]] = []
        """Those records and their siblings, as they will stand in the file."""
        self._store = store
        self._run_id = uuid.uuid4().hex[:12]
        self._run: Run | None = None
        self._header: dict[str, Any] = {}
        self._journal: Journal | None = None
        self.in_memory = False
        """Nothing is kept on disk before the run ends: the storage folder cannot be written."""

    @property
    def run(self) -> Run:
        """The identity of this run; commit and machine are looked up on first use."""
        if self._run is None:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            self._header = {**self._store.file_header(), "datetime": now}
            self._run = _identity(self._run_id, now, self._header["commit_info"], os.environ)
        return self._run

    def keep(self, record: Record, entries: Sequence[dict[str, Any]]) -> None:
        """Keep a finished measurement: on disk now, for the reports later.

        Args:
            entries: the record's own entry and its siblings.
        """
        assert self._run is not None, "a record is made with this run's identity"
        # A test that runs again replaces what it measured before.
        self.records = [r for r in self.records if r["nodeid"] != record["nodeid"]] + [record]
        self.entries = without_earlier([*self.entries, *entries])
        if self.in_memory:
            return
        if self._journal is None:
            self._journal = Journal(self._store.folder, self._run_id, self._header)
        try:
            self._journal.append(entries)
        except OSError as error:
            # The measurement is good all the same, and pytest-benchmark may yet store it.
            warnings.warn(
                pytest.PytestWarning(f"not kept on disk before the run ends: {error}"), stacklevel=2
            )

    def revise(self, record: Record, siblings: Sequence[Metric]) -> None:
        """Keep a measurement again, whose record has changed: on disk now, where the last entry counts.

        Args:
            siblings: the metrics among its separate entries whose samples have changed.
        """
        changed = [e for e in self.entries if e["extra_info"].get(KEY) is record]
        for fullname in [entry["fullname"] for entry in changed]:
            changed += self._store.revise(fullname, siblings)
        by_name = {entry["fullname"]: entry for entry in changed}
        self.entries = [by_name.get(entry["fullname"], entry) for entry in self.entries]
        if self._journal is not None:
            with suppress(OSError):  # What it holds of this measurement is consistent in itself.
                self._journal.append(changed, again=True)

    def as_file(self) -> dict[str, Any]:
        """Return the content of the file that this run would be stored in now."""
        return {**self._header, "benchmarks": self.entries}

    def saved(self) -> None:
        """Remove the journal if pytest-benchmark has just stored the run."""
        if self._journal and self._store.will_save():
            self._journal.remove()
            self._journal = None

    def settle(self, finished_with: int | None) -> str | None:
        """Remove the journal of a run that ended as it should; else return a line on what is kept, once.

        Args:
            finished_with: pytest's exit status; None when the run did not get that far.
        """
        journal = self._journal
        if journal is None or not journal.entries:
            return None
        self._journal = None
        interrupted = finished_with in (
            pytest.ExitCode.INTERRUPTED,
            pytest.ExitCode.INTERNAL_ERROR,
        )
        is_done = finished_with is not None and (self._store.will_save() or not interrupted)
        if is_done or (finished_with is None and self._is_stored()):
            journal.remove()
            return None
        what = "interrupted" if interrupted else "an error at the end of the run"
        return (
            f"{what}: {journal.entries} measured entries are kept in {journal.path}; "
            "run `pytest-llmperf recover` to store them"
        )

    def _is_stored(self) -> bool:
        """Return whether pytest-benchmark has stored the run; it may have failed after that."""
        json_file = self._store.json_file
        files = [*stored_files(self._store.folder), *([json_file] if json_file else [])]
        return self._store.will_save() and stored_file(self._run_id, files) is not None

    def left_behind(self) -> tuple[list[Interrupted], list[str]]:
        """Return the journals that killed runs left, and a line for each that cannot be read."""
        left, problems = [], []
        for path in interrupted_runs(self._store.folder):
            if path.stem == self._run_id:
                continue
            try:
                run = read(path)
            except BusyError:
                continue
            except JournalError as error:
                problems.append(str(error))
                continue
            if not run.is_running:
                left.append(run)
        return left, problems


def _identity(run_id: str, now: str, by_git: Mapping[str, Any], environ: Mapping[str, str]) -> Run:
    """Return the identity of a run.

    Args:
        by_git: pytest-benchmark's ``commit_info``.
        environ: the environment, in which a CI names branch and job.
    """
    commit, branch = by_git.get("id"), by_git.get("branch")
    dirty = by_git.get("dirty")
    if commit in NO_COMMIT:
        commit = dirty = None
    if not branch or branch in NO_BRANCH:
        # A side of `ab` is not what its CI job has checked out.
        branch = None if environ.get(AB) else ci.branch(environ, commit)
    return Run(run_id, now, commit, dirty, ci.job_id(environ), branch)
