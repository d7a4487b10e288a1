"""Measure two sides as interleaved pairs of processes and judge them: ``pytest-llmperf ab``."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from ..core.errors import OneLine
from ..gate import pairs as paired
from ..gate.matching import match
from ..gate.verdict import Judgement
from ..store.stored import StoredError, read_run
from . import orphans
from .budget import Budget
from .outcomes import Outcome, outcome
from .plan import Plan, run_file
from .process import Task, run_in_turns, run_pytest, why_no_turns
from .sides import PreparedSide, prepared

_TESTS_FAILED = 1  # pytest's exit code; a higher one means that pytest did not run the tests.


class ABError(OneLine):
    """The comparison cannot go on; one line."""


class Display(Protocol):
    """Shows the progress of the comparison."""

    def begin(self, name: str, runs_left: int, seconds_left: float | None) -> None:
        """Show that a run begins; ``runs_left`` counts it, ``seconds_left`` is None if unknown."""

    def test(self, test: str, number: int, total: int) -> None:
        """Show that a test of the run has ended."""

    def say(self, line: str) -> None:
        """Show a line that stays on the screen."""


@dataclass
class Comparison:
    """An A/B comparison in its folder."""

    plan: Plan
    folder: Path
    display: Display
    budget: Budget = field(default_factory=lambda: Budget(math.inf))
    failures: list[str] = field(default_factory=list)
    lost: dict[str, Counter[str]] = field(
        default_factory=lambda: {"base": Counter(), "head": Counter()}
    )
    """By side, tests that failed or were skipped, and in how many of the first runs."""
    passed: dict[str, set[str]] = field(default_factory=lambda: {"base": set(), "head": set()})
    """By side, tests that passed in one of the first runs."""
    failed: set[str] = field(default_factory=set)
    """Tests that failed on head in one of them."""
    one_by_one: dict[str, int] = field(default_factory=dict)
    """Why sides that should have taken turns ran one after the other, and in how many pairs."""
    _durations: list[float] = field(default_factory=list)
    _runs_left: int = 0
    _in_turns: bool = False
    _begun: int = 0
    """Pairs that were measured, or are."""
    _notes: list[str] = field(default_factory=list)

    def run(self) -> Judgement:
        """Measure the runs that are missing, and judge.

        Raises:
            ABError: nothing can be compared, because a side does not run or measures nothing.
        """
        plan = self.plan
        sides = (plan.base, plan.head)
        with prepared(sides, Path(plan.repository), plan.setup, self.folder, plan.job) as both:
            reason = why_no_turns(both) if plan.in_turns else ""
            if reason:
                self._say_one_by_one(reason)
            self._in_turns = plan.in_turns and not reason
            first = range(1, plan.first_pairs + 1)
            self._runs_left = 2 * len(first)
            pairs = self._first_pairs(first, both)
            numbers = [*first]
            suspect = paired.suspects(pairs, plan.limits) if plan.more_pairs else set()
            if suspect:
                tests = {nodeid for nodeid, _ in suspect}
                more = range(plan.first_pairs + 1, plan.first_pairs + plan.more_pairs + 1)
                numbers += more
                self.display.say(
                    f"{len(suspect)} entries look worse; {len(more)} more pairs for "
                    f"{len(tests)} of {len(paired.tests_of(pairs)[1])} tests"
                )
                self._runs_left = 2 * len(more)
                self._measure(more, both, self._selections(pairs, tests))
                pairs += self._pairs(more)
        if self._begun < len(numbers):
            self._say_spent(len(numbers))
        return self._judge(pairs)

    def _say_spent(self, planned: int) -> None:
        line = f"--budget: {self._begun} of {planned} pairs; one more would have taken too long"
        self.display.say(line)
        self._notes.append(line)

    def _has_time(self) -> bool:
        """Return whether the next pair would end in time, as the last one did; the first may begin."""
        return not self._durations or self.budget.allows(sum(self._durations[-2:]))

    def _first_pairs(
        self, numbers: Sequence[int], sides: tuple[PreparedSide, PreparedSide]
    ) -> list[paired.Pair]:
        """Measure the pairs of all tests; return those with both sides."""
        pairs: list[paired.Pair] = []
        for number in numbers:
            if not self._measure([number], sides, (None, None)):
                break
            pairs += self._pairs([number])
            if pairs and not self.failures:
                self._check(pairs)  # Now, not after hours: no later pair would have other tests.
        self._check(pairs)
        return pairs

    def _measure(
        self,
        numbers: Sequence[int],
        sides: tuple[PreparedSide, PreparedSide],
        only: tuple[Path | None, Path | None],
    ) -> bool:
        """Measure pairs; return whether the budget allowed them all."""
        for number in numbers:
            if not self._has_time():
                return False
            self._begun += 1
            # AB BA AB ...: a drift of the machine affects both sides equally.
            order = (0, 1) if number % 2 else (1, 0)
            tasks = [self._task(number, sides[index], only[index]) for index in order]
            missing = [task for task in tasks if not _is_measured(self._out(number, task.side))]
            if self._in_turns and missing:
                self._run_in_turns(number, tasks[0], tasks[1])
            else:
                for task in tasks:
                    self._run(number, task)
        return True

    def _say_one_by_one(self, reason: str) -> None:
        if reason not in self.one_by_one:
            self.display.say(f"one side after the other: {reason}")
        self.one_by_one[reason] = self.one_by_one.get(reason, 0) + 1

    def _out(self, number: int, side: PreparedSide) -> Path:
        return run_file(self.folder, number, side.side.name)

    def _task(self, number: int, side: PreparedSide, only: Path | None) -> Task:
        out = self._out(number, side)
        arguments = [*self.plan.pytest_args, f"--benchmark-json={_part(out).resolve()}"]
        # Not into the user's storage, whatever the ini file says.
        arguments.append(f"--benchmark-storage={(self.folder / 'storage').resolve()}")
        arguments += [f"--llm-tests-from={only.resolve()}"] if only else []
        return Task(side, arguments, out.with_suffix(".log"), out.with_suffix(".jsonl"))

    def _run_in_turns(self, number: int, first: Task, second: Task) -> None:
        """Measure a pair, both sides at once; a side that was measured before is measured again."""
        name = f"pair {number} {first.side.side.name} and {second.side.side.name}"
        for task in (first, second):
            self._out(number, task.side).unlink(missing_ok=True)
        with self._running(name, runs=2):
            reason = run_in_turns(
                (first, second),
                self.display.test,
                lambda task, ended: self._ended(number, task, ended),
            )
        if reason:
            self._say_one_by_one(reason)

    def _ended(self, number: int, task: Task, ended: Outcome) -> None:
        side, out = task.side.side.name, self._out(number, task.side)
        self._note(number, f"pair {number} {side}", side, ended, task.log)
        if _is_measured(_part(out)):
            _part(out).replace(out)

    @contextmanager
    def _running(self, name: str, runs: int) -> Iterator[None]:
        """Show that runs begin; end what they leave behind, and note how long they took."""
        known = sum(self._durations) / len(self._durations) if self._durations else None
        left = None if known is None else known * self._runs_left
        self.display.begin(name, self._runs_left, left)
        start = time.monotonic()
        with orphans.ended(partial(self._say_ended, name)):
            yield
        self._durations += [(time.monotonic() - start) / runs] * runs
        self._runs_left -= runs
        with suppress(OSError):  # A run that was killed has left its journal there.
            (self.folder / "storage").rmdir()

    def _run(self, number: int, task: Task) -> None:
        side = task.side.side.name
        name = f"pair {number} {side}"
        if _is_measured(self._out(number, task.side)):  # By the comparison that this one resumes.
            if task.log.exists() or task.report.exists():
                earlier = outcome(task.report, task.log, task.side.folder)
                self._note(number, name, side, earlier, task.log)
            self._runs_left -= 1
            return
        with self._running(name, runs=1):
            ended = run_pytest(task, self.display.test)
        self._ended(number, task, ended)

    def _say_ended(self, name: str, processes: Sequence[str]) -> None:
        self.display.say(
            f"{name}: it left processes behind, which were ended: {', '.join(processes)}"
        )

    def _note(self, number: int, name: str, side: str, ended: Outcome, log: Path) -> None:
        if ended.foreign:
            raise ABError(
                f"{name}: {ended.foreign}, which is not {side}'s own tree; log: {log.name} in "
                f"{self.folder}"
            )
        if number <= self.plan.first_pairs:
            self.lost[side].update({*ended.failed, *ended.skipped})
            self.passed[side] |= ended.passed
            if side == "head":
                self.failed |= set(ended.failed)
        if ended.exit_code in (None, 0) and not ended.failed:
            return
        if ended.exit_code in (None, _TESTS_FAILED) and ended.failed:
            failures = [f"{name}: {test} failed; log: {log.name}" for test in ended.failed]
        else:
            failures = [f"{name}: exit code {ended.exit_code}: {ended.problem}; log: {log.name}"]
            if number == 1:
                # The same command would fail every time: report it now, not an hour later.
                raise ABError(f"{failures[0]} in {self.folder}")
        self.failures += failures
        for line in failures:
            self.display.say(f"failed: {line}")

    def _pairs(self, numbers: Sequence[int]) -> list[paired.Pair]:
        pairs = []
        for number in numbers:
            try:
                base, head = (
                    read_run(run_file(self.folder, number, side)) for side in ("base", "head")
                )
            except StoredError:
                continue  # Reported when it failed; one side is not a pair.
            pairs.append(paired.Pair(number, base, head))
        return pairs

    def _check(self, pairs: Sequence[paired.Pair]) -> None:
        if not pairs:
            raise ABError(
                "no pair was measured on both sides"
                + (f": {self.failures[0]}" if self.failures else "")
            )
        base, head = paired.tests_of(pairs)
        if not match(base, head):
            raise ABError(
                f"the sides have no test in common (base has {sorted(base)[0]}, head has "
                f"{sorted(head)[0]})"
            )

    def _selections(
        self, pairs: Sequence[paired.Pair], tests: set[str]
    ) -> tuple[Path | None, Path | None]:
        """Write a file for each side with the ids of the tests to measure again."""
        base, head = paired.tests_of(pairs)
        chosen = [m for m in match(base, head) if m.candidate_id in tests]
        files = (self.folder / "suspects-base.txt", self.folder / "suspects-head.txt")
        files[0].write_text("".join(f"{m.baseline_id}\n" for m in chosen), encoding="utf-8")
        files[1].write_text("".join(f"{m.candidate_id}\n" for m in chosen), encoding="utf-8")
        return files

    def _judge(self, pairs: Sequence[paired.Pair]) -> Judgement:
        judgement = paired.judge(
            pairs,
            self.plan.limits,
            first=self.plan.first_pairs,
            in_two_stages=self.plan.more_pairs > 0,
            failures=self.failures,
            names=self.plan.names,
        )
        broken = self._broken()
        gone = [t for t in judgement.gone if not any(_is_of(t, node) for node in broken)]
        notes = self._notes + [f"one side after the other: {reason}" for reason in self.one_by_one]
        return replace(
            judgement,
            broken=tuple(broken),
            gone=tuple(gone),
            notes=(*notes, *judgement.notes),
            settings={**judgement.settings, "one_by_one": list(self.one_by_one)},
        )

    def _broken(self) -> list[str]:
        """Return the tests, and the modules, that never pass on head and do on base."""
        runs = min(self.plan.first_pairs, self._begun)
        return sorted(
            test
            for test, times in self.lost["head"].items()
            if times >= runs
            and self.lost["base"][test] < runs
            # A new test that is skipped is not in the baseline; one that fails is a fault of head.
            and (test in self.failed or any(_is_of(one, test) for one in self.passed["base"]))
        )


def _is_of(test: str, node: str) -> bool:
    """Return whether a test is a node of pytest's tree, or lies below it."""
    return test == node or test.startswith((f"{node}::", f"{node}/"))


def _part(out: Path) -> Path:
    """Return the file that a run writes, before it has ended as it should."""
    return out.with_suffix(".part")


def _is_measured(path: Path) -> bool:
    try:
        read_run(path)
    except StoredError:
        return False
    return True
