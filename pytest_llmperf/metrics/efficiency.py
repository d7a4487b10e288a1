"""Energy and price per token: pure maths."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.trace import RoundTrace
from .samples import Metric, known


def of_energy(rounds: Sequence[RoundTrace], joules: float) -> dict[str, Metric]:
    """Joules per token, one sample: a counter is too coarse for a sample a round.

    Args:
        rounds: the measured rounds.
        joules: used by all of them together.
    """
    requests = [request for r in rounds for request in r.requests]
    output = sum(request.output_tokens for request in requests)
    everything = output + sum(request.input_tokens for request in requests)
    return known(
        {"energy_per_output_token": [joules / output], "energy_per_token": [joules / everything]}
    )


def of_price(hourly: float, output_throughput: Metric) -> dict[str, Metric]:
    """Price of a million output tokens at a round's throughput, a sample a round.

    Args:
        hourly: of the whole machine, in any currency.
    """
    samples = [hourly / 3600 / rate * 1e6 for rate in output_throughput.samples]
    return known({"cost_per_million_tokens": samples})
