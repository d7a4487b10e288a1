"""The registry of metrics: one row per metric.

The table after a run and its legend, the budgets, the gate, the trade-off, ``Result``'s typed
attributes and docs/reference/metrics.md all read it. To add a metric, add its row here and the code
that produces its samples, then run ``python tools/make_docs.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]
Kind = Literal["timing", "exact", "quality"]
Per = Literal["request", "gap", "round", "measurement", "process"]
Need = Literal["second token", "objectives", "ceilings", "energy", "price", "speculation"]


@dataclass(frozen=True, kw_only=True)
class MetricDefinition:
    """A metric before it is measured; the same for every engine."""

    key: str
    name: str
    """In words, for the documentation."""
    unit: str
    """Unit of the samples; empty for a plain number."""
    better: Better
    kind: Kind
    """The gate's way to judge it: by statistics, by a tolerance, or by paired documents."""
    per: Per
    """The thing that has one sample. ``process``: the same for every test of a loaded engine."""
    meaning: str
    """The definition, in markdown."""
    page: str = ""
    """The page of docs/ that explains it."""
    needs: Need | None = None
    """Requirement for a measurement to have this metric; None if every measurement has it."""
    tolerance: float | None = None
    """Largest change, in ``unit``, that is noise for an exact metric, however small its value."""
    title: str = ""
    """Head of its column in tables."""
    scale: float = 1
    """Factor from ``unit`` to the unit of ``title``."""
    digits: int = 1
    """Decimals in tables."""
    table: int | None = None
    """Place in the table after a run, counted from the left; None: no column."""
    spread: bool = True
    """The table prints how far the interval of its median reaches."""
    tradeoff: int | None = None
    """Place in the trade-off table, counted from the left; None: no column."""
    includes: str = ""
    """Key of a metric that is a part of this one: tables print it in parentheses or leave it out."""
    note: str = ""
    """Explanation in the legend of the table; empty for none."""

    @property
    def short(self) -> str:
        """Its name in a sentence, as people say it."""
        return _SHORT.get(self.key, self.key)

    def shown(self, value: float) -> str:
        """Return a value, given in ``unit``, as tables print it."""
        return f"{value * self.scale:,.{self.digits}f}"


_SHORT = {"output_throughput": "tokens/s"}

_DEFINITIONS = (
    MetricDefinition(
        key="ttft",
        name="time to first token",
        unit="s",
        better="lower",
        kind="timing",
        per="request",
        meaning="request submitted -> first output token id received",
        title="ttft ms",
        scale=1e3,
        digits=1,
        table=10,
    ),
    MetricDefinition(
        key="e2e",
        name="end-to-end latency",
        unit="s",
        better="lower",
        kind="timing",
        per="request",
        meaning="request submitted -> last output token id received",
        title="e2e s",
        digits=3,
        table=30,
    ),
    MetricDefinition(
        key="tpot",
        name="time per output token",
        unit="s",
        better="lower",
        kind="timing",
        per="request",
        meaning="(e2e - ttft) / (output tokens - 1); undefined for one token",
        needs="second token",
        title="tpot ms",
        scale=1e3,
        digits=2,
        table=20,
    ),
    MetricDefinition(
        key="itl",
        name="inter-token latency",
        unit="s",
        better="lower",
        kind="timing",
        per="gap",
        meaning="every gap between consecutive tokens of a request, pooled",
        needs="second token",
    ),
    MetricDefinition(
        key="icl",
        name="inter-chunk latency",
        unit="s",
        better="lower",
        kind="timing",
        per="gap",
        meaning="the same between chunks, instead of `itl`, where token boundaries are unknown",
        needs="second token",
    ),
    MetricDefinition(
        key="tokens_per_step",
        name="tokens per step",
        unit="tokens",
        better="higher",
        kind="timing",
        per="request",
        meaning="(output tokens - those of the first step) / further steps, with speculation",
        needs="speculation",
        title="tokens/step",
        digits=2,
        table=25,
    ),
    MetricDefinition(
        key="output_throughput",
        name="output throughput",
        unit="tokens/s",
        better="higher",
        kind="timing",
        per="round",
        meaning="output tokens / wall time of the round",
        title="tokens/s",
        digits=1,
        table=40,
        tradeoff=10,
    ),
    MetricDefinition(
        key="output_throughput_per_request",
        name="output throughput per request",
        unit="tokens/s",
        better="higher",
        kind="timing",
        per="request",
        meaning="output tokens / e2e of one request: what one of the batch's clients gets",
        title="per request",
        digits=1,
        table=45,
        note="output tokens / e2e of one request",
    ),
    MetricDefinition(
        key="total_throughput",
        name="total throughput",
        unit="tokens/s",
        better="higher",
        kind="timing",
        per="round",
        meaning="input and output tokens / wall time",
    ),
    MetricDefinition(
        key="request_throughput",
        name="request throughput",
        unit="requests/s",
        better="higher",
        kind="timing",
        per="round",
        meaning="requests / wall time",
    ),
    MetricDefinition(
        key="prefill_throughput",
        name="prefill throughput",
        unit="tokens/s",
        better="higher",
        kind="timing",
        per="round",
        meaning="prompt tokens / ttft, summed over the batch",
        title="prompt tokens/s",
        digits=1,
        table=15,
    ),
    MetricDefinition(
        key="decode_throughput",
        name="decode throughput",
        unit="tokens/s",
        better="higher",
        kind="timing",
        per="round",
        meaning="(tokens - 1) / (e2e - ttft), summed over the batch",
        needs="second token",
    ),
    MetricDefinition(
        key="goodput",
        name="goodput",
        unit="requests/s",
        better="higher",
        kind="timing",
        per="round",
        meaning="requests that met every objective of `slo=` / wall time",
        needs="objectives",
    ),
    MetricDefinition(
        key="load_time",
        name="load time",
        unit="s",
        better="lower",
        kind="timing",
        per="process",
        meaning="asked for the engine -> ready for its first request, imports included",
        title="load s",
        digits=1,
        table=100,
    ),
    MetricDefinition(
        key="peak_memory",
        name="peak memory",
        unit="MiB",
        better="lower",
        kind="exact",
        per="measurement",
        meaning="peak while the rounds run: on a GPU the device allocator's (the driver's count for "
        "llama.cpp, CTranslate2 and TensorRT-LLM), on a CPU the resident set's",
        # An allocator rounds up, and for a small model that is more than a percent.
        tolerance=16,
        title="peak MiB",
        digits=0,
        table=70,
        tradeoff=30,
        includes="kv_cache_memory",
        note="resident set on a CPU, allocator's peak on a GPU, (reserved key-value pool)",
    ),
    MetricDefinition(
        key="model_memory",
        name="model memory",
        unit="MiB",
        better="lower",
        kind="exact",
        per="process",
        meaning="weights with their quantization constants",
        tolerance=16,
        title="weights MiB",
        digits=0,
        tradeoff=20,
    ),
    MetricDefinition(
        key="kv_cache_memory",
        name="key-value pool",
        unit="MiB",
        better="lower",
        kind="exact",
        per="process",
        meaning="memory that the engine reserves; a setting, not a need",
        tolerance=16,
    ),
    MetricDefinition(
        key="perplexity",
        name="perplexity",
        unit="",
        better="lower",
        kind="quality",
        per="measurement",
        meaning="exp of the mean negative log-likelihood of the next token on the shipped text",
        page="why/quality.md",
        title="perplexity",
        digits=2,
        table=110,
        tradeoff=40,
    ),
    MetricDefinition(
        key="kl_divergence",
        name="KL divergence",
        unit="nats/token",
        better="lower",
        kind="exact",
        per="measurement",
        meaning="mean of sum p (log p - log q) over the vocabulary, p the unquantized model's "
        "next-token distribution, q this cell's",
        # Unquantized engines differ by up to 0.0017 through the rounding of bfloat16
        # (SmolLM2-135M: transformers, vLLM, CTranslate2).
        tolerance=0.002,
        title="KL nats",
        digits=4,
        table=120,
        tradeoff=50,
    ),
    MetricDefinition(
        key="top1_agreement",
        name="top-1 agreement",
        unit="share",
        better="higher",
        kind="exact",
        per="measurement",
        meaning="share of places whose likeliest next token is the unquantized model's",
        # The same engines disagree at up to 2.8 % of places: bfloat16 decides near ties.
        tolerance=0.03,
        title="agree %",
        scale=1e2,
        digits=1,
        table=130,
        tradeoff=60,
    ),
    MetricDefinition(
        key="mbu",
        name="model bandwidth utilization",
        unit="share",
        better="higher",
        kind="timing",
        per="round",
        meaning="bytes that a decode step has to read / median step of the round / best bandwidth seen; "
        "a step is tpot, or with speculation the time between two stamps",
        page="why/roofline.md",
        needs="ceilings",
        title="mbu",
        scale=1e2,
        digits=0,
        table=50,
        spread=False,
        note="% of the memory bandwidth that decoding used",
    ),
    MetricDefinition(
        key="mfu",
        name="model FLOP utilization",
        unit="share",
        better="higher",
        kind="timing",
        per="round",
        meaning="operations of the round's prompts / time to its last first token / best rate seen",
        page="why/roofline.md",
        needs="ceilings",
        title="mfu",
        scale=1e2,
        digits=0,
        table=60,
        spread=False,
        note="% of the arithmetic rate that prefill used",
    ),
    MetricDefinition(
        key="energy_per_output_token",
        name="energy per output token",
        unit="J/token",
        better="lower",
        kind="timing",
        per="measurement",
        meaning="energy of all rounds / their output tokens, idle power included",
        page="why/energy.md",
        needs="energy",
        title="J/token",
        digits=3,
        table=80,
        tradeoff=70,
        note="energy of the engine's GPUs or CPU packages, idle power included, / output tokens",
    ),
    MetricDefinition(
        key="energy_per_token",
        name="energy per token",
        unit="J/token",
        better="lower",
        kind="timing",
        per="measurement",
        meaning="energy of all rounds / their input and output tokens, idle power included",
        page="why/energy.md",
        needs="energy",
    ),
    MetricDefinition(
        key="cost_per_million_tokens",
        name="cost",
        unit="per 1M tokens",
        better="lower",
        kind="timing",
        per="round",
        meaning="`--llm-hourly-cost` / 3600 / output throughput x 1,000,000",
        page="why/energy.md",
        needs="price",
        title="cost/1M",
        digits=3,
        table=90,
        note="price of a million output tokens",
    ),
)


METRICS: Mapping[str, MetricDefinition] = {d.key: d for d in _DEFINITIONS}


def keys_per(per: Per) -> tuple[str, ...]:
    """Return the keys of the metrics with one sample per ``per``."""
    return tuple(key for key, definition in METRICS.items() if definition.per == per)


POOLED = keys_per("gap")
"""Metrics with one sample per token: too many to store unless ``--llm-metrics`` names them."""

OBJECTIVES = ("ttft", "tpot", "e2e")
"""Metrics that ``slo=`` takes a limit for."""


def table_columns() -> list[MetricDefinition]:
    """Return the metrics with a column in the table after a run, from the left."""
    return _in_order({key: d.table for key, d in METRICS.items() if d.table is not None})


def tradeoff_columns() -> list[MetricDefinition]:
    """Return the metrics with a column in the trade-off table, from the left."""
    return _in_order({key: d.tradeoff for key, d in METRICS.items() if d.tradeoff is not None})


def _in_order(places: Mapping[str, int]) -> list[MetricDefinition]:
    return [METRICS[key] for key in sorted(places, key=lambda key: places[key])]
