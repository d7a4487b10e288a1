"""What an input is, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import processes
from .processes import Ended

LINE, HARMLESS, TRACEBACK, HANG, WRONG = (
    "clear line",
    "harmless",
    "traceback",
    "hang",
    "silently wrong",
)
OUTCOMES = (LINE, HARMLESS, TRACEBACK, HANG, WRONG)
ENGINE = "--llm-backend=simulated"
FAST = (
    ENGINE,
    "-q",
    "-Wdefault",
    "-pno:cacheprovider",
    "--llm-timeout=10",
    "--llm-round-timeout=10",
)
TEST = """
def test_x(llm, llm_benchmark):
    llm_benchmark(llm, input_len=4, output_len=4, rounds=2, warmup=0)
"""


def nothing(folder: Path) -> None:
    """Prepare nothing."""


def never(folder: Path, steps: Sequence[Ended]) -> str:
    """Find nothing wrong."""
    return ""


def accepted(folder: Path, steps: Sequence[Ended]) -> str:
    """Find it wrong that the first program was content with its input."""
    return "it was accepted" if steps[0].code == 0 else ""


@dataclass(frozen=True)
class Input:
    """An input that no program would write, and the programs that get it."""

    kind: str
    text: str
    """What a person would call it, in a few words."""
    steps: Sequence[tuple[str, Sequence[str]]]
    """Modules with their arguments, run one after another in one folder."""
    prepare: Callable[[Path], None] = nothing
    wrong: Callable[[Path, Sequence[Ended]], str] = never
    """Returns what is silently wrong afterwards, or an empty text."""
    project: Path | None = None
    """The folder in the case's folder where the programs run, if it is not the case's own."""


@dataclass(frozen=True)
class Result:
    """What became of an input."""

    input: Input
    outcome: str
    detail: str


def pytest_step(*arguments: str) -> tuple[str, Sequence[str]]:
    """Return a run of pytest on the simulated engine."""
    return "pytest", (*FAST, *arguments)


def command(*arguments: str) -> tuple[str, Sequence[str]]:
    """Return a run of ``pytest-llmperf``."""
    return "pytest_llmperf.cli", arguments


def tried(given: Input, folder: Path) -> Result:
    """Give an input to its programs, in an empty folder."""
    (folder / "test_x.py").write_text(TEST)
    given.prepare(folder)
    steps: list[Ended] = []
    work = folder / given.project if given.project else folder
    more = {processes.MARK: str(folder), "PYTHONPATH": processes.path_with(folder / "site")}
    for module, arguments in given.steps:
        steps.append(processes.run(module, arguments, work, 45, **more))
    texts = "\n".join(step.output for step in steps)
    if any(step.code is None for step in steps):
        return Result(given, HANG, texts[-600:])
    if any(step.has_traceback or (step.code or 0) < 0 for step in steps):
        return Result(given, TRACEBACK, texts[-1200:])
    if processes.left(folder, 5):
        return Result(given, HANG, "a process is left")
    if wrong := given.wrong(folder, steps):
        return Result(given, WRONG, f"{wrong}\n{texts[-800:]}")
    said = any(step.code for step in steps)
    return Result(given, LINE if said else HARMLESS, texts[-400:])
