"""Traces to metrics: pure maths, no input or output.

Every definition is the field's own (MLPerf Inference, ``vllm bench serve``, the OpenTelemetry GenAI
conventions); where tools disagree, docs/metrics.md says which reading this is.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from .core.trace import RequestTrace, RoundTrace

Better = Literal["lower", "higher"]
Kind = Literal["timing", "exact", "quality"]
PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class MetricDefinition:
    """What a metric key means; the same for every engine."""

    key: str
    unit: str
    better: Better
    kind: Kind
    meaning: str


_DEFINITIONS = (
    MetricDefinition("ttft", "s", "lower", "timing", "request submitted -> first output token"),
    MetricDefinition("e2e", "s", "lower", "timing", "request submitted -> last output token"),
    MetricDefinition("tpot", "s", "lower", "timing", "(e2e - ttft) / (output tokens - 1)"),
    MetricDefinition("itl", "s", "lower", "timing", "gap between consecutive tokens, pooled"),
    MetricDefinition("icl", "s", "lower", "timing", "gap between consecutive chunks, pooled"),
    MetricDefinition(
        "output_throughput",
        "tokens/s",
        "higher",
        "timing",
        "output tokens / wall time of the round",
    ),
    MetricDefinition(
        "total_throughput", "tokens/s", "higher", "timing", "input and output tokens / wall time"
    ),
    MetricDefinition(
        "request_throughput", "requests/s", "higher", "timing", "requests / wall time of the round"
    ),
    MetricDefinition(
        "prefill_throughput", "tokens/s", "higher", "timing", "sum of prompt tokens / ttft"
    ),
    MetricDefinition(
        "decode_throughput", "tokens/s", "higher", "timing", "sum of (tokens - 1) / (e2e - ttft)"
    ),
    MetricDefinition(
        "goodput", "requests/s", "higher", "timing", "requests that met every objective / wall time"
    ),
    MetricDefinition("load_time", "s", "lower", "timing", "asked for the engine -> ready"),
    MetricDefinition(
        "peak_memory", "MiB", "lower", "exact", "device allocator's or resident set's peak"
    ),
    MetricDefinition(
        "model_memory", "MiB", "lower", "exact", "weights with their quantization constants"
    ),
    MetricDefinition(
        "kv_cache_memory", "MiB", "lower", "exact", "key-value pool that the engine reserves"
    ),
    MetricDefinition(
        "perplexity", "", "lower", "quality", "exp of the mean negative log-likelihood of a token"
    ),
    MetricDefinition(
        "kl_divergence",
        "nats/token",
        "lower",
        "exact",
        "mean KL divergence of the next token's distribution from the unquantized model's",
    ),
    MetricDefinition(
        "top1_agreement",
        "share",
        "higher",
        "exact",
        "share of positions whose likeliest next token is the unquantized model's",
    ),
    MetricDefinition(
        "mbu", "share", "higher", "timing", "bytes that a decode step reads / tpot / bandwidth"
    ),
    MetricDefinition(
        "mfu", "share", "higher", "timing", "operations of the prompt / ttft / peak rate"
    ),
    MetricDefinition(
        "energy_per_output_token", "J/token", "lower", "timing", "energy of a round / output tokens"
    ),
    MetricDefinition(
        "energy_per_token", "J/token", "lower", "timing", "energy / input and output tokens"
    ),
    MetricDefinition(
        "cost_per_million_tokens",
        "per 1M tokens",
        "lower",
        "timing",
        "--llm-hourly-cost / output tokens of an hour, for a million",
    ),
)
METRICS: Mapping[str, MetricDefinition] = {d.key: d for d in _DEFINITIONS}
# A sample a token: too many to keep unless somebody asks for them.
POOLED = ("itl", "icl")
OBJECTIVES = ("ttft", "tpot", "e2e")


@dataclass(frozen=True)
class Metric:
    """The samples of one metric in one measurement, and the statistics over them.

    ``samples`` are in ``definition.unit``: one a request for ttft, e2e and tpot, one a gap for itl and
    icl, one a round for throughputs, one a process for load time and memory.
    """

    definition: MetricDefinition
    samples: tuple[float, ...]

    @property
    def key(self) -> str:
        return self.definition.key

    @property
    def unit(self) -> str:
        return self.definition.unit

    @property
    def n(self) -> int:
        return len(self.samples)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.samples)

    @property
    def min(self) -> float:
        return min(self.samples)

    @property
    def max(self) -> float:
        return max(self.samples)

    def percentile(self, q: float) -> float:
        """The q-th percentile (0 to 100), linear between the two nearest ranks (numpy's default)."""
        if not 0 <= q <= 100:
            raise ValueError(f"a percentile is between 0 and 100, not {q}")
        ordered = sorted(self.samples)
        rank = (len(ordered) - 1) * q / 100
        low = math.floor(rank)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)

    @property
    def p50(self) -> float:
        return self.percentile(50)

    @property
    def p90(self) -> float:
        return self.percentile(90)

    @property
    def p95(self) -> float:
        return self.percentile(95)

    @property
    def p99(self) -> float:
        return self.percentile(99)

    @property
    def spread(self) -> float:
        """Half the interquartile range over the median: 0.02 reads as "p50 +- 2 %"."""
        median = self.p50
        return (self.percentile(75) - self.percentile(25)) / 2 / median if median else 0.0

    def as_dict(self, with_samples: bool = True) -> dict[str, Any]:
        """The stored form (schema 1); ``samples`` is empty where they are left out."""
        return {
            "unit": self.unit,
            "better": self.definition.better,
            "kind": self.definition.kind,
            "n": self.n,
            "mean": self.mean,
            "min": self.min,
            "max": self.max,
            **{f"p{q}": self.percentile(q) for q in PERCENTILES},
            "samples": list(self.samples) if with_samples else [],
        }


def metric(key: str, samples: Sequence[float]) -> Metric | None:
    """A metric of the table, or None when there is nothing to say about it.

    Raises:
        ValueError: for an unknown key, or a sample that is not a finite number.
    """
    if key not in METRICS:
        raise ValueError(f"unknown metric {key!r}")
    bad = [s for s in samples if not math.isfinite(s)]
    if bad:
        raise ValueError(f"{key}: sample {bad[0]} is not a finite number")
    return Metric(METRICS[key], tuple(float(s) for s in samples)) if samples else None


def known(samples: Mapping[str, Sequence[float]]) -> dict[str, Metric]:
    """Metrics by key, those without a sample left out."""
    found = {key: metric(key, values) for key, values in samples.items()}
    return {key: value for key, value in found.items() if value is not None}


def ttft(trace: RequestTrace) -> float:
    """Seconds from submission to the first output token (OpenTelemetry: time_to_first_token)."""
    return trace.first - trace.submitted


def e2e(trace: RequestTrace) -> float:
    """Seconds from submission to the last output token."""
    return trace.last - trace.submitted


def tpot(trace: RequestTrace) -> float | None:
    """Seconds per output token after the first (MLPerf, vLLM); None for a single token.

    Tokens that arrived together with the first one are no part of the time after it, so they are not
    counted either: with known token boundaries that is exactly one token.
    """
    rest = trace.output_tokens - trace.counts[0]
    return (trace.last - trace.first) / rest if rest else None


def gaps(trace: RequestTrace) -> list[float]:
    """Seconds between consecutive arrivals of one request."""
    return [later - earlier for earlier, later in pairwise(trace.times)]


def meets(trace: RequestTrace, objectives: Mapping[str, float]) -> bool:
    """Whether a request met every objective; one that is undefined for it (tpot of one token) is met."""
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
    """Every metric that traces alone can give, by key.

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
