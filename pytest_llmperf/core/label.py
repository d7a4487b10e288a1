"""Whether a cell's label is what runs, by the weights that its engine has in memory."""

from __future__ import annotations

from collections.abc import Mapping

from .quantization import bits_of

_UNPACKED = 12.0
"""Bits of a linear weight: above, no format of 8 bits or less is in memory; below, none of 16 is."""
_TOLERANCE = 1.5
"""Bits by which a format may be smaller than its name says, for layers in fewer bits."""
_NOTABLE = 0.05
"""A smaller share of the weights is not worth a remark: single layers stay as they are by design."""


def contradiction(mode: str, linear_bits: float) -> str | None:
    """Return why weights in memory cannot be a mode's, or None.

    More bits than the mode has are none: an engine may unpack weights, which ``remark`` says.

    Args:
        mode: the quantization mode in the test id.
        linear_bits: measured bits of a linear weight, its share of the quantization constants included.
    """
    bits = bits_of(mode)
    if bits is None:
        return None
    least = _UNPACKED if bits == 16 else bits - _TOLERANCE
    if linear_bits >= least:
        return None
    return f"its linear weights have {linear_bits:.1f} bits in memory, which is not {mode}"


def remark(
    mode: str,
    linear_bits: float,
    unquantized_share: float,
    unquantized_type: str | None,
    places: Mapping[str, float],
) -> str:
    """Return what a reader has to know about a cell beside its id; empty for nothing.

    Args:
        mode: the quantization mode in the test id.
        linear_bits: bits of a linear weight in memory.
        unquantized_share: share of the linear weights in a floating-point type of 16 bits or more.
        unquantized_type: that type.
        places: MiB of all weights by place: a device or ``disk``.
    """
    remarks = []
    bits = bits_of(mode)
    is_quantized = bits is not None and bits <= 8
    if is_quantized and linear_bits > _UNPACKED and unquantized_share > 1 - _NOTABLE:
        remarks.append(f"runs {unquantized_type}")
    elif is_quantized and unquantized_share > _NOTABLE:
        remarks.append(f"{unquantized_share:.0%} of it {unquantized_type}".replace("%", " %"))
    total = sum(places.values())
    on_gpu = any(place.startswith("cuda") or place.isdecimal() for place in places)
    for place, size in places.items():
        if total and (place == "disk" or (place == "cpu" and on_gpu)):
            remarks.append(f"{size / total:.0%} on {place}".replace("%", " %"))
    return ", ".join(remarks)
