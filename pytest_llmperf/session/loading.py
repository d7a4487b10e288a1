"""Load the engine of a test, and measure idle power and ceilings before that."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from ..backends import backend_class
from ..backends.base import Backend
from ..core.cell import Cell
from ..core.engine import LoadedEngine
from ..core.printable import printable
from ..machine.gpus import Gpus
from ..machine.idle import IdlePower, idle_power
from ..metrics.ceilings import Ceilings
from ..metrics.roofline import Reached
from ..store.entries import BenchmarkStore
from .ceilings import CeilingCache, before_loading, of_engine
from .cells import CellPlan
from .llm import LLM
from .model_files import lack_of
from .options import Settings
from .progress import ProgressLine
from .slot import EngineSlot


class Loading:
    """The resident engine of a run, and measurements of the machine from before it was loaded."""

    def __init__(
        self,
        settings: Settings,
        plan: CellPlan,
        store: BenchmarkStore,
        progress: ProgressLine,
        log: Callable[[str], Path],
    ) -> None:
        """Keep the parts of the run; ``log`` returns the file for the output of an engine."""
        self.slot = EngineSlot(settings, plan, log)
        self.gpus = Gpus(os.environ)
        self._settings = settings
        self._plan = plan
        self._store = store
        self._progress = progress
        self._ceilings = CeilingCache(settings, log, progress.of("this machine"))
        self._idle: IdlePower | None = None
        self._opened: LLM | None = None
        self._failure: BaseException | None = None

    @property
    def idle(self) -> IdlePower:
        """Idle power before the first engine was loaded; empty where nothing reports it."""
        return self._idle or IdlePower()

    def open(self, cell_id: str) -> LLM:
        """Load and return the model of a cell; fail or skip the test if that is impossible.

        A load that fails is noted for ``require``: pytest would keep an exception of the fixture, which
        serves all tests of the cell.
        """
        cell = self._runnable(cell_id)
        llm = LLM(
            cell, self.slot, self._progress.of(cell.id), self._settings.load_format == "dummy"
        )
        try:
            self._measure_idle(cell)
            # Not while another engine holds the device.
            self.slot.leave(cell)
            self._measure_ceilings(cell)
            llm.engine()
        except pytest.fail.Exception as error:
            self._failure = error
        finally:
            self._progress.clear()
        self._opened = llm
        return llm

    def require(self) -> None:
        """Fail the test that is set up if its model is not loaded and cannot be loaded now."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if self._opened is not None:
            try:
                self._opened.engine()
            finally:
                self._progress.clear()

    def close(self) -> None:
        """End the resident engine: its tests are over."""
        self._opened = self._failure = None
        self.slot.close()

    def ceilings(self, cell: Cell, engine: LoadedEngine, again: bool = False) -> Ceilings | None:
        """Return the ceilings of a loaded engine's device; None where they are unknown.

        Args:
            again: measure once more, because the engine was faster than the known ceilings.
        """
        where = of_engine(self.slot.spec(cell), engine.info)
        ask = self._ceilings.again if again else self._ceilings.of
        try:
            return ask(cell.backend, where, *self._surroundings(cell))
        finally:
            self._progress.clear()

    def raise_ceilings(self, cell: Cell, engine: LoadedEngine, reached: Reached) -> Ceilings | None:
        """Return the ceilings of a loaded engine's device, raised to what the engine has reached."""
        where = of_engine(self.slot.spec(cell), engine.info)
        return self._ceilings.reached(cell.backend, where, *self._surroundings(cell), reached)

    def _runnable(self, cell_id: str) -> Cell:
        try:
            cell = self._plan.cell(cell_id)
            problem = self._plan.problem(cell)
        except ValueError as error:
            raise pytest.fail.Exception(str(error), pytrace=False) from None
        if problem and (self._settings.require or self._plan.is_named(cell)):
            pytest.fail(f"{cell.id}: {problem}", pytrace=False)
        if problem:
            pytest.skip(problem)
        settings = self._settings
        args = settings.args_of(cell.backend)
        lack = lack_of(cell, settings.load_format == "dummy", args, os.environ)
        if lack:
            pytest.fail(printable(f"cannot load {cell.id}: {lack}"), pytrace=False)
        return cell

    def _measure_idle(self, cell: Cell) -> None:
        """Measure idle power once, before an engine loads."""
        knows_its_own = backend_class(cell.backend).joules is not Backend.joules
        if self._idle is None and not knows_its_own and self._store.will_measure():
            self._idle = idle_power(self.gpus)

    def _measure_ceilings(self, cell: Cell) -> None:
        """Measure ceilings before an engine takes the GPU's memory, if the engine can use them."""
        if backend_class(cell.backend).tells_architecture and self._store.will_measure():
            where = before_loading(self.slot.spec(cell))
            self._ceilings.of(cell.backend, where, *self._surroundings(cell))

    def _surroundings(self, cell: Cell) -> tuple[Mapping[str, str], list[dict[str, Any]] | None]:
        return self._plan.packages(cell.backend), self.gpus.described
