"""What a test measures, by the work of its rows: which columns answer it, and what its ratio is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..metrics.definitions import METRICS, MetricDefinition, table_columns
from ..metrics.samples import Metric
from ..store.schema import WorkloadPart

_PREFILL_TOKENS = 2
"""Most output tokens of a test about prompts: the fewest that have a tpot."""


@dataclass(frozen=True)
class Work:
    """The work of a row."""

    requests: str
    """Hash of the requests; empty if the record has none."""
    input_tokens: int
    output_tokens: int
    """Of a request of the batch: the longest."""
    batch_size: int


@dataclass(frozen=True)
class Subject:
    """What a test measures."""

    name: str
    columns: tuple[str, ...]
    """Timing metrics that its table shows."""
    ratio: str
    """The metric that its ratio compares."""

    def shows(self, column: MetricDefinition) -> bool:
        """Return whether its table has a column: of the columns about speed, only its own."""
        return column.key in self.columns or column.key not in _SPEED

    @property
    def ratio_words(self) -> str:
        """The rate that the ratio is of."""
        definition = METRICS[self.ratio]
        return definition.title if definition.better == "higher" else f"1 / {definition.short}"

    def times_as_fast(self, metric: Metric, reference: Metric) -> float:
        """Return how many times as fast as a reference a metric is, by their medians."""
        ratio = metric.p50 / reference.p50
        return ratio if metric.definition.better == "higher" else 1 / ratio


REQUEST = Subject(
    "requests",
    ("ttft", "tpot", "tokens_per_step", "e2e", "output_throughput", "mbu", "mfu"),
    "output_throughput",
)
PREFILL = Subject("prompts", ("ttft", "prefill_throughput", "mfu"), "prefill_throughput")
THROUGHPUT = Subject(
    "batches",
    (
        "ttft",
        "tpot",
        "tokens_per_step",
        "output_throughput",
        "output_throughput_per_request",
        "mbu",
        "mfu",
    ),
    "output_throughput",
)
DECODE = Subject("decoding", ("tpot", "tokens_per_step", "e2e", "output_throughput", "mbu"), "tpot")

_SPEED = {key for s in (REQUEST, PREFILL, THROUGHPUT, DECODE) for key in s.columns}


def work_of(part: WorkloadPart) -> Work | None:
    """Return the work of a record; None where nothing was generated."""
    if "output_tokens" not in part:
        return None
    return Work(
        part.get("requests", ""),
        part.get("input_tokens", 0),
        part["output_tokens"],
        part.get("batch_size", 1),
    )


def subject_of(works: Sequence[Work | None]) -> Subject:
    """Return what a test with these works measures.

    Prompts, if no request has more than two output tokens; throughput, if there are batches of several
    requests; decoding, if only output lengths differ; else single requests.
    """
    known = [work for work in works if work is not None]
    if not known:
        return REQUEST
    if all(work.output_tokens <= _PREFILL_TOKENS for work in known):
        return PREFILL
    if any(work.batch_size > 1 for work in known):
        return THROUGHPUT
    outputs = {work.output_tokens for work in known}
    inputs = {work.input_tokens for work in known}
    return DECODE if len(outputs) > 1 and len(inputs) == 1 else REQUEST


def columns_of(subject: Subject) -> list[MetricDefinition]:
    """Return the columns of a subject's table, from the left."""
    return [column for column in table_columns() if subject.shows(column)]
