"""Show verdicts on a terminal, and write their files. Verdict first, details after."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from ..core.printable import printable
from ..gate.verdict import Judgement, Verdict, worst_first
from .causes import TestChange, by_test
from .line import Color, Line, plain, width_of, wrapped, write
from .verdict_page import MARK, markdown
from .words import (
    HEADERS,
    INTERVAL_WORDS,
    amount,
    changes,
    limited,
    measured_on,
    named,
    observations,
    reasons_of,
    rest_of,
    row_of,
    values_of,
)

__all__ = ["MARK", "amount", "closing", "deliver", "lines", "markdown", "text"]

_FIRST_TO_GO = (INTERVAL_WORDS, "n", "baseline", "candidate")
"""Columns of the terminal's table that a narrow terminal does without, in this order."""
_COLORS: dict[Verdict, Color] = {
    Verdict.REGRESSION: "red",
    Verdict.IMPROVEMENT: "green",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.NOT_COMPARABLE: "yellow",
}


def text(judgement: Judgement, everything: bool = False, width: int | None = None) -> str:
    """Return the terminal's report without colors."""
    return "\n".join(line.text for line in lines(judgement, everything, width))


def lines(judgement: Judgement, everything: bool = False, width: int | None = None) -> list[Line]:
    """Return the terminal's report: what changed, test by test, and the rest as a count.

    Args:
        everything: a table of every entry instead.
        width: columns of the terminal: longer lines are broken between words. None: no limit.
    """
    sides = printable(f"{judgement.baseline} -> {judgement.candidate}")
    result = [Line(f"{sides}: {judgement.summary()}", _color(judgement))]
    result += plain(measured_on(judgement, printable))
    if everything:
        result += _tables(judgement, width)
    else:
        changed = [*judgement.of(Verdict.REGRESSION), *judgement.of(Verdict.IMPROVEMENT)]
        blocks = [line for change in by_test(changed) for line in _block(change, judgement)]
        result += [Line(""), *blocks, Line("")] if blocks else []
    undecided = [*judgement.of(Verdict.NOT_COMPARABLE), *judgement.of(Verdict.INCONCLUSIVE)]
    result += [Line(line, "yellow") for line in limited(reasons_of(undecided, printable))]
    result += plain([] if everything else _passes(judgement))
    result += plain(rest_of(judgement, "", printable))
    return [Line(part, line.color) for line in result for part in wrapped(line.text, width)]


def closing(judgement: Judgement, strict: bool = False) -> Line:
    """Return the last line, which says the same as the exit code."""
    undecided = [*judgement.of(Verdict.NOT_COMPARABLE), *judgement.of(Verdict.INCONCLUSIVE)]
    regressions, broken = len(judgement.of(Verdict.REGRESSION)), len(judgement.broken)
    reasons = [_number(regressions, "regression")] if regressions else []
    reasons += [f"{_number(broken, 'test')} broken"] if broken else []
    new_levels = len(judgement.new_levels)
    reasons += [f"{_number(new_levels, 'entry')} at a new level"] if new_levels else []
    if judgement.exit_code(strict) and not reasons:
        if not judgement.entries:
            reasons = ["nothing to compare"]
        elif undecided:
            reasons = [f"{len(undecided)} of {_number(len(judgement.entries), 'entry')} undecided"]
        else:
            reasons = [f"{_number(len(judgement.gone), 'test')} missing"]
    if reasons:
        return Line(f"LLM gate: FAILED, {', '.join(reasons)}", "red")
    entries = _number(len(judgement.entries), "entry")
    if undecided:
        return Line(f"LLM gate: passed, but {len(undecided)} of {entries} undecided", "yellow")
    return Line(f"LLM gate: passed, {entries}", "green")


def _color(judgement: Judgement) -> Color:
    return closing(judgement).color


def _block(change: TestChange, judgement: Judgement) -> list[Line]:
    """Return a test's changes: its name, a line for each cause, and the metrics that follow."""
    color = _COLORS[change.verdict]
    block = [Line(f"{change.verdict.value}: {printable(change.nodeid)}", color)]
    for entry in change.causes:
        block.append(
            Line(f"    {named(entry, printable)}{values_of(entry, printable, judgement)}", color)
        )
    if change.followers:
        block.append(Line(f"    so also {changes(change.followers, printable)}"))
    return block


def _tables(judgement: Judgement, width: int | None) -> list[Line]:
    """Return a table for each test, below its name."""
    result = []
    for nodeid in dict.fromkeys(entry.nodeid for entry in worst_first(judgement.entries)):
        entries = [e for e in worst_first(judgement.entries) if e.nodeid == nodeid]
        drawn = _fitted([row_of(entry, printable) for entry in entries], width)
        colors: list[Color] = ["", "", *(_COLORS.get(entry.verdict, "") for entry in entries)]
        result += [Line(""), Line(printable(nodeid))]
        result += [Line(*pair) for pair in zip(drawn, colors, strict=True)]
    return [*result, Line(""), Line(f"change: of the median; n: {observations(judgement)}")]


def _fitted(rows: Sequence[Sequence[str]], width: int | None) -> list[str]:
    """Return a table without the test's column, and without what a narrow terminal has no room for."""
    for going in range(len(_FIRST_TO_GO) + 1):
        kept = [i for i, name in enumerate(HEADERS) if name not in ("test", *_FIRST_TO_GO[:going])]
        body = [[row[i] for i in kept] for row in rows]
        drawn = tabulate(body, [HEADERS[i] for i in kept], disable_numparse=True).splitlines()
        if width is None or max(map(len, drawn)) <= width:
            break
    return drawn


def _number(n: int, word: str) -> str:
    plural = {"entry": "entries"}.get(word, f"{word}s")
    return f"{n} {word if n == 1 else plural}"


def _passes(judgement: Judgement) -> list[str]:
    passes = judgement.of(Verdict.PASS)
    if not passes:
        return []
    smallest = [entry.detectable for entry in passes if entry.detectable is not None]
    seen = ""
    if smallest:
        median = f"{statistics.median(smallest):.1%}"
        seen = f"; smallest slowdown that this run would notice: {median} (median test)"
    return [f"{len(passes)} of {len(judgement.entries)} entries pass{seen}"]


def deliver(
    judgement: Judgement,
    json_file: Path | None,
    markdown_file: Path | None,
    everything: bool,
    strict: bool = False,
) -> None:
    """Print the report, and write the requested files."""
    show(judgement, everything, strict)
    write_files(judgement, json_file, markdown_file)


def show(judgement: Judgement, everything: bool, strict: bool = False) -> None:
    """Print the report."""
    report = lines(judgement, everything, width_of(sys.stdout))
    try:
        write([*report, Line(""), closing(judgement, strict)], sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has closed the pipe; the exit code is still that of the verdict.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def write_files(judgement: Judgement, json_file: Path | None, markdown_file: Path | None) -> None:
    """Write the requested files."""
    if json_file is not None:
        json_file.write_text(json.dumps(judgement.as_dict(), indent=2) + "\n", encoding="utf-8")
    if markdown_file is not None:
        markdown_file.write_text(markdown(judgement), encoding="utf-8")
