"""The parts of a pytest run, made in the order in which they need each other."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ..core.defaults import AB
from ..gate.accepted import FILE as ACCEPTED
from ..store.entries import BenchmarkStore
from ..store.stock import Comparison
from .baseline import StoredBaseline
from .budgets import BudgetChecker
from .cells import CellPlan
from .demand import Demand
from .floor import FloorOfRun
from .gate import RunGate
from .loading import Loading
from .logs import Logs
from .options import Settings
from .progress import ProgressLine
from .quiet import QuietCheck
from .results import Results
from .scope import Scope
from .targets import with_usable_cache
from .utilization import UtilizationOfRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..gate.verdict import Judgement


class LLMSession:
    """The objects that the tests of one run share."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.settings = settings = with_usable_cache(settings)
        self.plan = CellPlan(settings)
        self.store = BenchmarkStore(config)
        self.progress = ProgressLine(config)
        self.logs = Logs(config)
        self.loading = Loading(settings, self.plan, self.store, self.progress, self.logs.file)
        self.results = Results(self.store)
        self.utilization = UtilizationOfRun(
            self.loading, self.results, self.store, settings.metrics
        )
        self.floor = FloorOfRun(settings, config.rootpath)
        self.baseline = StoredBaseline(self.store)
        self.budgets = BudgetChecker(settings.fail_if, self.baseline)
        self.quiet = QuietCheck(fails=settings.quiet == "fail")
        self._process = os.getpid()
        self.demand = Demand(settings, config)
        config.pluginmanager.register(self.demand, "llmperf-demand")
        self.scope = Scope(config)
        config.pluginmanager.register(self.scope, "llmperf-scope")
        config.pluginmanager.register(LastLines(self))
        self.comparison = Comparison()
        self.gate: RunGate | None = None
        self.finished_with: int | None = None
        """pytest's exit status; None while the run goes on."""
        if settings.gate.mode:
            self.gate = RunGate(
                settings.gate, self.store, config.rootpath / ACCEPTED, self.scope.has
            )
            self.gate.check_installed()

    def check_process(self) -> None:
        """Fail a test that another plugin runs in a process of its own: its numbers would be lost."""
        if os.getpid() != self._process:
            pytest.fail(
                "this test runs in another process than pytest, which would lose what it measures: "
                "run LLM tests in pytest's own process",
                pytrace=False,
            )

    def finish(self, exit_status: int) -> int:
        """End the engine and judge the run; return the exit status that pytest should have."""
        self.results.saved()
        self.loading.close()
        self.finished_with = exit_status
        if self.results.records:
            self.comparison = self.store.stock.take_comparison()
        verdict = self.verdict()
        if exit_status != pytest.ExitCode.OK:
            return exit_status
        if self.unmet() or self.unused_budgets():
            return pytest.ExitCode.USAGE_ERROR
        if self.comparison.problem:
            return pytest.ExitCode.USAGE_ERROR
        if self.comparison.regressions or self.quiet.late(self.results.records):
            return pytest.ExitCode.TESTS_FAILED
        return self.gate.exit_status(verdict) if self.gate else exit_status

    def unmet(self) -> str:
        """Return one line if the run was asked to judge and measured nothing; empty otherwise."""
        return self.demand.unmet(len(self.results.records))

    def unused_budgets(self) -> list[str]:
        """Return a line for each budget that the run had to keep and that no test has tried."""
        if not self.results.records or os.environ.get(AB):
            return []  # A run that measured nothing is told so; `ab` judges its runs itself.
        typed_only = self.scope.is_part and not self.demand.is_typed("--llm-fail-if")
        return [] if typed_only else self.budgets.unused()

    def verdict(self) -> Judgement | None:
        """Return the gate's verdict on the run; None without a gate or a measurement."""
        if self.gate is None or not self.results.records:
            return None
        return self.gate.judge(self.results.as_file())

    def histogram_is_asked_for(self) -> bool:
        """Return whether pytest-benchmark was asked to draw what it measured."""
        return bool(self.store.config.getoption("benchmark_histogram", None))

    def settle_journal(self) -> str | None:
        """Remove the journal of a run that ended as it should; else return a line on what is kept."""
        return self.results.settle(self.finished_with)


class LastLines:
    """Writes the verdicts of a run below pytest's own last line, which is green when its tests pass."""

    def __init__(self, session: LLMSession) -> None:
        self._session = session

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> Iterator[None]:
        """Write them after the terminal's summary."""
        yield
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None:
            return
        from .summary import last_lines

        for line in last_lines(self._session, failed=exitstatus != pytest.ExitCode.OK):
            reporter.write_line(line.text, **{line.color: True} if line.color else {})
