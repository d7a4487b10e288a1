"""What a cell's id does not say of a record, for the tables and words about it."""

from __future__ import annotations

from ..core.label import remark
from ..store.schema import Record


def remark_of(record: Record) -> str:
    """Return a remark (``runs bfloat16``); empty where the id says all, and for early files."""
    weights = record["model"].get("weights")
    if weights is None:
        return ""
    return remark(
        record["quantization"]["mode"],
        weights["linear_bits"],
        weights["unquantized_share"],
        weights["unquantized_type"],
        weights["places"],
    )


def with_remark(name: str, remark: str) -> str:
    """Return a name with the remark on it: ``llama-transformers-w4a16 (runs bfloat16)``."""
    return f"{name} ({remark})" if remark else name
