"""The metrics that a measurement gives, beside those that need the machine's ceilings."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.engine import LoadedEngine
from ..core.measurement import Measurement
from ..metrics.efficiency import of_energy, of_price
from ..metrics.quality import Quality
from ..metrics.rounds import from_rounds, tokens_per_step
from ..metrics.samples import Metric, known


def of_rounds(
    engine: LoadedEngine,
    measurement: Measurement,
    objectives: Mapping[str, float] | None,
    hourly_cost: float | None,
) -> dict[str, Metric]:
    """Return the metrics of measured rounds: times, rates, memory, and energy and price where known.

    Args:
        objectives: limits in seconds by metric, for goodput.
        hourly_cost: price of the machine.
    """
    metrics = from_rounds(measurement.rounds, objectives)
    if engine.info.speculation:
        metrics |= tokens_per_step(measurement.rounds)
    metrics |= of_process(engine, {"peak_memory": measurement.peak_memory})
    if (joules := measurement.energy.get("joules")) is not None:
        metrics |= of_energy(measurement.rounds, joules)
    if hourly_cost is not None:
        metrics |= of_price(hourly_cost, metrics["output_throughput"])
    return metrics


def of_process(
    engine: LoadedEngine, while_running: Mapping[str, float] | None = None
) -> dict[str, Metric]:
    """Return the metrics of an engine's process, one sample each.

    Args:
        while_running: values by metric that are known only after the rounds.
    """
    values = {"load_time": engine.load_time, **(while_running or {}), **engine.info.memory}
    return known({key: [value] for key, value in values.items()})


def of_quality(quality: Quality) -> dict[str, Metric]:
    """Return the metrics of a scored text."""
    return known({key: [value] for key, value in quality.metrics().items()})
