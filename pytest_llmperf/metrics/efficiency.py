"""Energy and price per token: pure maths."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.trace import RoundTrace
from .samples import Metric, known


def of_energy(rounds: Sequence[RoundTrace], joules: float) -> dict[str, Metric]:
    """Return joules per token, one sample each: a counter is too coarse for one sample per round.

    Args:
        rounds: the measured rounds.
        joules: energy of all of them together.
    """
    requests = [request for r in rounds for request in r.requests]
    output = sum(request.output_tokens for request in requests)
    all_tokens = output + sum(request.input_tokens for request in requests)
    return known(
        {"energy_per_output_token": [joules / output], "energy_per_token": [joules / all_tokens]}
    )


def of_price(hourly: float, output_throughput: Metric) -> dict[str, Metric]:
    """Return the price of a million output tokens at a round's throughput, one sample per round.

    Args:
        hourly: price per hour of the whole machine, in any currency.
        output_throughput: tokens/s, one sample per round.
    """
    samples = [hourly / 3600 / rate * 1e6 for rate in output_throughput.samples]
    return known({"cost_per_million_tokens": samples})
