"""Show which modes fit a GPU (``--llm-fit``, ``pytest-llmperf fit``)."""

from __future__ import annotations

from collections.abc import Sequence

from ..analysis.fit import CONTEXT, Need
from ..analysis.marks import mark_lines, sign
from ..core.printable import printable

_HEADERS = (
    "",
    "batch",
    "tokens",
    "weights MiB",
    "KV cache MiB",
    "rest MiB",
    "need MiB",
    "fits",
    "margin MiB",
    "source",
)
_LEGEND = (
    "need: weights, key-value cache of this batch at these tokens per request, and the rest: "
    "activations, workspace",
    f"and {CONTEXT:.0f} MiB for the CUDA context; estimated: from the architecture (docs/why/energy.md)",
)


def fit_lines(needs: Sequence[Need], size: float) -> list[str]:
    """Return one table for each model, and a legend.

    Args:
        size: memory of the GPU in MiB.
    """
    from tabulate import tabulate

    lines: list[str] = []
    for model in dict.fromkeys(need.model for need in needs):
        body = [_row(need, size) for need in needs if need.model == model]
        align = ["left", *["right"] * 6, "left", "right", "left"]
        lines.append(f"{printable(model)} on a GPU of {size:,.0f} MiB")
        lines += tabulate(
            body, _HEADERS, tablefmt="simple", colalign=align, disable_numparse=True
        ).splitlines()
        of_model = [need for need in needs if need.model == model]
        lines += mark_lines((printable(need.name), need.marks) for need in of_model)
        lines.append("")
    return [*lines, *_LEGEND] if lines else []


def _row(need: Need, size: float) -> list[str]:
    margin = need.margin(size)
    fits = "unknown" if margin is None else "yes" if margin >= 0 else "no"
    numbers = (need.weights, need.kv_cache, need.rest, need.total)
    return [
        printable(need.name) + sign(need.marks),
        str(need.batch),
        str(need.tokens),
        *(_mib(number) for number in numbers),
        fits,
        "-" if margin is None else f"{margin:+,.0f}",
        need.source,
    ]


def _mib(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"
