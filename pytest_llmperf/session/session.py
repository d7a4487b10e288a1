"""One pytest run: its settings, its engine, what it has measured."""

from __future__ import annotations

import datetime
import os
import tempfile
import uuid
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..analysis.fit import MeasuredCell
from ..backends import backend_class
from ..backends.base import Backend
from ..core.cell import Cell
from ..core.engine import LoadedEngine
from ..core.errors import EngineError
from ..gate.accepted import FILE as ACCEPTED
from ..machine.host import accelerator_names, runs_on_cpu, usable_cores
from ..machine.idle import IdlePower, idle_power
from ..machine.nvml import Gpus
from ..metrics.roofline import Ceilings
from ..report.terminal import Row
from ..store.entries import BenchmarkStore, VirtualClock
from ..store.journal import Interrupted, Journal, JournalError, interrupted_runs, read
from ..store.record import Run, job_id
from .baseline import StoredBaseline
from .budgets import BudgetChecker
from .ceilings import CeilingCache, before_loading, of_engine
from .cells import CellPlan
from .gate import RunGate
from .llm import LLM
from .options import Settings
from .progress import ProgressLine
from .slot import EngineSlot, engine_threads

if TYPE_CHECKING:
    from ..gate.verdict import Judgement

CLOCK: pytest.StashKey[VirtualClock] = pytest.StashKey()


class LLMSession:
    """Made once a run; everything in it is made on first use."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self.settings = settings
        self.plan = CellPlan(settings)
        self.store = BenchmarkStore(config)
        logs = _log_dir(config)
        self.slot = EngineSlot(settings, logs)
        self.gpus = Gpus(os.environ)
        self.idle = IdlePower()
        self._idle_asked = False
        self.rows: list[Row] = []
        self.for_fit: list[MeasuredCell] = []
        self.baseline = StoredBaseline(lambda: self.storage)
        self.budgets = BudgetChecker(settings.fail_if, self.baseline)
        self.finished_with: int | None = None
        self.gate: RunGate | None = None
        self._entries: list[dict[str, Any]] = []
        self._progress = ProgressLine(config)
        self._ceilings = CeilingCache(
            settings, logs, lambda: self._progress.show("this machine", "ceilings", 0, 0)
        )
        self._run: Run | None = None
        self._header: dict[str, Any] = {}
        self._journal: Journal | None = None
        self._run_id = uuid.uuid4().hex[:12]
        if settings.gate.mode:
            # pytest-benchmark, which knows the storage, may be configured after us.
            self.gate = RunGate(settings.gate, lambda: self.storage, config.rootpath / ACCEPTED)
            self.gate.check_installed()

    def open(self, cell_id: str) -> LLM:
        """The cell of a test, its engine loaded. Fails or skips the test when that cannot be."""
        try:
            cell = self.plan.cell(cell_id)
        except ValueError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        problem = self.plan.problem(cell)
        if problem and self.settings.require:
            pytest.fail(f"{cell.id}: {problem}", pytrace=False)
        if problem:
            pytest.skip(problem)
        self._measure_idle(cell)
        llm = LLM(cell, self.slot, self._show(cell), self.settings.load_format == "dummy")
        try:
            # Not while another engine holds the device.
            self.slot.leave(cell)
            self._measure_ceilings(cell)
            llm.engine()
        finally:
            self._progress.clear()
        return llm

    def _measure_idle(self, cell: Cell) -> None:
        """Once, before an engine loads: what the machine draws then, where anything tells it."""
        knows_its_own = backend_class(cell.backend).joules is not Backend.joules
        if not self._idle_asked and not knows_its_own and self.store.will_measure():
            self._idle_asked = True
            self.idle = idle_power(self.gpus)

    def _measure_ceilings(self, cell: Cell) -> None:
        """Before an engine takes the memory of a GPU, and only for those that can use them."""
        if backend_class(cell.backend).tells_architecture and self.store.will_measure():
            where = before_loading(self.slot.spec(cell))
            self._ceilings.of(cell.backend, where, *self._surroundings(cell))

    def ceilings(self, cell: Cell, engine: LoadedEngine, again: bool = False) -> Ceilings | None:
        """What the device of a loaded engine can do at best; None where that is unknown.

        Args:
            again: the engine was faster, so it has to be more than what is known.
        """
        where = of_engine(self.slot.spec(cell), engine.info)
        ask = self._ceilings.again if again else self._ceilings.of
        try:
            return ask(cell.backend, where, *self._surroundings(cell))
        finally:
            self._progress.clear()

    def _surroundings(self, cell: Cell) -> tuple[Mapping[str, str], list[dict[str, Any]] | None]:
        return self.plan.packages(cell.backend), self.gpus.described

    def run(self) -> Run:
        """Identity of this run; commit and machine are looked up once."""
        if self._run is None:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            self._header = {**self.store.file_header(), "datetime": now}
            commit = self._header["commit_info"]
            self._run = Run(
                self._run_id, now, commit.get("id"), commit.get("dirty"), job_id(os.environ)
            )
        return self._run

    def keep(self, row: Row, entries: Sequence[dict[str, Any]]) -> None:
        """Keep a finished measurement: on disk now, in the table later."""
        self.run()
        if self._journal is None:
            self._journal = Journal(self.storage, self._run_id, lambda: self._header)
        self.rows.append(row)
        self._entries += entries
        try:
            self._journal.append(entries)
        except OSError as error:
            # The measurement is good all the same, and pytest-benchmark may yet store it.
            warnings.warn(
                pytest.PytestWarning(f"not kept on disk before the run ends: {error}"), stacklevel=2
            )

    def trade_offs(self) -> list[str]:
        """Lines on speed, memory and quality of the modes, where this run has measured them."""
        from ..analysis.tradeoff import trade_offs
        from ..report.tradeoff import lines

        found = [one for one in trade_offs(self._entries) if one.test]
        return ["", "trade-offs", *lines(found)] if found else []

    def verdict(self) -> Judgement | None:
        """The gate's verdict on what was measured; None without a gate or a measurement."""
        if self.gate is None or not self._entries:
            return None
        return self.gate.judge({**self._header, "benchmarks": self._entries})

    @property
    def storage(self) -> Path:
        """pytest-benchmark's storage folder."""
        return Path(self.store.storage_path() or ".benchmarks")

    def clear_progress(self) -> None:
        self._progress.clear()

    def settle_journal(self) -> str | None:
        """Remove the journal of a run that ended as it should; else say what is kept, and where."""
        journal = self._journal
        if journal is None or not journal.entries:
            return None
        complete = self.finished_with is not None
        interrupted = self.finished_with in (
            pytest.ExitCode.INTERRUPTED,
            pytest.ExitCode.INTERNAL_ERROR,
        )
        if complete and (self.store.will_save() or not interrupted):
            journal.remove()
            return None
        return (
            f"interrupted: {journal.entries} measured entries are kept in {journal.path}; "
            "pytest-llmperf recover stores them"
        )

    def left_behind(self) -> list[Interrupted]:
        """What earlier runs left when they were killed."""
        found = []
        for path in interrupted_runs(self.storage):
            try:
                run = read(path)
            except JournalError:
                continue
            if path.stem != self._run_id and not run.is_running:
                found.append(run)
        return found

    def header(self, cells: Sequence[Cell]) -> str:
        """One line: models, engines with versions, device."""
        models = ", ".join(dict.fromkeys(cell.model.name for cell in cells))
        if self.settings.load_format == "dummy":
            models += " (random weights)"
        engines = ", ".join(self._engine(name) for name in dict.fromkeys(c.backend for c in cells))
        return f"llm: {models} on {engines}; {self._device()}"

    def _engine(self, backend: str) -> str:
        try:
            packages = self.plan.packages(backend)
        except EngineError:
            return f"{backend} (not installed)"
        version = backend_class(backend).version(packages)
        return f"{backend} {version if version != 'unknown' else '(not installed)'}"

    def _device(self) -> str:
        device = self.settings.device
        if runs_on_cpu(device):
            return f"cpu, {engine_threads(self.settings)} of {usable_cores()} cores"
        names = ", ".join(accelerator_names()) or "accelerator"
        return names if device == "auto" else f"{device} ({names})"

    def _show(self, cell: Cell) -> Any:
        def show(phase: str, number: int, total: int) -> None:
            self._progress.show(cell.id, phase, number, total)

        return show


def _log_dir(config: pytest.Config) -> Path:
    cache = getattr(config, "cache", None)
    if cache is not None:
        return Path(cache.mkdir("llmperf-logs"))
    return Path(tempfile.gettempdir()) / f"pytest-llmperf-logs-{os.getpid()}"
