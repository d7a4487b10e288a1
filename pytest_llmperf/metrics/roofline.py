"""The roofline: the share of this machine's measured ceilings that a measurement reached. Pure maths.

docs/why/roofline.md has the formulas, and what they leave out.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.architecture import Architecture
from ..core.units import MIB
from .rounds import step_time
from .samples import Metric, metric

if TYPE_CHECKING:
    from ..core.engine import EngineInfo
    from ..core.trace import RequestTrace, RoundTrace


@dataclass(frozen=True)
class Ceilings:
    """The highest rates that were measured on one device, for any engine on it."""

    read: tuple[tuple[int, float], ...]
    """(bytes of a buffer, bytes/s of reading it over and over), smallest buffer first."""
    matmul: Mapping[str, float]
    """FLOP/s of a matrix product by type, as torch names it."""
    threads: int | None
    """Threads of the measurement; None on a GPU."""
    method: str
    """The library that measured, for instance ``torch 2.13.0``."""
    disturbed: bool = False
    """Whether something else ran while they were measured, so that they may be too low."""

    def read_rate(self, size: float) -> float | None:
        """Return bytes/s of reading ``size`` bytes over and over; None below the smallest buffer.

        A buffer that fits a cache is read faster than one that does not, and so are weights. The
        rate is the best of all buffers from the largest that is no larger than ``size``.
        """
        begin = max((buffer for buffer, _ in self.read if buffer <= size), default=None)
        if begin is None:
            return None
        return max(rate for buffer, rate in self.read if buffer >= begin)

    def matmul_rate(self, dtype: str) -> float | None:
        """Return FLOP/s of a type; None where it was not measured.

        Every value of a 16-bit type is one of float32 too, so an engine may compute in that: where
        it is faster (CPUs without matrix instructions) it is the ceiling.
        """
        if dtype not in self.matmul:
            return None
        return max(self.matmul[dtype], self.matmul.get("float32", 0.0))

    def to_wire(self) -> dict[str, Any]:
        return {
            "read": [list(pair) for pair in self.read],
            "matmul": dict(self.matmul),
            "threads": self.threads,
            "method": self.method,
        }

    @classmethod
    def from_wire(cls, data: Mapping[str, Any]) -> Ceilings:
        """Read what ``to_wire`` gives.

        Raises:
            KeyError, TypeError, ValueError: the data is something else.
        """
        return cls(
            read=tuple((int(size), float(rate)) for size, rate in data["read"]),
            matmul={str(name): float(rate) for name, rate in data["matmul"].items()},
            threads=data["threads"],
            method=str(data["method"]),
        )


@dataclass(frozen=True)
class Roof:
    """The ceilings of one loaded engine; a rate is None where it is unknown."""

    read_bytes_per_s: float | None
    matmul_flops: float | None
    dtype: str | None
    """Type of ``matmul_flops``."""
    threads: int | None
    method: str
    disturbed: bool = False

    def to_record(self) -> dict[str, Any]:
        """Return ``environment.ceilings`` of the stored record."""
        return ({"disturbed": True} if self.disturbed else {}) | {
            "read_bytes_per_s": self.read_bytes_per_s,
            "matmul_flops": self.matmul_flops,
            "dtype": self.dtype,
            "threads": self.threads,
            "method": self.method,
        }


@dataclass(frozen=True)
class RooflineModel:
    """The sizes of a loaded model that a roofline needs."""

    architecture: Architecture
    weight_bytes: float
    """Bytes of all weights, over all devices, quantization constants included."""
    parameters: int | None
    embedding_bytes: float | None
    """Bytes of the input embedding table; None where the engine does not report it."""
    cache_value_bytes: float
    """Bytes of one number in the key-value cache."""
    arithmetic: str | None
    """Floating-point type of its matrix products; None for integers, a mixture, or unknown."""
    devices: int = 1
    """Number of GPUs that share the model."""
    speculation: bool = False
    """Whether a step may give several tokens."""

    @classmethod
    def of(cls, info: EngineInfo) -> RooflineModel | None:
        """Return the sizes; None where the engine does not report its architecture."""
        if info.architecture is None:
            return None
        return cls(
            architecture=info.architecture,
            weight_bytes=info.memory.get("model_memory", 0.0) * MIB,
            parameters=info.parameters,
            embedding_bytes=info.embedding_bytes,
            cache_value_bytes=info.cache_value_bytes,
            arithmetic=info.arithmetic,
            devices=info.devices,
            speculation=info.speculation,
        )

    @property
    def dense(self) -> bool:
        """Return whether every token uses every weight; in a mixture of experts the router picks."""
        return self.architecture.experts == 1

    @property
    def step_weight_bytes(self) -> float | None:
        """Bytes of weights that a decode step reads, once for its whole batch.

        All of them but the embedding table, of which a token takes one row; unless that table is the
        output layer too, which is read as a whole.
        """
        if not self.dense or not self.weight_bytes:
            return None
        if self.architecture.tied:
            return self.weight_bytes
        if self.embedding_bytes is None:
            return None
        return self.weight_bytes - self.embedding_bytes

    @property
    def cache_bytes_per_token(self) -> float:
        """Bytes of the key-value cache for one token of context."""
        return self.architecture.kv_bytes_per_token(self.cache_value_bytes)

    def prompt_flops(self, tokens: int) -> float | None:
        """Return the floating-point operations of a prompt until its first output token.

        A multiplication and an addition per weight and token; the output layer for the last token
        only. Attention: a product with the keys and one with the values, for each token and those
        before it (none that a causal mask or a window hides).
        """
        shape = self.architecture
        if not self.dense or not self.parameters:
            return None
        table = shape.embedding_parameters
        layers = self.parameters - (table if shape.tied else 2 * table)
        attention = 4 * shape.layers * shape.heads * shape.head_dim
        seen = _sum_of_contexts(1, tokens, shape.window)
        return 2.0 * layers * tokens + 2.0 * table + attention * seen

    def roof(self, ceilings: Ceilings, device: str) -> Roof:
        """Return the ceilings that this engine can be compared with.

        They are those of one GPU times the number of GPUs, each of which has its share of the weights.
        Several processes on one CPU share its memory in a way that was not measured: no ceiling.
        """
        shared = self.devices > 1 and device == "cpu"
        size = self.step_weight_bytes
        read = None if size is None or shared else ceilings.read_rate(size / self.devices)
        known = self.dense and self.parameters and self.arithmetic and not shared
        matmul = ceilings.matmul_rate(self.arithmetic) if known and self.arithmetic else None
        return Roof(
            read_bytes_per_s=read and read * self.devices,
            matmul_flops=matmul and matmul * self.devices,
            dtype=self.arithmetic if matmul else None,
            threads=ceilings.threads,
            method=ceilings.method,
            disturbed=ceilings.disturbed,
        )


def utilization(
    rounds: Sequence[RoundTrace], model: RooflineModel, roof: Roof
) -> dict[str, Metric]:
    """Return ``mbu`` and ``mfu``, one sample per round, as far as they are known.

    One sample per round and not per request: the requests of a batch share every step, so their
    utilization is one number, and a sample per request would only repeat it.
    """
    bandwidth, rate = roof.read_bytes_per_s, roof.matmul_flops
    reads = [_bytes_per_second(r, model) for r in rounds]
    computes = [_flops_per_second(r, model) for r in rounds]
    shares = {
        "mbu": metric("mbu", [x / bandwidth for x in reads if x] if bandwidth else []),
        "mfu": metric("mfu", [x / rate for x in computes if x] if rate else []),
    }
    return {key: value for key, value in shares.items() if value is not None}


def _bytes_per_second(round_: RoundTrace, model: RooflineModel) -> float | None:
    """Return the reading rate of a round's decoding: bytes of a mean step over a median step's time."""
    weights = model.step_weight_bytes
    times = [step_time(r, model.speculation) for r in round_.requests]
    decoding = [r for r, time in zip(round_.requests, times, strict=True) if time]
    if weights is None or not decoding:
        return None
    step = statistics.median(time for time in times if time)
    context = statistics.fmean(_mean_context(r, model.architecture.window) for r in decoding)
    return (weights + _together(decoding) * context * model.cache_bytes_per_token) / step


def _flops_per_second(round_: RoundTrace, model: RooflineModel) -> float | None:
    """Return the operations of a round's prompts over the time until the last one's first token."""
    operations = [model.prompt_flops(r.input_tokens) for r in round_.requests]
    begin = min(r.submitted for r in round_.requests)
    end = max(r.first for r in round_.requests)
    return sum(x for x in operations if x) / (end - begin)


def _together(requests: Sequence[RequestTrace]) -> float:
    """Return the mean number of requests that share a step: the batch, unless the engine splits it."""
    covered, until = 0.0, -float("inf")
    for begin, end in sorted((r.first, r.last) for r in requests):
        covered += max(0.0, end - max(begin, until))
        until = max(until, end)
    return sum(r.last - r.first for r in requests) / covered


def _mean_context(request: RequestTrace, window: int | None) -> float:
    """Return the tokens of context in a request's mean decode step, the step's own token included.

    The step that makes output token k + 1 reads the keys and values of the prompt and of k - 1 output
    tokens, and writes those of the k-th: prompt + k. Over k from 1 to n - 1 that is prompt + n / 2.
    Steps before the end of the first chunk are not part of tpot, so they are not part of this mean.
    """
    first, last = request.counts[0], request.output_tokens - 1
    begin, end = request.input_tokens + first, request.input_tokens + last
    return _sum_of_contexts(begin, end, window) / (last - first + 1)


def _sum_of_contexts(begin: int, end: int, window: int | None) -> float:
    """Return the sum of min(n, window) over n from ``begin`` to ``end``."""
    if window is None or end <= window:
        return (begin + end) * (end - begin + 1) / 2
    if begin > window:
        return float(window * (end - begin + 1))
    return _sum_of_contexts(begin, window, None) + window * (end - window)
