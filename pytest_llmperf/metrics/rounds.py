"""Traces to metrics: pure maths, no input or output.

Every definition is that of the field (MLPerf Inference, ``vllm bench serve``, the OpenTelemetry GenAI
conventions); where tools disagree, docs/reference/metrics.md says which reading this is.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from ..core.trace import RequestTrace, RoundTrace
from .samples import Metric, known


def ttft(trace: RequestTrace) -> float:
    """Return seconds from submission to the first output token (OpenTelemetry: time_to_first_token)."""
    return trace.first - trace.submitted


def e2e(trace: RequestTrace) -> float:
    """Return seconds from submission to the last output token."""
    return trace.last - trace.submitted


def tpot(trace: RequestTrace) -> float | None:
    """Return seconds per output token after the first (MLPerf, vLLM); None for a single token.

    Tokens that arrived together with the first one are not part of the time after it, so they are not
    counted: with known token boundaries that is exactly one token.
    """
    rest = trace.output_tokens - trace.counts[0]
    return (trace.last - trace.first) / rest if rest else None


def step_time(trace: RequestTrace, speculation: bool) -> float | None:
    """Return seconds per decode step; None without a step after the first.

    Args:
        speculation: whether a step may give several tokens, so that each stamp is a step. Without it,
            tokens that arrive together were made one by one and held back.
    """
    if not speculation:
        return tpot(trace)
    steps = len(trace.times) - 1
    return (trace.last - trace.first) / steps if steps else None


def tokens_per_step(rounds: Sequence[RoundTrace]) -> dict[str, Metric]:
    """Return the tokens of a request's steps after the first, of an engine that speculates."""
    requests = [request for r in rounds for request in r.requests if len(request.times) > 1]
    rests = [(r.output_tokens - r.counts[0]) / (len(r.times) - 1) for r in requests]
    return known({"tokens_per_step": rests})


def _median(value: Callable[[RequestTrace], float | None]) -> Callable[[RoundTrace], float | None]:
    """Return a function that gives the median over the requests of a round."""

    def of_round(round_trace: RoundTrace) -> float | None:
        values = [v for request in round_trace.requests if (v := value(request)) is not None]
        return statistics.median(values) if values else None

    return of_round


OF_ROUND: Mapping[str, Callable[[RoundTrace], float | None]] = {
    "ttft": _median(ttft),
    "tpot": _median(tpot),
    "e2e": _median(e2e),
    "output_throughput": lambda r: sum(q.output_tokens for q in r.requests) / r.wall_time,
}
"""By metric, the one value of a round: its requests share its luck, so they count as one observation."""


def gaps(trace: RequestTrace) -> list[float]:
    """Return the seconds between consecutive arrivals of one request."""
    return [later - earlier for earlier, later in pairwise(trace.times)]


def meets(trace: RequestTrace, objectives: Mapping[str, float]) -> bool:
    """Return whether a request met every objective.

    An objective that is undefined for a request (tpot of one token) counts as met.
    """
    values: dict[str, Callable[[RequestTrace], float | None]] = {
        "ttft": ttft,
        "tpot": tpot,
        "e2e": e2e,
    }
    return all(
        (value := values[key](trace)) is None or value <= limit for key, limit in objectives.items()
    )


def from_rounds(
    rounds: Sequence[RoundTrace], objectives: Mapping[str, float] | None = None
) -> dict[str, Metric]:
    """Return, by key, every metric that needs only traces.

    Args:
        rounds: the measured rounds, warm-up left out.
        objectives: limits in seconds by metric (``ttft``, ``tpot``, ``e2e``), for goodput.
    """
    requests = [request for r in rounds for request in r.requests]
    all_gaps = [gap for request in requests for gap in gaps(request)]
    exact = all(request.has_token_boundaries for request in requests)

    def per_round(amount: Callable[[RequestTrace], float]) -> list[float]:
        return [sum(amount(request) for request in r.requests) / r.wall_time for r in rounds]

    samples: dict[str, list[float]] = {
        "ttft": [ttft(request) for request in requests],
        "e2e": [e2e(request) for request in requests],
        "tpot": [value for request in requests if (value := tpot(request)) is not None],
        "itl" if exact else "icl": all_gaps,
        "output_throughput": per_round(lambda request: request.output_tokens),
        "output_throughput_per_request": [
            request.output_tokens / e2e(request) for request in requests
        ],
        "total_throughput": per_round(lambda request: request.input_tokens + request.output_tokens),
        "request_throughput": per_round(lambda request: 1),
        "prefill_throughput": [
            sum(request.input_tokens / ttft(request) for request in r.requests) for r in rounds
        ],
        "decode_throughput": [
            sum(1 / value for request in r.requests if (value := tpot(request)) is not None)
            for r in rounds
            if any(tpot(request) is not None for request in r.requests)
        ],
    }
    if objectives:
        samples["goodput"] = per_round(lambda request: float(meets(request, objectives)))
    return known(samples)
