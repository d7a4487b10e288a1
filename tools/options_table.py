"""The table of docs/reference/options.md, from the rows of the options.

python tools/options_table.py      # writes it between <!-- options --> and <!-- /options -->
"""

from __future__ import annotations

from pathlib import Path

from pytest_llmperf.session.options import OPTIONS

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "options.md"
MORE = {
    "llm-quant": "engines.md#quantization-modes",
    "llm-metrics": "metrics.md",
    "llm-fail-if": "../how-to/gate.md#budgets",
    "llm-gate": "../how-to/gate.md#against-stored-runs",
    "llm-accept": "../how-to/gate.md#accept-a-change",
}
"""Pages that say more than ``--help``, as seen from this one."""
BEGIN, END = "<!-- options -->\n", "<!-- /options -->"


def options_table() -> str:
    """Return the table as markdown, one line per option."""
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for option in OPTIONS:
        typed = f"{option.flag} {option.metavar}".rstrip()
        more = f" ([more]({MORE[option.name]}))" if option.name in MORE else ""
        lines.append(f"| `{typed}` | {option.default_text} | {option.meaning}{more} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table into its page."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{PAGE} has no {BEGIN.strip()} and {END}")
    PAGE.write_text(before + BEGIN + options_table() + END + after, "utf-8")


if __name__ == "__main__":
    main()
