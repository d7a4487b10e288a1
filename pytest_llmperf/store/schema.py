"""Schema 1: the types of ``extra_info["llmperf"]`` and of the file around it.

The types are plain dictionaries, so that a record is the same when it is made, stored and read again.
A key that may be missing was added after the first stored files, or depends on the machine. The JSON
Schema of ``Record`` is published as docs/reference/record.schema.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, TypedDict, cast

from msgspec import Meta

SCHEMA = 1
KEY = "llmperf"
"""Key of ``extra_info``."""

Share = Annotated[float, Meta(gt=0, lt=1)]
Count = Annotated[int, Meta(ge=0)]


class ModelPart(TypedDict):
    """The model that was loaded."""

    name: str
    source: str
    """Hub id, or the name of a file or folder; never a path."""
    revision: str | None
    dtype: str
    """Compute type, as the engine reports it."""
    load_format: str
    parameters: int | None
    architecture: NotRequired[ArchitecturePart]
    weights: NotRequired[WeightsPart]


class ArchitecturePart(TypedDict):
    """Sizes of a decoder-only transformer (``core.architecture.Architecture``)."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    window: int | None
    experts: int
    window_layers: NotRequired[int]
    """Layers that have the window, if others see everything."""


class WeightsPart(TypedDict):
    """The linear layers as they are in memory (``core.weights.Weights``)."""

    linear_parameters: Count
    linear_bits: float
    """Bits of a linear weight, its share of the quantization constants included."""
    unquantized_share: float
    """Share of the linear weights in a floating-point type of at least 16 bits."""
    unquantized_type: str | None
    """That type: with a quantized checkpoint, what its weights were unpacked to."""
    places: dict[str, float]
    """MiB of all weights by place: a device (``cpu``, ``cuda:0``) or ``disk``."""


class BackendPart(TypedDict):
    """The engine."""

    name: str
    version: str
    args: dict[str, Any]
    """The engine's keyword arguments that were given."""
    settings: dict[str, Any]
    """Settings that the engine reports."""
    peak_by_driver: NotRequired[bool]
    """True if the peak on a GPU is the driver's count, which includes the CUDA context."""
    cache_value_bytes: NotRequired[float]
    """Bytes of one number in the key-value cache."""
    devices: NotRequired[int]
    """GPUs that share the model."""
    traits: NotRequired[list[str]]
    """The last parts of the cell's id: ``tp2``, ``kvfp8``."""


class QuantizationPart(TypedDict):
    """The format of the weights."""

    mode: str
    compute_dtype: str
    method: NotRequired[str]
    """Layout of a checkpoint that is quantized itself (``awq``, ``compressed-tensors``); ``by name`` if
    its files did not say it before the load."""
    group_size: NotRequired[int | None]
    """Weights that share a scale in such a checkpoint; null where they are not in groups."""


class WorkloadPart(TypedDict):
    """The work of one round; only ``hash`` where nothing was generated."""

    hash: str
    """Hash of the work on this kind of engine."""
    requests: NotRequired[str]
    """Hash of the requests only."""
    input_tokens: NotRequired[Count]
    """Of the longest prompt."""
    output_tokens: NotRequired[Count]
    """Of the longest request."""
    input_lengths: NotRequired[list[Count]]
    """Prompt tokens of each request of the batch, where the test gave ``prompts`` or several lengths."""
    output_lengths: NotRequired[list[Count]]
    temperature: NotRequired[float]
    """Of sampling; decoding is greedy without it."""
    prefix_tokens: NotRequired[Count]
    """Tokens that all prompts of all rounds begin with, to be taken from the prefix cache."""
    cached_tokens: NotRequired[Count]
    """Of them, those that were: the fewest of a request."""
    seed: NotRequired[Count]
    """Of sampling."""
    batch_size: NotRequired[Count]
    rounds: NotRequired[Count]
    """Measured rounds."""
    precision: NotRequired[Share]
    """The share of the median to which it had to be known, if the rounds went on for that."""
    max_time: NotRequired[float]
    """Seconds that such rounds were allowed to take."""
    warmup: NotRequired[Count]
    words_as_ids: NotRequired[bool]
    """True if there is no tokenizer (random weights): each word of the prompt is an arbitrary id."""


class MetricPart(TypedDict):
    """A metric and its statistics; numbers are in ``unit``."""

    unit: str
    better: Literal["lower", "higher"]
    kind: Literal["timing", "exact", "quality"]
    n: Count
    mean: float
    min: float
    max: float
    p50: float
    p90: float
    p95: float
    p99: float
    half_interval: NotRequired[float | None]
    """Reach of the 95 % interval of the median over rounds, as a share of it; null if unknown."""
    imprecise: NotRequired[bool]
    """True if the rounds ended before that was as small as ``workload.precision``."""
    samples: list[float]
    """Empty for a metric with one sample per token, unless ``--llm-metrics`` names it."""


class AcceleratorPart(TypedDict):
    """A device as the engine's framework reports it."""

    name: str
    memory_mib: NotRequired[int]
    cuda: NotRequired[str | None]
    driver: NotRequired[str | None]


class GpuPart(TypedDict):
    """A GPU as the driver reports it; None where it does not."""

    name: str | None
    memory_mib: NotRequired[int | None]
    mig: NotRequired[bool | None]
    power_limit_w: NotRequired[float | None]
    clock_limit_mhz: NotRequired[int | None]
    driver: NotRequired[str | None]
    ecc: NotRequired[bool | None]


class ConditionsPart(TypedDict, total=False):
    """Other activity on the machine while the rounds ran."""

    steal_share: float
    other_cores: float
    swapped_mib: float
    in_turns: float
    """Share of the rounds that alternated with those of another engine (``pytest-llmperf ab``)."""
    throttling: list[str]
    other_gpu_processes: int
    sm_clock_mhz: list[int | None]
    """Before and after the rounds."""
    temperature_c: list[int | None]


class CanaryPart(TypedDict, total=False):
    """Seconds of a reference work, before and after."""

    compute_s: list[float]
    copy_s: list[float]


class EnergyPart(TypedDict, total=False):
    """Energy of all rounds, or ``unavailable`` with the reason."""

    source: str
    joules: float
    seconds: float
    mean_w: float
    error_share: float
    idle_w: float
    gpus: int
    cpu_joules: float
    unavailable: str


class CeilingsPart(TypedDict):
    """The ceilings that ``mbu`` and ``mfu`` are shares of."""

    read_bytes_per_s: float | None
    matmul_flops: float | None
    dtype: str | None
    threads: int | None
    method: str
    disturbed: NotRequired[bool]
    read_by: NotRequired[str]
    """Whose ``read_bytes_per_s`` is, if ``method`` did not measure it."""
    matmul_by: NotRequired[str]
    measured_read_bytes_per_s: NotRequired[float]
    """The lower rate that ``method`` measured, if ``read_by`` is there."""
    measured_matmul_flops: NotRequired[float]


class EnvironmentPart(TypedDict):
    """The machine, the software and the conditions of a measurement."""

    device: str
    cpu: NotRequired[str]
    cores: NotRequired[int]
    memory_mib: NotRequired[int]
    os: NotRequired[str]
    python: NotRequired[str]
    host: NotRequired[str]
    governor: NotRequired[str]
    threads: NotRequired[int | None]
    packages: NotRequired[dict[str, str]]
    variables: NotRequired[dict[str, str]]
    """Environment variables that change the engine's speed; secrets are masked."""
    accelerators: NotRequired[list[AcceleratorPart]]
    gpus: NotRequired[list[GpuPart]]
    conditions: NotRequired[ConditionsPart]
    canary: NotRequired[CanaryPart]
    energy: NotRequired[EnergyPart]
    ceilings: NotRequired[CeilingsPart]
    hourly_cost: NotRequired[float]


class RunPart(TypedDict):
    """The pytest run, the same for all its measurements."""

    run_id: str
    started_at: str
    """UTC, ISO 8601."""
    commit: str | None
    dirty: bool | None
    job_id: NotRequired[str | None]
    """The CI job; None outside CI."""
    branch: NotRequired[str | None]
    """By git, else by the CI; None where neither names one."""
    engine: NotRequired[int]
    """Number of the engine process in the run, from 1."""


class DocumentPart(TypedDict):
    """A document of a scored text (``metrics.quality.DocumentQuality``)."""

    tokens: int
    nll: float
    choices: NotRequired[int]
    kl: NotRequired[float | None]
    agreement: NotRequired[float | None]
    reference_nll: NotRequired[float | None]


class TextPart(TypedDict):
    """The text that was scored."""

    name: str
    sha256: str


class QualityPart(TypedDict):
    """A scored text, document by document."""

    text: TextPart
    documents: list[DocumentPart]
    reference: NotRequired[dict[str, Any] | None]
    """The engine whose distributions ``kl`` and ``agreement`` compare with."""


class FloorPart(TypedDict):
    """The check of the engine's output before the measurement, where it was not the usual one."""

    check: Literal["on", "off"]
    text: NotRequired[TextPart]
    """A text of the user's own that it was checked with."""
    agrees_with: NotRequired[str]
    """Another engine that predicts the shipped text as badly, and alike."""
    unchecked: NotRequired[bool]
    """True if the output could not be checked; the engine's log has the error."""


class Record(TypedDict):
    """A measurement: the primary entry's ``extra_info["llmperf"]``."""

    schema: int
    nodeid: str
    cell: NotRequired[str]
    """MODEL-BACKEND-MODE and traits, the first part of the test's parameters."""
    parameters: NotRequired[dict[str, str]]
    """The test's other parameters by name, if each of them is a number or a text."""
    model: ModelPart
    backend: BackendPart
    quantization: QuantizationPart
    workload: WorkloadPart
    metrics: dict[str, MetricPart]
    environment: EnvironmentPart
    run: RunPart
    gate: NotRequired[dict[str, Share | dict[str, Share]]]
    """``min_effect`` and ``must_see`` of the test: a share, or shares by metric."""
    quality: NotRequired[QualityPart]
    floor: NotRequired[FloorPart]


class Sibling(TypedDict):
    """The entry of one metric: ``extra_info["llmperf"]`` beside its primary entry."""

    parent: str
    """``fullname`` of the primary entry."""
    metric: str
    unit: str
    better: Literal["lower", "higher"]


class CommitPart(TypedDict, total=False):
    """The part of pytest-benchmark's ``commit_info`` that is read."""

    branch: str | None


class RejectedPart(TypedDict):
    """An entry that regressed, by the gate's verdict at the end of its run."""

    nodeid: str
    metric: str


class GatePart(TypedDict, total=False):
    """``llmperf_gate`` of a file: the verdict of its run."""

    summary: str
    regressions: list[RejectedPart]


def statistic(metric: MetricPart, name: str) -> float:
    """Return one statistic of a metric (``mean``, ``p95``), in its unit."""
    return float(cast("Mapping[str, Any]", metric)[name])
