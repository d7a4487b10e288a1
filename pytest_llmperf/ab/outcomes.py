"""The outcome of a side's pytest run: its tests by outcome, from the lines that the child wrote."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Progress = Callable[[str, int, int], None]
"""Called after each test with its id, its number from 1, and how many there are."""

# A log of a run that left no report:
# pytest --verbosity=1 -o console_output_style=count: "path::test[id] PASSED   [ 1/12]"
_OUTCOME = re.compile(r"^(?P<test>\S+::.+?) (?P<outcome>PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b")


@dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    exit_code: int | None
    """None: an earlier run, of which the files are known only."""
    passed: frozenset[str]
    """Ids of tests."""
    failed: tuple[str, ...]
    """Ids of tests, and of modules that cannot be collected."""
    skipped: tuple[str, ...]
    """Ids of tests, and of modules that skip themselves; expected failures are among them."""
    last_line: str
    """Of its output: pytest's message if it cannot run at all."""
    foreign: str = ""
    """Why it measures another side than its own; empty if it measures its own."""
    uncollected: str = ""
    """The first module that cannot be collected, and why; empty if there is none."""

    @property
    def problem(self) -> str:
        """Return why it did not run its tests."""
        return self.uncollected or self.last_line


class Report:
    """The lines that a child writes, read while it writes them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0

    def new_lines(self) -> Iterator[dict[str, Any]]:
        """Yield the complete lines that were not read yet."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._position)
                content = file.read()
        except OSError:
            return
        complete = content[: content.rfind(b"\n") + 1]
        self._position += len(complete)
        for line in complete.splitlines():
            try:
                data = json.loads(line)
            except (ValueError, RecursionError):  # A disk or a person has damaged it.
                continue
            if isinstance(data, dict):
                yield data


def ended_tests(lines: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, int, int]]:
    """Yield the tests that have ended: id, number from 1, and how many there are."""
    for line in lines:
        if isinstance(line.get("number"), int) and isinstance(line.get("total"), int):
            yield str(line.get("test")), line["number"], line["total"]


def outcome(report: Path, log: Path, folder: Path, exit_code: int | None = None) -> Outcome:
    """Return how a run ended.

    Args:
        report: the lines that the child has written. A run of an earlier release has none: its log is
            read instead.
        log: its output.
        folder: where it ran.
        exit_code: None for an earlier run.
    """
    text = log.read_text("utf-8", errors="replace") if log.exists() else ""
    lines = [line for line in text.splitlines() if line.strip()]
    tests: dict[str, list[str]] = {}
    foreign = uncollected = ""
    if report.exists():
        for line in Report(report).new_lines():
            if "outcome" in line:
                tests.setdefault(str(line["outcome"]), []).append(str(line.get("test")))
            foreign = foreign or str(line.get("foreign") or "")
            if line.get("reason"):
                uncollected = uncollected or f"{line.get('test')}: {line['reason']}"
    else:
        tests = _from_log(lines, folder)

    def with_outcome(*outcomes: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(test for name in outcomes for test in tests.get(name, ())))

    failed = with_outcome("failed")
    skipped = with_outcome("skipped", "xfailed")
    return Outcome(
        exit_code,
        frozenset(with_outcome("passed", "xpassed")) - {*failed, *skipped},
        failed,
        tuple(test for test in skipped if test not in failed),
        _last_line(lines),
        foreign,
        uncollected,
    )


def _last_line(lines: list[str]) -> str:
    texts = [line.strip() for line in lines]
    # pytest's own parser puts its usage before what is wrong.
    errors = [text for text in texts if text.startswith("ERROR") or ": error: " in text]
    return (errors or texts or ["no output"])[-1]


def _from_log(lines: list[str], folder: Path) -> dict[str, list[str]]:
    # pytest shows tests as seen from where it was started, and calls them as seen from its root.
    roots = [line.removeprefix("rootdir: ") for line in lines if line.startswith("rootdir: ")]
    root = Path(roots[0]) if roots else folder
    names = {
        "PASSED": "passed",
        "FAILED": "failed",
        "ERROR": "failed",
        "SKIPPED": "skipped",
        "XFAIL": "xfailed",
        "XPASS": "xpassed",
    }
    tests: dict[str, list[str]] = {}
    for match in filter(None, map(_OUTCOME.match, lines)):
        test = _from_root(match["test"], folder, root)
        tests.setdefault(names[match["outcome"]], []).append(test)
    return tests


def _from_root(test: str, folder: Path, root: Path) -> str:
    path, colons, rest = test.partition("::")
    return Path(os.path.relpath(folder / path, root)).as_posix() + colons + rest
