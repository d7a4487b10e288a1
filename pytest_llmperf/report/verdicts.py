"""Show verdicts: the terminal's table and a markdown page. Verdict first, details after."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tabulate import tabulate

from ..core.printable import printable
from ..gate.verdict import INTERVAL, EntryVerdict, Judgement, Verdict, worst_first
from ..metrics.definitions import METRICS
from .markdown import code, code_in_table

Shown = Callable[[str], str]
"""Makes a text of others fit where it is shown."""

_INTERVAL = f"{INTERVAL:.0%} interval".replace("%", " %")
_HEADERS = ["verdict", "test", "metric", "baseline", "candidate", "change", _INTERVAL, "n"]
_MOST_LINES = 20
_MOST_ROWS = 100  # A comment on GitHub holds 65,536 characters.
_OWN_WORDS = frozenset((*METRICS, *(metric.unit for metric in METRICS.values()), ""))
MARK = "<!-- pytest-llmperf verdict -->"
"""First line of the markdown, by which a workflow recognizes its earlier comment."""


def text(judgement: Judgement, everything: bool = False) -> str:
    """Return the terminal's report: one row per entry that did not just pass, the rest as a count."""
    rows = [c for c in worst_first(judgement.entries) if c.verdict is not Verdict.NOT_COMPARABLE]
    shown = rows if everything else [entry for entry in rows if entry.verdict is not Verdict.PASS]
    sides = printable(f"{judgement.baseline} -> {judgement.candidate}")
    lines = [f"{sides}: {judgement.summary()}"]
    if shown:
        lines += [
            "",
            tabulate([_row(c, printable) for c in shown], _HEADERS, disable_numparse=True),
        ]
        lines += ["", f"change: median effect, + is worse; n: {_observations(judgement)}"]
    undecided = [*judgement.of(Verdict.NOT_COMPARABLE), *judgement.of(Verdict.INCONCLUSIVE)]
    lines += _limited(_reasons(undecided, printable))
    lines += [] if everything else _passes(judgement)
    lines += _rest(judgement, "", printable)
    return "\n".join(lines)


def markdown(judgement: Judgement) -> str:
    """Return a page for a step summary or a comment: changes are named, the rest is folded."""
    lines = [MARK, f"### {_headline(judgement)}", ""]
    sides = f"{code(judgement.baseline)} against {code(judgement.candidate)}"
    lines += [f"{sides}: {judgement.summary()}.", ""]
    changed = [*judgement.of(Verdict.REGRESSION), *judgement.of(Verdict.IMPROVEMENT)]
    for entry in worst_first(changed):
        lines.append(
            f"- **{entry.verdict.value}**: {code(entry.nodeid)} {_word(entry.metric, code)} "
            f"{_sentence(entry)}"
        )
    undecided = [*judgement.of(Verdict.NOT_COMPARABLE), *judgement.of(Verdict.INCONCLUSIVE)]
    reasons = _limited([f"- {line}" for line in _reasons(undecided, code)])
    lines += _folded(f"{len(undecided)} undecided", reasons)
    lines += _folded("Everything else that has to be said", _rest(judgement, "- ", code))
    rows = worst_first(judgement.entries)
    table = tabulate(
        [_row(c, code_in_table) for c in rows[:_MOST_ROWS]],
        _HEADERS,
        tablefmt="github",
        disable_numparse=True,
    )
    lines += _folded(
        f"All {len(judgement.entries)} entries",
        [table, *_left_out(rows), "", "Change: + is worse."],
    )
    return "\n".join(lines).rstrip() + "\n"


def amount(value: float | None, unit: str) -> str:
    """Return a value with a unit that reads well: seconds below one as milliseconds."""
    if value is None:
        return ""
    if unit == "s":
        return f"{value * 1e3:.4g} ms" if abs(value) < 1 else f"{value:.4g} s"
    if unit == "MiB":
        return f"{value:,.0f} MiB"
    return f"{value:.4g} {unit}".rstrip(" -")


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


def _word(text: str, shown: Shown) -> str:
    """Return a metric or a unit: those of this package need no escape, and a file may hold any text."""
    return text if text in _OWN_WORDS else shown(text)


def _row(entry: EntryVerdict, shown: Shown) -> list[str]:
    unit = _word(entry.unit, shown)
    return [
        entry.verdict.value,
        shown(entry.nodeid),
        _word(entry.metric, shown),
        amount(entry.baseline, unit),
        amount(entry.candidate, unit),
        "" if entry.effect is None else f"{entry.effect:+.1%}",
        _interval(entry),
        str(entry.n or ""),
    ]


def _interval(entry: EntryVerdict) -> str:
    if entry.low is None or entry.high is None:
        return ""
    return f"{entry.low:+.1%} to {entry.high:+.1%}"


def _sentence(entry: EntryVerdict) -> str:
    if entry.effect is None:
        return ""
    word = "worse" if entry.effect > 0 else "better"
    interval = f", {_INTERVAL} {_interval(entry)}" if entry.low is not None else ""
    unit = _word(entry.unit, code)
    values = f"{amount(entry.baseline, unit)} to {amount(entry.candidate, unit)}"
    return f"{abs(entry.effect):.1%} {word} ({values}{interval})"


def _reasons(entries: Sequence[EntryVerdict], shown: Shown) -> list[str]:
    """Return a line for each verdict, test and reason, with all metrics that share them."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for entry in entries:
        groups.setdefault((entry.verdict.value, entry.nodeid, entry.reason), []).append(
            _word(entry.metric, shown)
        )
    return [
        f"{verdict}: {shown(nodeid)} ({', '.join(metrics)}): {shown(reason)}"
        for (verdict, nodeid, reason), metrics in groups.items()
    ]


def _passes(judgement: Judgement) -> list[str]:
    passes = judgement.of(Verdict.PASS)
    if not passes:
        return []
    smallest = [entry.detectable for entry in passes if entry.detectable is not None]
    seen = ""
    if smallest:
        seen = f"; half of them could have shown a regression of {statistics.median(smallest):.1%}"
    return [f"{len(passes)} of {len(judgement.entries)} entries pass{seen}"]


def _observations(judgement: Judgement) -> str:
    return "pairs of processes" if judgement.mode == "pairs" else "baseline runs"


def _rest(judgement: Judgement, prefix: str, shown: Shown) -> list[str]:
    lines = _limited(
        [
            f"broken: {shown(nodeid)} fails or is skipped on the candidate only"
            for nodeid in judgement.broken
        ]
    )
    lines += _limited([f"failed: {shown(line)}" for line in judgement.failures])
    lines += _limited([f"new (no baseline): {shown(nodeid)}" for nodeid in judgement.new])
    lines += _limited(
        [f"missing (in the baseline only): {shown(nodeid)}" for nodeid in judgement.gone]
    )
    lines += _limited([f"note: {shown(line)}" for line in judgement.notes])
    return [prefix + line for line in lines]


def _left_out(rows: Sequence[EntryVerdict]) -> list[str]:
    rest = len(rows) - _MOST_ROWS
    return ["", f"... and {rest} more, in verdict.json"] if rest > 0 else []


def _limited(lines: Sequence[str]) -> list[str]:
    rest = len(lines) - _MOST_LINES
    return [*lines[:_MOST_LINES], *([f"... and {rest} more of these"] if rest > 0 else [])]


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    return [f"\n<details><summary>{title}</summary>\n", *lines, "\n</details>"]


def deliver(
    judgement: Judgement, json_file: Path | None, markdown_file: Path | None, everything: bool
) -> None:
    """Print the report, and write the requested files."""
    show(judgement, everything)
    write(judgement, json_file, markdown_file)


def show(judgement: Judgement, everything: bool) -> None:
    """Print the report."""
    try:
        print(text(judgement, everything), flush=True)
    except BrokenPipeError:
        # The reader (head, less) has closed the pipe; the exit code is still that of the verdict.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write(judgement: Judgement, json_file: Path | None, markdown_file: Path | None) -> None:
    """Write the requested files."""
    if json_file is not None:
        json_file.write_text(json.dumps(judgement.as_dict(), indent=2) + "\n", encoding="utf-8")
    if markdown_file is not None:
        markdown_file.write_text(markdown(judgement), encoding="utf-8")
