"""The quantization modes, by their names in ids and options."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantization:
    """The storage of the weights of linear layers; ``--llm-dtype`` chooses the compute type."""

    mode: str
    bits: int
    """Bits per weight, without the quantization constants; 16 stands for the compute type."""
    four_bit_type: str | None = None
    """``fp4`` or ``nf4`` (QLoRA, Dettmers et al. 2023)."""
    double_quant: bool = False
    """Whether the quantization constants are themselves quantized."""
    constant_bytes: float = 0.0
    """Bytes of quantization constants per weight."""
    row_bytes: float = 0.0
    """Bytes of quantization constants per output row of a matrix."""

    @property
    def bytes_per_weight(self) -> float:
        """Bytes per weight in memory, including its share of the constants except those per row."""
        return self.bits / 8 + self.constant_bytes


# bitsandbytes: each row of int8 weights has a 4-byte scale, and so has each block of 64 4-bit weights.
# With double quantization that scale is one byte, and each block of 256 scales has another 4 bytes.
_BLOCK = 4 / 64
_DOUBLE = 1 / 64 + 4 / (64 * 256)
MODES = {
    q.mode: q
    for q in (
        Quantization("none", 16),
        Quantization("int8", 8, row_bytes=4),
        Quantization("fp4", 4, "fp4", constant_bytes=_BLOCK),
        Quantization("nf4", 4, "nf4", constant_bytes=_BLOCK),
        Quantization("nf4-dq", 4, "nf4", double_quant=True, constant_bytes=_DOUBLE),
    )
}
ALL = "all"
