"""The quantization modes, by the names that ids and options use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantization:
    """How weights are stored; the compute type is chosen apart (``--llm-dtype``)."""

    mode: str
    bits: int
    """Bits per weight, constants left out; 16 stands for the unquantized compute type."""
    four_bit_type: str | None = None
    """``fp4`` or ``nf4`` (QLoRA, Dettmers et al. 2023)."""
    double_quant: bool = False
    """Whether the quantization constants are quantized too."""


MODES = {
    q.mode: q
    for q in (
        Quantization("none", 16),
        Quantization("int8", 8),
        Quantization("fp4", 4, "fp4"),
        Quantization("nf4", 4, "nf4"),
        Quantization("nf4-dq", 4, "nf4", double_quant=True),
    )
}
ALL = "all"
