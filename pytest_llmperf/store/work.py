"""The work of a stored measurement, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNKNOWN = "?"


def work_words(work: Mapping[str, Any]) -> str:
    """Return the sizes of a record's ``workload`` in words; empty if nothing was generated."""
    if "output_tokens" not in work:
        return ""
    lengths = (work.get("input_lengths") or [], work.get("output_lengths") or [])
    most = "up to " if any(len(set(part)) > 1 for part in lengths) else ""
    tokens = f"{work.get('input_tokens', _UNKNOWN)} input and {work['output_tokens']} output tokens"
    parts = [f"{most}{tokens}", f"batch {work.get('batch_size', _UNKNOWN)}"]
    if work.get("prefix_tokens"):
        parts.append(f"reused prefix {work['prefix_tokens']}")
    if work.get("temperature"):
        parts.append(f"temperature {work['temperature']:g}")
    return ", ".join(parts)
