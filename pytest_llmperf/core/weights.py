"""The weights of a loaded model as they are in memory: what the engine runs, whatever was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Weights:
    """The weights of linear layers, experts included; not embeddings, output layer, norms and biases.

    Counted as they are after the first forward pass, so that weights which an engine unpacks for it
    are counted unpacked.
    """

    linear_parameters: int
    """Number of weights, as the unquantized model has them."""
    linear_bytes: float
    """Bytes of these weights, with their quantization constants."""
    unquantized_share: float = 0.0
    """Share of these weights, 0 to 1, in a floating-point type of at least 16 bits."""
    unquantized_type: str | None = None
    """Name of that type in torch, for instance ``bfloat16``; None where the share is 0."""
    places: Mapping[str, float] = field(default_factory=dict)
    """MiB of all weights by place: a device (``cpu``, ``cuda:0``) or ``disk``."""

    @property
    def linear_bits(self) -> float:
        """Bits of a linear weight, its share of the quantization constants included."""
        return self.linear_bytes * 8 / self.linear_parameters
