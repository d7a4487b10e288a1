"""The table of docs/reference/options.md, from the rows of the options: see make_docs.py."""

from __future__ import annotations

from pytest_llmperf.session.options import OPTIONS

MORE = {
    "llm-quant": "engines.md#quantization-modes",
    "llm-metrics": "metrics.md",
    "llm-fail-if": "../how-to/gate.md#budgets",
    "llm-gate": "../how-to/gate.md#against-stored-runs",
    "llm-accept": "../how-to/gate.md#accept-a-change",
}
"""Pages that say more than ``--help``, as seen from this one."""


def options_table() -> list[str]:
    """Return the lines of the markdown table, one per option."""
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for option in OPTIONS:
        typed = f"{option.flag} {option.metavar}".rstrip()
        more = f" ([more]({MORE[option.name]}))" if option.name in MORE else ""
        lines.append(f"| `{typed}` | {option.default_text} | {option.meaning}{more} |")
    return lines
