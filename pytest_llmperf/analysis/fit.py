"""The memory that the modes of a model need on a GPU, at a batch and length. Pure maths, in MiB.

docs/why/energy.md has the formulas, and compares the estimates with measurements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..core.architecture import Architecture
from ..core.quantization import MODES
from ..core.traits import devices_of
from ..core.units import MIB
from ..store.schema import Record
from ..store.stored import cell_name
from .marks import Marks, marks_of

CONTEXT = 512.0
"""The CUDA context with its loaded kernels, which no allocator counts."""
WORKSPACE = 32.0
"""cuBLAS's workspace on Hopper; it is smaller on older GPUs."""
POOL_ENGINE_REST = 512.0
"""Activations and graphs of an engine with a pool: vLLM took 290 to 410 on an H100."""
ESTIMATED_ENGINE = "transformers"
"""The engine whose modes are estimated if the run has not measured them."""

_PEAK = "peak_memory"
_LOGIT_BYTES = 6
"""Two in the compute type, and four for the float32 copy that the next token is chosen from."""


@dataclass(frozen=True)
class MeasuredCell:
    """The memory of one measurement."""

    model: str
    backend: str
    mode: str
    traits: tuple[str, ...]
    """What else is in the cell's id (``tp2``, ``kvfp8``)."""
    device: str
    dtype: str
    architecture: Architecture | None
    parameters: int | None
    batch: int
    input_tokens: int
    output_tokens: int
    model_memory: float | None
    peak_memory: float
    pool: float
    """Reserved key-value pool; 0 without one."""
    by_driver: bool
    """The peak on a GPU is the driver's count, which includes the CUDA context."""
    cache_value_bytes: float | None = None
    """Bytes of a number in the key-value cache; None: those of the compute type."""
    marks: Marks = ()
    """Disturbances that make the measured memory doubtful."""

    @property
    def tokens(self) -> int:
        """Tokens of one request, prompt and output."""
        return self.input_tokens + self.output_tokens

    @property
    def name(self) -> str:
        """The cell's id without the model."""
        return "-".join((self.backend, self.mode, *self.traits))

    @property
    def value_bytes(self) -> int:
        """Bytes of a number that is not quantized."""
        return 4 if self.dtype == "float32" else 2

    @property
    def kv_cache(self) -> float | None:
        """The key-value cache that this batch and length fill."""
        if self.architecture is None:
            return None
        of_cache = self.cache_value_bytes
        value_bytes = self.value_bytes if of_cache is None else of_cache
        return kv_mib(self.architecture, self.batch, self.tokens, value_bytes)


@dataclass(frozen=True)
class Need:
    """The memory that one mode of a model needs on a GPU; None where that is not known."""

    model: str
    name: str
    batch: int
    tokens: int
    weights: float | None
    kv_cache: float | None
    """MiB of the key-value cache; None: in ``rest``, or not known."""
    rest: float | None
    """Activations, workspace and the CUDA context."""
    total: float | None
    source: Literal["measured", "estimated"]
    marks: Marks = ()
    """Disturbances that make the measured memory doubtful."""

    def margin(self, size: float) -> float | None:
        """Return the memory that is left on a GPU of a size; below 0 the mode does not fit."""
        return None if self.total is None else size - self.total


def measured_cells(records: Iterable[Record]) -> list[MeasuredCell]:
    """Return the memory of every record that has measured rounds."""
    measured = [record for record in records if _PEAK in record["metrics"]]
    return [_measured(*pair) for pair in zip(measured, marks_of(measured), strict=True)]


def _measured(record: Record, marks: Marks) -> MeasuredCell:
    model, backend, workload = record["model"], record["backend"], record["workload"]
    metrics, name = record["metrics"], cell_name(record)
    architecture = model.get("architecture")
    memory = metrics.get("model_memory")
    pool = metrics.get("kv_cache_memory")
    return MeasuredCell(
        model=model["name"],
        backend=name.backend,
        mode=record["quantization"]["mode"],
        traits=name.traits,
        device=record["environment"]["device"],
        dtype=model["dtype"],
        architecture=Architecture(**architecture) if architecture else None,
        parameters=model["parameters"],
        batch=workload["batch_size"],
        input_tokens=workload["input_tokens"],
        output_tokens=workload["output_tokens"],
        model_memory=memory["p50"] if memory else None,
        peak_memory=metrics[_PEAK]["p50"],
        pool=pool["p50"] if pool else 0.0,
        by_driver=backend.get("peak_by_driver", False),
        cache_value_bytes=backend.get("cache_value_bytes"),
        marks=tuple(mark for mark in marks if mark.spoils({_PEAK})),
    )


def needs(cells: Sequence[MeasuredCell]) -> list[Need]:
    """Return the need of every measured mode at its largest batch and length, model by model.

    The modes of transformers that were not measured follow their model's, estimated for the largest
    batch and length of all.
    """
    all_needs = []
    for model in dict.fromkeys(cell.model for cell in cells):
        of_model = [cell for cell in cells if cell.model == model]
        names = dict.fromkeys(cell.name for cell in of_model)
        largest = [_largest(cell for cell in of_model if cell.name == name) for name in names]
        all_needs += [need_of(cell) for cell in largest]
        known = [cell for cell in of_model if cell.architecture and cell.parameters]
        if known:
            all_needs += _unmeasured_modes(_largest(known), names)
    return all_needs


def need_of(cell: MeasuredCell) -> Need:
    """Return the need of a measured cell: its measured peak on a GPU, an estimate if it ran on a CPU."""
    if cell.device == "cpu":
        return _estimated(cell, cell.name, cell.mode, cell.model_memory)
    kv = cell.kv_cache
    total = None
    # Without the size of the weights, an engine that reports no pool may have one.
    if cell.model_memory is not None and (kv is not None or not cell.pool):
        context = 0.0 if cell.by_driver else CONTEXT
        total = cell.peak_memory + context
        if cell.pool:
            total += (kv or 0.0) - cell.pool
    # No GPU of those that share a model holds all of it.
    source: Literal["measured", "estimated"] = (
        "estimated" if devices_of(cell.traits) else "measured"
    )
    return _need(cell, cell.name, cell.model_memory, kv, total, source)


def weights_mib(
    architecture: Architecture, parameters: int, mode: str, value_bytes: int = 2
) -> float | None:
    """Return the weights of a model that bitsandbytes quantizes; None where that is not known.

    Embeddings and output layer stay as they are, and so do norms and biases, which are too few to
    count.

    Args:
        parameters: parameters of the whole model.
        value_bytes: bytes of a weight that is not quantized.
    """
    if mode == "none":
        return parameters * value_bytes / MIB
    # The experts of one layer are one tensor there, which bitsandbytes does not quantize.
    if mode not in MODES or architecture.experts > 1:
        return None
    kept = architecture.embedding_parameters * (1 if architecture.tied else 2)
    linear = parameters - kept
    size = kept * value_bytes + linear * MODES[mode].bytes_per_weight
    size += linear / architecture.hidden * MODES[mode].row_bytes
    return size / MIB


def kv_mib(architecture: Architecture, batch: int, tokens: int, value_bytes: float = 2) -> float:
    """Return the key-value cache of a batch, each request that many tokens long."""
    return batch * architecture.seen(tokens) * architecture.kv_bytes_per_token(value_bytes) / MIB


def activations_mib(cell: MeasuredCell, architecture: Architecture, mode: str) -> float:
    """Return the memory on top of weights and cache at the peak, for an engine without a pool.

    The peak is either the prompt's, when the cache is short and a feed-forward block's activations
    (and, quantized, the matrix that is dequantized for them) are large, or that of the last token,
    when one layer's keys exist twice while a token is added to them.
    """
    hidden, layers = architecture.hidden, architecture.layers
    block = _feed_forward_parameters(architecture, cell.parameters)
    # Two matrices or three: half of them is at least one.
    row = (block / hidden + 4 * hidden) * cell.value_bytes
    prompt = cell.batch * cell.input_tokens * row / MIB
    if mode != "none":
        prompt += block / 2 * cell.value_bytes / MIB
    cache = kv_mib(architecture, cell.batch, cell.tokens, cell.value_bytes)
    filled = kv_mib(architecture, cell.batch, cell.input_tokens, cell.value_bytes)
    peak = max(filled + prompt, cache + cache / (2 * layers)) - cache
    return WORKSPACE + peak + cell.batch * architecture.vocabulary * _LOGIT_BYTES / MIB


def _feed_forward_parameters(architecture: Architecture, parameters: int | None) -> float:
    """Return the parameters of the feed-forward block that a token uses in a layer."""
    hidden = architecture.hidden
    if not parameters:
        return 12.0 * hidden * hidden
    kept = architecture.embedding_parameters * (1 if architecture.tied else 2)
    heads = architecture.heads + architecture.kv_heads
    attention = 2 * hidden * heads * architecture.head_dim
    layer = (parameters - kept) / architecture.layers
    return max(0.0, layer - attention) / architecture.experts


def _largest(cells: Iterable[MeasuredCell]) -> MeasuredCell:
    return max(cells, key=lambda cell: cell.batch * cell.tokens)


def _unmeasured_modes(like: MeasuredCell, measured: Iterable[str]) -> list[Need]:
    """Return estimates for a model's modes, with its parameters and sizes as one cell has them."""
    estimates = []
    if like.backend != ESTIMATED_ENGINE:
        # llama.cpp and CTranslate2 compute in float32 where transformers would not.
        like = replace(like, dtype="bfloat16", cache_value_bytes=None)
    if like.traits:
        # The modes are estimated as they are by default.
        like = replace(like, cache_value_bytes=None)
    for mode in MODES:
        name = f"{ESTIMATED_ENGINE}-{mode}"
        if like.architecture is None or like.parameters is None or name in measured:
            continue
        weights = weights_mib(like.architecture, like.parameters, mode, like.value_bytes)
        if weights is not None:
            estimates.append(_estimated(like, name, mode, weights))
    return estimates


def _estimated(cell: MeasuredCell, name: str, mode: str, weights: float | None) -> Need:
    kv, total = cell.kv_cache, None
    if cell.architecture is not None and kv is not None and weights is not None:
        pooled = cell.pool and name == cell.name
        rest = POOL_ENGINE_REST if pooled else activations_mib(cell, cell.architecture, mode)
        total = weights + kv + rest + CONTEXT
    return _need(cell, name, weights, kv, total, "estimated")


def _need(
    cell: MeasuredCell,
    name: str,
    weights: float | None,
    kv: float | None,
    total: float | None,
    source: Literal["measured", "estimated"],
) -> Need:
    rest = None if total is None or weights is None else total - weights - (kv or 0.0)
    marks = cell.marks if source == "measured" else ()
    return Need(cell.model, name, cell.batch, cell.tokens, weights, kv, rest, total, source, marks)
