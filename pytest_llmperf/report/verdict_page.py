"""A verdict as a markdown page, for a step summary or a comment."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from ..gate.verdict import EntryVerdict, Judgement, Verdict, worst_first
from .causes import by_test
from .markdown import code, code_in_table
from .words import (
    HEADERS,
    changes,
    limited,
    measured_on,
    named,
    reasons_of,
    rest_of,
    row_of,
    values_of,
)

_MOST_ROWS = 100  # A comment on GitHub holds 65,536 characters.
MARK = "<!-- pytest-llmperf verdict -->"
"""First line of the markdown, by which a workflow recognizes its earlier comment."""


def markdown(judgement: Judgement) -> str:
    """Return a page for a step summary or a comment: changes are named, the rest is folded."""
    page = [MARK, f"### {_headline(judgement)}", ""]
    sides = f"{code(judgement.baseline)} against {code(judgement.candidate)}"
    page += [f"{sides}: {judgement.summary()}.", ""]
    page += [line for phrase in measured_on(judgement, code) for line in (f"{phrase}.", "")]
    changed = [*judgement.of(Verdict.REGRESSION), *judgement.of(Verdict.IMPROVEMENT)]
    for change in by_test(changed):
        parts = [f"{named(entry, code)}{values_of(entry, code)}" for entry in change.causes]
        parts += [f"so also {changes(change.followers, code)}"] if change.followers else []
        page.append(f"- **{change.verdict.value}**: {code(change.nodeid)} {', '.join(parts)}")
    undecided = [*judgement.of(Verdict.NOT_COMPARABLE), *judgement.of(Verdict.INCONCLUSIVE)]
    reasons = limited([f"- {line}" for line in reasons_of(undecided, code)])
    page += _folded(f"{len(undecided)} undecided", reasons)
    page += _folded("Everything else that has to be said", rest_of(judgement, "- ", code))
    rows = worst_first(judgement.entries)
    table = tabulate(
        [row_of(c, code_in_table) for c in rows[:_MOST_ROWS]],
        HEADERS,
        tablefmt="github",
        disable_numparse=True,
    )
    page += _folded(f"All {len(judgement.entries)} entries", [table, *_left_out(rows)])
    return "\n".join(page).rstrip() + "\n"


def _headline(judgement: Judgement) -> str:
    if judgement.of(Verdict.REGRESSION):
        return "LLM performance: regression"
    if judgement.broken:
        return "LLM performance: tests that ran before fail now"
    if not judgement.entries:
        return "LLM performance: nothing to compare"
    if judgement.of(Verdict.INCONCLUSIVE) or judgement.of(Verdict.NOT_COMPARABLE):
        return "LLM performance: no regression found, not everything could be decided"
    return "LLM performance: pass"


def _left_out(rows: Sequence[EntryVerdict]) -> list[str]:
    rest = len(rows) - _MOST_ROWS
    return ["", f"... and {rest} more, in verdict.json"] if rest > 0 else []


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    return [f"\n<details><summary>{title}</summary>\n", *lines, "\n</details>"]
