"""The gate inside a run: ``--llm-gate=history`` judges it against stored runs before it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..core.values import ratio, shown
from ..gate import accepted, clock
from ..gate.branches import no_run_of
from ..gate.extra import lacking
from ..report.line import Color, Line
from ..store import stored
from ..store.content import NOT_OURS
from ..store.entries import BenchmarkStore
from ..store.find import stored_files
from ..store.record import Run
from .options import GateSettings

if TYPE_CHECKING:
    from ..gate.verdict import Judgement

MARKER = "llm_gate"


@dataclass
class RunGate:
    """Judges one run, once."""

    settings: GateSettings
    store: BenchmarkStore
    accepted_file: Path
    in_scope: Callable[[str], bool]
    """Returns whether a test was asked for: one that the command line leaves out is not gone."""
    _judgement: Judgement | None = None
    expects_tests: bool = False
    """Tests of ours were collected and were to be measured."""
    problem: str = ""
    """The reason if there is no verdict."""
    is_first: bool = False
    """Nothing was to be judged by: this run is stored as the first of its tests."""

    @property
    def storage(self) -> Path:
        return self.store.folder

    def check_installed(self) -> None:
        """Raise pytest.UsageError if the libraries that judge are missing."""
        if missing := lacking():
            raise pytest.UsageError(f"--llm-gate {missing}")

    def check_baseline(self, run: Callable[[], Run]) -> None:
        """Raise pytest.UsageError if there is no stored run to judge by, or no run to accept.

        A first run that will be stored has nothing to be judged by, and is the baseline of the next.

        Args:
            run: returns the identity of this run, which takes time to look up.
        """
        self.expects_tests = True
        if self.settings.accept and not self.store.will_save():
            raise pytest.UsageError(
                "--llm-accept: the run has to be stored to be the new level (--benchmark-autosave)"
            )
        try:
            accepted.read(self.accepted_file)
        except accepted.AcceptedError as error:
            raise pytest.UsageError(f"--llm-gate: {error}") from None
        files = stored_files(self.storage) if self.storage.is_dir() else []
        if not files and (self.settings.accept or not self.store.will_store()):
            raise pytest.UsageError(
                f"--llm-gate: no stored run in {self.storage}, and this one is not stored either; "
                "store it as the first (--benchmark-autosave)"
            )
        if files and (self.settings.branch or self.settings.accept):
            self._check_runs(files, run())

    def _check_runs(self, files: Sequence[Path], this_run: Run) -> None:
        """Raise pytest.UsageError if no run is of the branch, or if one is newer than this run."""
        runs, _ = clock.believable(stored.read_runs(files)[0])
        if self.settings.accept:
            start = clock.moment(this_run.started_at)
            newer = [run for run in runs if start and clock.start_of(run) > start]
            if newer:
                raise pytest.UsageError(
                    f"--llm-accept: {newer[-1].path} starts at {newer[-1].started_at}, and this run at "
                    f"{this_run.started_at}: one of the clocks is wrong, so the new level would begin "
                    "in the middle of the old one"
                )
        wanted = self.settings.branch
        is_first_of_branch = this_run.branch == wanted and self.store.will_store()
        if wanted and runs and not is_first_of_branch and all(r.branch != wanted for r in runs):
            raise pytest.UsageError(f"--llm-gate-branch: {no_run_of(wanted, runs)}")

    def judge(self, run: Mapping[str, Any]) -> Judgement | None:
        """Return the verdict on a run in its stored form, or None if there is nothing to judge."""
        if self._judgement is None and not self.problem and self.expects_tests:
            try:
                self._judgement = self._judge(run)
            except stored.StoredError as error:
                self.problem = str(error)
            except Exception as error:
                # pytest-benchmark is saving the run: a mistake here must not cost the measurements.
                self.problem = f"the gate itself failed ({type(error).__name__}: {error})"
        return self._judgement

    def _judge(self, run: Mapping[str, Any]) -> Judgement:
        from ..gate import history
        from ..gate.limits import LimitSettings

        this_run = stored.file_of(run["benchmarks"], run.get("commit_info"), "this run").run()
        baseline, problems = stored.read_runs(stored_files(self.storage))
        ours = [problem for problem in problems if not problem.endswith(NOT_OURS)]
        if self.settings.branch:
            baseline = [earlier for earlier in baseline if earlier.branch == self.settings.branch]
        changes = accepted.read(self.accepted_file)
        judgement = history.judge(
            baseline,
            [this_run],
            LimitSettings(),  # Marker and ini file are in the run's records.
            anchors=accepted.anchors(changes),
            names=(self.baseline_name, "this run"),
            problems=[*ours, *accepted.problems(self.accepted_file, changes)],
        )
        judgement = self._within_scope(judgement)
        nothing = judgement.new and not judgement.entries and not judgement.gone
        self.is_first = bool(nothing and not ours and self.store.will_store())
        return self._accept(judgement, this_run) if self.settings.accept else judgement

    def _within_scope(self, judgement: Judgement) -> Judgement:
        """Return the verdict without the missing tests that this run was not asked for."""
        gone = tuple(nodeid for nodeid in judgement.gone if self.in_scope(nodeid))
        others = len(judgement.gone) - len(gone)
        if not others:
            return judgement
        tests = "1 test" if others == 1 else f"{others} tests"
        note = f"{tests} of the baseline left out by this command line (paths, -k, -m)"
        return replace(judgement, gone=gone, notes=(*judgement.notes, note))

    @property
    def baseline_name(self) -> str:
        branch = f", branch {self.settings.branch}" if self.settings.branch else ""
        return f"{self.storage}{branch}"

    def mark(self, output: dict[str, Any]) -> None:
        """Write the verdict into a file that pytest-benchmark is about to save.

        No later baseline has an entry that regressed here, or one at a new level.
        """
        from ..gate.verdict import Verdict

        judgement = self.judge(output)
        if judgement is not None:
            output["llmperf_gate"] = {
                "summary": judgement.summary(),
                "regressions": [
                    {"nodeid": entry.nodeid, "metric": entry.metric}
                    for entry in (*judgement.of(Verdict.REGRESSION), *judgement.new_levels)
                ],
            }

    def exit_status(self, judgement: Judgement | None) -> int:
        """Return the exit status of a run whose tests have passed."""
        if judgement is None:
            unjudged = self.expects_tests
            return int(pytest.ExitCode.USAGE_ERROR if unjudged else pytest.ExitCode.OK)
        if self.is_first:
            strict = self.settings.strict
            return int(pytest.ExitCode.TESTS_FAILED if strict else pytest.ExitCode.OK)
        code = judgement.exit_code(self.settings.strict)
        if code == 0:
            return int(pytest.ExitCode.OK)
        broken = not judgement.entries
        return int(pytest.ExitCode.USAGE_ERROR if broken else pytest.ExitCode.TESTS_FAILED)

    def lines(
        self, judgement: Judgement | None, unmet: str = "", width: int | None = None
    ) -> Sequence[Line]:
        """Return the verdict's lines for the terminal.

        Args:
            unmet: why nothing was measured, if something had to be.
            width: columns of the terminal; None: no limit.
        """
        if judgement is None:
            if unmet and not self.problem:
                return [Line(f"ERROR: {unmet}", "red")]
            if not self.expects_tests:
                return [
                    Line("no test with llm_benchmark was to be measured, so nothing was judged")
                ]
            return [Line(self.problem or "nothing was measured, so nothing was judged", "red")]
        from ..gate.verdict import new_level_line
        from ..report import verdicts

        lines = verdicts.lines(judgement, width=width)
        if line := new_level_line(judgement):
            lines.append(Line(f"FAILED: {line}", "red"))
        if self.is_first:
            lines.append(
                Line("first run: stored as the baseline of the next ones, nothing was judged")
            )
        elif not judgement.entries:
            lines.append(Line("no test of this run has a baseline, so nothing was judged", "red"))
        return lines

    def last_line(self, judgement: Judgement | None) -> Line | None:
        """Return the verdict in one line; None if the run had nothing to judge."""
        if judgement is None:
            return Line("LLM gate: FAILED, no verdict", "red") if self.expects_tests else None
        from ..report.verdicts import closing

        if self.is_first:
            color: Color = "red" if self.settings.strict else "yellow"
            return Line("LLM gate: first run, nothing was judged", color)
        return closing(judgement, self.settings.strict)

    def _accept(self, judgement: Judgement, this_run: stored.StoredRun) -> Judgement:
        """Move the level of every entry that changed, and take regressions out of the verdict.

        An improvement moves it too: judged by both levels together, its loss would go unseen.
        """
        from ..gate.verdict import Verdict

        changed = [
            *judgement.of(Verdict.REGRESSION),
            *judgement.of(Verdict.IMPROVEMENT),
            *judgement.new_levels,
        ]
        if self.settings.accept is None:
            return judgement
        if not changed:
            note = "--llm-accept: nothing to accept: no regression, improvement or new level"
            return replace(judgement, notes=(note, *judgement.notes))
        accepted.add(
            self.accepted_file,
            [
                accepted.Accepted(
                    entry.nodeid,
                    entry.metric,
                    this_run.started_at,
                    this_run.commit,
                    self.settings.accept,
                )
                for entry in changed
            ],
        )
        entries = tuple(
            replace(entry, verdict=Verdict.PASS, new_level=False) if entry in changed else entry
            for entry in judgement.entries
        )
        notes = tuple(
            f"accepted as the new level ({self.settings.accept}): {entry.nodeid} {entry.metric} "
            + (f"({entry.reason})" if entry.new_level else f"{entry.effect or 0.0:+.1%}")
            for entry in changed
        )
        return replace(judgement, entries=entries, notes=notes + judgement.notes)


def limits_of_test(
    marker: pytest.Mark | None, of_run: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Return a test's limits for its record: those of its marker replace those of the run.

    Raises:
        ValueError: the marker is not valid; one line.
    """
    from .values import metric

    limits = {name: dict(values) for name, values in of_run.items()}
    if marker is None:
        return limits
    unknown = set(marker.kwargs) - {"min_effect", "must_see"}
    if marker.args or unknown:
        raise ValueError(f"@pytest.mark.{MARKER} takes min_effect= and must_see= only")
    for name, value in marker.kwargs.items():
        by_metric = value if isinstance(value, Mapping) else {"*": value}
        of_marker = {
            (key if key == "*" else metric(key)): ratio(_share(share))
            for key, share in by_metric.items()
        }
        of_run_and_marker = {**limits.get(name, {}), **of_marker}
        limits[name] = of_marker if "*" in of_marker else of_run_and_marker
    return limits


def _share(value: object) -> str:
    """Return a share in a marker as a text."""
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"{shown(value)} is not a share between 0 and 100 %, such as '3%' or 0.03")
    return str(value) if isinstance(value, str) else shown(value)
