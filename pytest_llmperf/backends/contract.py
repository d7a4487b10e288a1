"""The expectations of ``tests/engines`` for an engine on the embedded model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Contract:
    """The expectations that differ between engines; each engine's class has one."""

    foreign_mode: str = "nf4"
    """A quantization mode that no installation of the engine can run."""
    weights_mib: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Bounds of ``model_memory`` by quantization mode."""
    products: Mapping[str, tuple[str | None, float]] = field(default_factory=dict)
    """By quantization mode: the type of the matrix products, as in ``EngineInfo.arithmetic``, and the
    bytes per weight in the embedding table."""
    whole_batches: bool = True
    """Whether the requests of a batch start in the same step; otherwise one or more steps later."""
    cache_value_bytes: float = 2
    """Bytes of one number in the key-value cache on a CPU."""


BITSANDBYTES_MIB = {
    "none": (256.0, 259.0),
    "int8": (155.0, 158.0),
    "fp4": (110.0, 113.0),
    "nf4": (110.0, 113.0),
    "nf4-dq": (106.0, 109.0),
}
"""bitsandbytes quantizes only the weights of linear layers: embeddings stay in bfloat16."""
BITSANDBYTES_PRODUCTS: dict[str, tuple[str | None, float]] = {
    "none": ("bfloat16", 2),
    "int8": (None, 2),
    "fp4": ("bfloat16", 2),
    "nf4": ("bfloat16", 2),
    "nf4-dq": ("bfloat16", 2),
}
