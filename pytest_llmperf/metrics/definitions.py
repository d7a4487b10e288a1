"""Every metric of this package: one row each, from which all else that is said of it comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]


Kind = Literal["timing", "exact", "quality"]


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
