"""The quantization modes, by their names in ids and options.

A mode is the format of the weights of linear layers, whoever chose it: a checkpoint's own file
(``checkpoint_format``), or ``--llm-quant``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Quantization:
    """A mode of bitsandbytes; ``--llm-dtype`` chooses the compute type."""

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
OF_CHECKPOINTS = (
    "fp4-dq",
    "fp8",
    "fp8-block",
    "fp8-channel",
    "fp8-static",
    "fp8a16",
    "w8a8",
    "w8a16",
    "w4a16",
    "w4a8",
    "nvfp4",
    "nvfp4a16",
    "mxfp4",
    "mxfp8",
    "awq-int4",
    "gptq-int2",
    "gptq-int3",
    "gptq-int4",
    "gptq-int8",
    "auto-round-int4",
    "hqq-int4",
    "quanto-int4",
    "quanto-int8",
    "ao-int8wo",
    "ao-int8dq",
    "ao-int4wo",
    "ao-int4dq",
    "ao-fp8wo",
    "ao-fp8dq",
)
"""Formats of checkpoints that have a name of their own, beside those of bitsandbytes."""
MIXED = "mixed"
"""Layers in several formats."""
_BITS = re.compile(r"(?:^|-)(?:w|int|nvfp|mxfp|nf|fp)(\d+)")


def bits_of(mode: str) -> int | None:
    """Return the bits per linear weight of a mode, without constants; None where its name says none."""
    if mode in MODES:
        return MODES[mode].bits
    found = _BITS.search(mode)
    return int(found[1]) if found else None
