"""The roofline: the share of this machine's ceilings that a measurement reached. Pure maths.

docs/why/roofline.md has the formulas, and what they leave out.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.architecture import Architecture
from ..core.units import MIB
from .ceilings import Ceilings, Faster, Roof
from .rounds import gaps, step_time
from .samples import Metric, known

if TYPE_CHECKING:
    from ..core.engine import EngineInfo
    from ..core.trace import RequestTrace, RoundTrace


_LEAST_GAPS = 3
"""Gaps between tokens that a request needs for its rate of reading to be a ceiling."""


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

    def prompt_flops(self, tokens: int, cached: int = 0) -> float | None:
        """Return the floating-point operations of a prompt until its first output token.

        Args:
            tokens: of the prompt.
            cached: those from the beginning that came from a cache, and so were not computed.

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
        seen = _sum_of_contexts(1, tokens, shape)
        if cached:
            seen -= _sum_of_contexts(1, cached, shape)
        return 2.0 * layers * (tokens - cached) + 2.0 * table + attention * seen

    def roof(self, ceilings: Ceilings, device: str) -> Roof:
        """Return the ceilings that this engine can be compared with.

        They are those of one GPU times the number of GPUs, each of which has its share of the weights.
        Several processes on one CPU share its memory in a way that was not measured: no ceiling.
        """
        size, dtype = self._read_size(device), self._product_type(device)
        return Roof.of(
            read=None if size is None else ceilings.read_rate(size),
            matmul=None if dtype is None else ceilings.matmul_rate(dtype),
            dtype=dtype,
            devices=self.devices,
            ceilings=ceilings,
        )

    def raised(self, ceilings: Ceilings, device: str, rates: Rates, by: str) -> Ceilings:
        """Return the ceilings, raised where this engine was faster.

        What was read at a rate raises the ceiling of weights of about that size and of smaller ones,
        a product that of its type.

        Args:
            rates: of all the engine's devices together.
            by: whose rates they are.
        """
        roof, raised = self.roof(ceilings, device), ceilings
        size = self._read_size(device)
        buffer = None if size is None else ceilings.bracket(size)
        if buffer is not None and _is_above(read := rates.sustained_read, roof.read_bytes_per_s):
            raised = raised.raised(read={buffer: Faster(read / self.devices, by)})
        if roof.dtype and _is_above(matmul := rates.sustained_matmul, roof.matmul_flops):
            raised = raised.raised(matmul={roof.dtype: Faster(matmul / self.devices, by)})
        return raised

    def _shares_a_cpu(self, device: str) -> bool:
        return self.devices > 1 and device == "cpu"

    def _read_size(self, device: str) -> float | None:
        """Return the bytes that one device reads in a step; None where there is no ceiling for them."""
        size = self.step_weight_bytes
        return None if size is None or self._shares_a_cpu(device) else size / self.devices

    def _product_type(self, device: str) -> str | None:
        """Return the type of products; None where there is no ceiling for them."""
        known = self.dense and self.parameters and not self._shares_a_cpu(device)
        return self.arithmetic if known else None


@dataclass(frozen=True)
class Rates:
    """The rates that the rounds of a measurement reached, over all devices; empty where unknown."""

    read: tuple[float, ...]
    """bytes/s of decoding, one per round that decoded."""
    matmul: tuple[float, ...]
    """FLOP/s of the prompts, one per round."""
    steady_read: tuple[float, ...]
    """Rates of reading that are sure enough to be a ceiling, one per round that has one."""

    @classmethod
    def of(cls, rounds: Sequence[RoundTrace], model: RooflineModel) -> Rates:
        """Return the rates of measured rounds.

        One per round and not per request: the requests of a batch share every step, so their
        utilization is one number, and a sample per request would only repeat it.
        """
        return cls(
            read=tuple(x for r in rounds if (x := _bytes_per_second(r, model))),
            matmul=tuple(x for r in rounds if (x := _flops_per_second(r, model))),
            steady_read=tuple(x for r in rounds if (x := _steady_bytes_per_second(r, model))),
        )

    @property
    def sustained_read(self) -> float:
        return _sustained(self.steady_read)

    @property
    def sustained_matmul(self) -> float:
        return _sustained(self.matmul)

    def exceed(self, roof: Roof) -> bool:
        """Return whether a rate that was sustained is above its ceiling."""
        return _is_above(self.sustained_read, roof.read_bytes_per_s) or _is_above(
            self.sustained_matmul, roof.matmul_flops
        )

    def shares(self, roof: Roof) -> dict[str, Metric]:
        """Return ``mbu`` and ``mfu``, one sample per round, as far as they are known.

        A ceiling is a rate that was sustained. A round that seems faster is at the ceiling: 1.
        """
        pairs = {"mbu": (self.read, roof.read_bytes_per_s), "mfu": (self.matmul, roof.matmul_flops)}
        return known(
            {
                key: [min(1.0, rate / ceiling) for rate in rates] if ceiling else []
                for key, (rates, ceiling) in pairs.items()
            }
        )


@dataclass(frozen=True)
class Reached:
    """What a measurement has reached on a device."""

    model: RooflineModel
    device: str
    """As in ``EngineInfo.device``."""
    rates: Rates
    by: str
    """The measurement in words: ``reached by ENGINE in TEST``."""

    def roof(self, ceilings: Ceilings) -> Roof:
        """Return the ceilings that its shares are of."""
        return self.model.roof(ceilings, self.device)

    def exceeds(self, ceilings: Ceilings) -> bool:
        """Return whether it sustained a rate above its ceiling."""
        return self.rates.exceed(self.roof(ceilings))

    def raised(self, ceilings: Ceilings) -> Ceilings:
        """Return the ceilings, raised where it was faster."""
        return self.model.raised(ceilings, self.device, self.rates, self.by)


def utilization(
    rounds: Sequence[RoundTrace], model: RooflineModel, roof: Roof
) -> dict[str, Metric]:
    """Return ``mbu`` and ``mfu`` of measured rounds, as ``Rates.shares`` does."""
    return Rates.of(rounds, model).shares(roof)


def _is_above(rate: float, ceiling: float | None) -> bool:
    return ceiling is not None and rate > ceiling


def _sustained(rates: Sequence[float]) -> float:
    """Return the rate that at least half of the rounds reached: never a single fast one of several.

    0 without rounds.
    """
    return statistics.median_low(rates) if rates else 0.0


def _bytes_per_second(round_: RoundTrace, model: RooflineModel) -> float | None:
    """Return the reading rate of a round's decoding: bytes of a mean step over a median step's time."""
    size, step = _bytes_per_step(round_, model), _step(round_, model)
    return size / step if size and step else None


def _steady_bytes_per_second(round_: RoundTrace, model: RooflineModel) -> float | None:
    """Return a reading rate that a first token which was seen late cannot raise; None if unsure.

    The tokens after such a one seem to have taken less time. Of three gaps or more, the median one
    is none of those that are too short.
    """
    size, step = _bytes_per_step(round_, model), _step(round_, model)
    decoding = [r for r in round_.requests if step_time(r, model.speculation)]
    if not size or not step or min(len(r.times) for r in decoding) <= _LEAST_GAPS:
        return None
    steps = [
        gap if model.speculation else gap / n
        for r in decoding
        for gap, n in zip(gaps(r), r.counts[1:], strict=True)
    ]
    return size / max(step, statistics.median(steps))


def _step(round_: RoundTrace, model: RooflineModel) -> float | None:
    """Return the seconds of a round's median decode step; None without one."""
    values = [value for r in round_.requests if (value := step_time(r, model.speculation))]
    return statistics.median(values) if values else None


def _bytes_per_step(round_: RoundTrace, model: RooflineModel) -> float | None:
    """Return the bytes that a round's mean decode step reads."""
    weights = model.step_weight_bytes
    times = [step_time(r, model.speculation) for r in round_.requests]
    decoding = [r for r, time in zip(round_.requests, times, strict=True) if time]
    if weights is None or not decoding:
        return None
    # A request of more tokens takes part in more steps.
    contexts = [_mean_context(r, model.architecture) for r in decoding]
    context = statistics.fmean(contexts, weights=[r.last - r.first for r in decoding])
    return weights + _together(decoding) * context * model.cache_bytes_per_token


def _flops_per_second(round_: RoundTrace, model: RooflineModel) -> float | None:
    """Return the operations of a round's prompts over the time until the last one's first token."""
    operations = [model.prompt_flops(r.input_tokens, r.cached_tokens) for r in round_.requests]
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


def _mean_context(request: RequestTrace, shape: Architecture) -> float:
    """Return the tokens of context in a request's mean decode step, the step's own token included.

    The step that makes output token k + 1 reads the keys and values of the prompt and of k - 1 output
    tokens, and writes those of the k-th: prompt + k. Over k from 1 to n - 1 that is prompt + n / 2.
    Steps before the end of the first chunk are not part of tpot, so they are not part of this mean.
    """
    first, last = request.counts[0], request.output_tokens - 1
    begin, end = request.input_tokens + first, request.input_tokens + last
    return _sum_of_contexts(begin, end, shape) / (last - first + 1)


def _sum_of_contexts(begin: int, end: int, shape: Architecture) -> float:
    """Return the sum of the tokens that attention sees of n, over n from ``begin`` to ``end``."""
    share = shape.window_share
    everything = _sum_up_to(begin, end, None)
    return everything + share * (_sum_up_to(begin, end, shape.window) - everything)


def _sum_up_to(begin: int, end: int, window: int | None) -> float:
    """Return the sum of min(n, window) over n from ``begin`` to ``end``."""
    if window is None or end <= window:
        return (begin + end) * (end - begin + 1) / 2
    if begin > window:
        return float(window * (end - begin + 1))
    return _sum_up_to(begin, window, None) + window * (end - window)
