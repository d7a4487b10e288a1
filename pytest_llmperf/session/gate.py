"""The gate inside a run: ``--llm-gate=history`` judges it against stored runs before it ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..gate import accepted
from ..gate.extra import lacking
from ..report.line import Line
from ..store import stored
from ..store.entries import BenchmarkStore
from ..store.find import stored_files
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
    _judgement: Judgement | None = None
    expects_tests: bool = False
    """Tests of ours were collected and were to be measured."""
    problem: str = ""
    """The reason if there is no verdict."""

    @property
    def storage(self) -> Path:
        return self.store.folder

    def check_installed(self) -> None:
        """Raise pytest.UsageError if the libraries that judge are missing."""
        if missing := lacking():
            raise pytest.UsageError(f"--llm-gate {missing}")

    def check_baseline(self, will_save: bool) -> None:
        """Raise pytest.UsageError if there is no stored run to judge by, or no run to accept."""
        self.expects_tests = True
        if self.settings.accept and not will_save:
            raise pytest.UsageError(
                "--llm-accept: the run has to be stored to be the new level (--benchmark-autosave)"
            )
        if not self.storage.is_dir() or not stored_files(self.storage):
            raise pytest.UsageError(
                f"--llm-gate: no stored run in {self.storage}; save some first "
                "(--benchmark-autosave, without the gate)"
            )
        try:
            accepted.read(self.accepted_file)
        except accepted.AcceptedError as error:
            raise pytest.UsageError(f"--llm-gate: {error}") from None

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
        if self.settings.branch:
            baseline = [earlier for earlier in baseline if earlier.branch == self.settings.branch]
        judgement = history.judge(
            baseline,
            [this_run],
            LimitSettings(),  # Marker and ini file are in the run's records.
            anchors=accepted.anchors(accepted.read(self.accepted_file)),
            names=(self.baseline_name, "this run"),
            problems=problems,
        )
        return self._accept(judgement, this_run) if self.settings.accept else judgement

    @property
    def baseline_name(self) -> str:
        branch = f", branch {self.settings.branch}" if self.settings.branch else ""
        return f"{self.storage}{branch}"

    def mark(self, output: dict[str, Any]) -> None:
        """Write the verdict into a file that pytest-benchmark is about to save.

        No later baseline has an entry that regressed here.
        """
        from ..gate.verdict import Verdict

        judgement = self.judge(output)
        if judgement is not None:
            output["llmperf_gate"] = {
                "summary": judgement.summary(),
                "regressions": [
                    {"nodeid": entry.nodeid, "metric": entry.metric}
                    for entry in judgement.of(Verdict.REGRESSION)
                ],
            }

    def exit_status(self, judgement: Judgement | None) -> int:
        """Return the exit status of a run whose tests have passed."""
        if judgement is None:
            unjudged = self.expects_tests
            return int(pytest.ExitCode.USAGE_ERROR if unjudged else pytest.ExitCode.OK)
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
        from ..report import verdicts

        lines = verdicts.lines(judgement, width=width)
        if not judgement.entries:
            lines.append(Line("no test of this run has a baseline, so nothing was judged", "red"))
        return lines

    def last_line(self, judgement: Judgement | None) -> Line | None:
        """Return the verdict in one line; None if the run had nothing to judge."""
        if judgement is None:
            return Line("LLM gate: FAILED, no verdict", "red") if self.expects_tests else None
        from ..report.verdicts import closing

        return closing(judgement, self.settings.strict)

    def _accept(self, judgement: Judgement, this_run: stored.StoredRun) -> Judgement:
        """Move the level of every entry that changed, and take regressions out of the verdict.

        An improvement moves it too: judged by both levels together, its loss would go unseen.
        """
        from ..gate.verdict import Verdict

        changed = judgement.of(Verdict.REGRESSION) + judgement.of(Verdict.IMPROVEMENT)
        if not changed or self.settings.accept is None:
            return judgement
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
            replace(entry, verdict=Verdict.PASS) if entry in changed else entry
            for entry in judgement.entries
        )
        notes = tuple(
            f"accepted as the new level ({self.settings.accept}): {entry.nodeid} {entry.metric} "
            f"{entry.effect or 0.0:+.1%}"
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
    from ..core.values import ratio
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
            (key if key == "*" else metric(key)): ratio(str(share))
            for key, share in by_metric.items()
        }
        of_run_and_marker = {**limits.get(name, {}), **of_marker}
        limits[name] = of_marker if "*" in of_marker else of_run_and_marker
    return limits
