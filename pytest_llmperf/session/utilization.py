"""``mbu`` and ``mfu`` of a run: shares of the best rates that were ever seen on its machine.

An engine that is faster than a ceiling raises it, for itself and for the whole run: what was stored
before is stored again with the new ceiling, so that all rows of a run are shares of the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..core.cell import Cell
from ..core.engine import LoadedEngine
from ..core.measurement import Measurement
from ..metrics.ceilings import REACHED, Ceilings, Roof
from ..metrics.roofline import Rates, Reached, RooflineModel
from ..metrics.samples import Metric
from ..store.entries import BenchmarkStore
from ..store.record import revise_utilization
from ..store.schema import Record
from .loading import Loading
from .results import Results


@dataclass(frozen=True)
class Shares:
    """The utilization of a measurement, and its ceilings."""

    metrics: Mapping[str, Metric]
    roof: Roof
    cell: Cell
    engine: LoadedEngine
    reached: Reached

    def under(self, ceilings: Ceilings) -> Shares:
        """Return the same measurement under other ceilings."""
        roof = self.reached.roof(ceilings)
        return replace(self, roof=roof, metrics=self.reached.rates.shares(roof))


class UtilizationOfRun:
    """The shares of all measurements of a run."""

    def __init__(
        self, loading: Loading, results: Results, store: BenchmarkStore, chosen: Sequence[str]
    ) -> None:
        """Keep the parts of the run; ``chosen`` are the metrics that become separate entries."""
        self._loading = loading
        self._store = store
        self._results = results
        self._chosen = chosen
        self._stored: dict[str, tuple[Record, Shares]] = {}

    def of(
        self, cell: Cell, engine: LoadedEngine, measurement: Measurement, test: str
    ) -> Shares | None:
        """Return a measurement's shares, none above 1; None where they are unknown.

        A rate above its ceiling has the ceilings measured once more: something else may have run
        meanwhile. What is still above them then raises them.

        Args:
            test: name of the test.
        """
        model = RooflineModel.of(engine.info)
        ceilings = self._loading.ceilings(cell, engine) if model else None
        if model is None or ceilings is None:
            return None
        rates = Rates.of(measurement.rounds, model)
        reached = Reached(model, engine.info.device, rates, f"{REACHED} {cell.id} in {test}")
        if reached.exceeds(ceilings):
            ceilings = self._loading.ceilings(cell, engine, again=True) or ceilings
        if reached.exceeds(ceilings):
            ceilings = self._loading.raise_ceilings(cell, engine, reached) or ceilings
        roof = reached.roof(ceilings)
        shares = rates.shares(roof)
        return Shares(shares, roof, cell, engine, reached) if shares else None

    def keep(self, record: Record, shares: Shares) -> None:
        """Keep a stored measurement; store again those before it whose ceilings were raised since."""
        self._stored[record["nodeid"]] = record, shares
        for nodeid, (earlier, old) in self._stored.items():
            ceilings = self._loading.ceilings(old.cell, old.engine)
            new = old.under(ceilings) if ceilings else old
            if new.roof != old.roof:
                self._stored[nodeid] = earlier, new
                revise_utilization(earlier, new.metrics, new.roof, self._chosen)
                self._results.revise(
                    earlier, [m for key, m in new.metrics.items() if key in self._chosen]
                )
            self._store.stock.put_under(earlier)
