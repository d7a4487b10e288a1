"""The output of a run: one line before its tests, and sections after them, made of records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest

from ..analysis.marks import SIGN
from ..backends import ask, family
from ..core.cell import Cell
from ..core.errors import BackendError, EngineError
from ..core.printable import printable
from ..machine.host import accelerator_names, runs_on_cpu, usable_cores
from ..report.line import Color, Line, plain
from ..store.stored import StoredError
from .session import LLMSession
from .slot import engine_threads
from .targets import cache_note


@dataclass(frozen=True)
class Section:
    """Lines with a title; without one they follow the section before."""

    title: str
    lines: Sequence[Line]


def header(session: LLMSession, cells: Sequence[Cell]) -> str:
    """Return one line with the models, the engines with their versions, and the device."""
    models = ", ".join(dict.fromkeys(cell.model.name for cell in cells))
    if session.settings.load_format == "dummy":
        models += " (random weights)"
    backends = dict.fromkeys(cell.backend for cell in cells)
    engines = ", ".join(_engine(session, backend) for backend in backends)
    return printable(f"llm: {models} on {engines}; {_device(session)}")


def notes(
    session: LLMSession, items: Sequence[pytest.Item], cells: Sequence[Cell]
) -> Iterator[str]:
    """Yield a line for everything that this run does in another way than usual."""
    yield from _unread(session, cells)
    yield from filter(None, [cache_note(session.settings)])
    if session.settings.floor == "off":
        yield "the output of engines is not checked (--llm-floor=off)"
    if session.results.in_memory:
        yield (
            f"nothing is kept on disk before the run ends: {session.store.folder} cannot be written"
        )
    if ignored := session.store.without_effect(items):
        yield (
            f"{', '.join(ignored)}: without effect on LLM tests, which have --llm-rounds and "
            "--llm-warmup"
        )


def _unread(session: LLMSession, cells: Sequence[Cell]) -> Iterator[str]:
    """Yield a line for each engine whose arguments the command line has and no test takes."""
    settings = session.settings
    used = {name for cell in cells for name in (cell.backend, family(cell.backend))}
    for name in settings.backend_args:
        is_typed = any(text.startswith(f"--llm-backend-arg={name}.") for text in settings.given)
        if is_typed and name not in used:
            yield f"--llm-backend-arg: no test of this run takes the arguments of {name}"


def sections(session: LLMSession, width: int | None = None) -> Iterator[Section]:
    """Yield the sections at the end of the run, each line safe on a terminal.

    Args:
        width: columns of the terminal; None: no limit.
    """
    for section in _sections(session, width):
        lines = [Line(printable(line.text), line.color) for line in section.lines]
        yield Section(section.title, lines)


def last_lines(session: LLMSession, failed: bool) -> list[Line]:
    """Return what the run's judges say in one line each, for the end of all output.

    Args:
        failed: pytest is red; then nothing green stands below it.
    """
    lines = []
    if session.finished_with is None:
        return []
    if late := session.quiet.late(session.results.records):
        rows = "measurement was" if len(late) == 1 else "measurements were"
        lines.append(Line(f"LLM quiet: FAILED, {len(late)} {rows} disturbed", "red"))
    if n := len(session.comparison.regressions):
        entries = "entry has" if n == 1 else "entries have"
        lines.append(Line(f"--benchmark-compare-fail: FAILED, {n} {entries} regressed", "red"))
    if session.gate and (line := session.gate.last_line(session.verdict())):
        lines.append(line)
    return [line for line in lines if not (failed and line.color == "green")]


def _sections(session: LLMSession, width: int | None) -> Iterator[Section]:
    """Return the sections to print when the run ends."""
    if session.results.records:
        yield Section("LLM performance", _performance(session, width))
        if session.settings.fit:
            yield from _fit(session, session.settings.fit)
        yield from _comparison(session, width)
    yield Section("", plain(session.budgets.summary()))
    if session.finished_with is not None:
        yield Section("", [Line(f"ERROR: {line}", "red") for line in session.unused_budgets()])
    yield Section("", [Line(line, "red") for line in session.quiet.late(session.results.records)])
    unmet = "" if session.finished_with is None else session.unmet()
    if session.gate and session.finished_with is not None:
        yield Section("LLM gate", session.gate.lines(session.verdict(), unmet, width))
    elif unmet:
        yield Section("", [Line(f"ERROR: {unmet}", "red")])
    yield Section("", plain(_kept(session)))


def _performance(session: LLMSession, width: int | None) -> list[Line]:
    from ..analysis.tradeoff import trade_offs
    from ..report.notes import notes as of_records
    from ..report.terminal import legend, rows_of, table
    from ..report.tradeoff import lines

    rows = rows_of(session.results.records)
    text = [
        *table(rows, width),
        "",
        *legend(rows, session.settings.hourly_cost, width),
        *of_records(session.results.records),
    ]
    with_speed = [trade_off for trade_off in trade_offs(session.results.records) if trade_off.test]
    if with_speed:
        text += ["", "trade-offs", *lines(with_speed, width=width)]
    return [Line(line, _color(line)) for line in text]


def _color(line: str) -> Color:
    """Return yellow for the words about a disturbed row."""
    return "yellow" if line.startswith(f"{SIGN} ") else ""


def _comparison(session: LLMSession, width: int | None) -> Iterator[Section]:
    """Yield what --benchmark-compare asked for: this run beside stored ones."""
    from ..report.compared import comparison

    compared = session.comparison
    for file in compared.files:
        if isinstance(file, StoredError):
            yield Section("LLM comparison", [Line(str(file), "yellow")])
            continue
        lines = comparison(file.records, session.results.records, width)
        yield Section(f"LLM comparison with {file.path.name}", plain(lines))
    if compared.regressions:
        lines = ["Performance has regressed:", *(f"    {line}" for line in compared.regressions)]
        yield Section("", [Line(line, "red") for line in lines])
    if compared.problem:
        yield Section("", [Line(f"ERROR: {compared.problem}", "red")])
    if session.histogram_is_asked_for():
        yield Section("", [Line(_NO_HISTOGRAM)])


_NO_HISTOGRAM = (
    "--benchmark-histogram draws seconds only, so no measurement of this plugin; "
    "pytest-llmperf tradeoff --plot draws them"
)


def _fit(session: LLMSession, size: float) -> Iterator[Section]:
    from ..analysis.fit import measured_cells, needs
    from ..report.fit import fit_lines

    cells = measured_cells(session.results.records)
    if cells:
        yield Section("LLM fit", plain(fit_lines(needs(cells), size)))


def _kept(session: LLMSession) -> list[str]:
    """Return lines about journals that this run or an earlier one has left on disk."""
    message = session.settle_journal()
    runs, problems = session.results.left_behind()
    left = [
        f"an earlier run was killed and left {len(run.entries)} entries; "
        "run `pytest-llmperf recover` to store them"
        for run in runs
        if run.entries
    ]
    return [*filter(None, [message]), *left, *(f"note: {problem}" for problem in problems)]


def _engine(session: LLMSession, backend: str) -> str:
    try:
        packages = session.plan.packages(backend)
    except EngineError:
        return f"{backend} (not installed)"
    try:
        version = ask(backend, "version", str, packages)
    except BackendError:
        return f"{backend} (version unknown)"
    return f"{backend} {version if version != 'unknown' else '(not installed)'}"


def _device(session: LLMSession) -> str:
    device = session.settings.device
    if runs_on_cpu(device):
        return f"cpu, {engine_threads(session.settings)} of {usable_cores()} cores"
    names = ", ".join(accelerator_names()) or "accelerator"
    return names if device == "auto" else f"{device} ({names})"
