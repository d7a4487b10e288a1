"""Judges a new run against stored runs of the past."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..store.stored import QUALITY, Observation, StoredRun, TestRecord
from . import exact, rule, timing
from .comparable import differences, noted_differences
from .disturbances import canary_shift, disturbances, problem
from .limits import LimitSettings
from .matching import PER_ENGINE, Key, all_tests, badness, median, worse_by
from .verdict import CellVerdict, Judgement, Verdict

WINDOW = 20
LEAST_JOBS = 3


@dataclass(frozen=True)
class _Cell:
    """One metric of one test: the new job's processes, and those of each past job, oldest first."""

    key: Key
    candidate: tuple[Observation, ...]
    jobs: tuple[tuple[Observation, ...], ...]
    first: tuple[tuple[Observation, ...], ...] = ()
    """The first jobs of its level, where the newest are others: a slow creep shows against these."""

    @property
    def baseline(self) -> list[Observation]:
        return [observation for job in self.jobs for observation in job]

    @property
    def is_timing(self) -> bool:
        kind = self.candidate[0].kind
        return kind == "timing" or (kind == "exact" and exact.varies(self.key[1], self.baseline))


def judge(
    baseline: Sequence[StoredRun],
    candidate: Sequence[StoredRun],
    settings: LimitSettings,
    *,
    anchors: Mapping[Key, str] | None = None,
    names: tuple[str, str] = ("history", "this run"),
    problems: Sequence[str] = (),
) -> Judgement:
    """Judge the runs of one new job against past ones.

    Args:
        baseline: stored runs; those of the candidate's own job are left out.
        candidate: the new job's runs, one or several restarts.
        anchors: since when a cell's past counts (see ``accepted``).
        problems: files that could not be read, for the report.
    """
    own = {run.run_id for run in candidate} | {run.job_id for run in candidate}
    past = [run for run in baseline if run.run_id not in own and run.job_id not in own]
    past.sort(key=lambda run: run.started_at)
    tests = all_tests(sorted(candidate, key=lambda run: run.started_at))
    known = all_tests(past)
    cells: list[_Cell] = []
    verdicts: list[CellVerdict] = []
    left_out: Counter[str] = Counter()
    of_baseline: list[TestRecord] = []
    seen: set[tuple[str, str]] = set()
    for nodeid, test in tests.items():
        if nodeid not in known:
            continue
        usable, reasons = _usable(past, test)
        left_out.update(reasons)
        of_baseline += [run.tests[nodeid] for run in usable[-WINDOW:]]
        new, strange = _usable(candidate, test)
        left_out.update(strange)
        own_tests = [run.tests[nodeid] for run in new]
        for metric in known[nodeid].metrics:
            if metric not in test.metrics:
                reason = "the new run no longer has it"
                verdicts.append(CellVerdict(nodeid, metric, Verdict.NOT_COMPARABLE, reason=reason))
        for metric in test.metrics:
            if (metric, test.cell) in seen:
                continue
            if metric in PER_ENGINE:
                seen.add((metric, test.cell))
            if not usable or not own_tests:
                reason = "; ".join(dict.fromkeys(reasons + strange))
                verdicts.append(CellVerdict(nodeid, metric, Verdict.NOT_COMPARABLE, reason=reason))
            else:
                since = (anchors or {}).get((nodeid, metric), "")
                cells.append(_cell(test, metric, own_tests, usable, since))
    verdicts += _judge(cells, tests, settings)
    return Judgement(
        mode="history",
        baseline=names[0],
        candidate=names[1],
        cells=tuple(verdicts),
        new=tuple(sorted(set(tests) - set(known))),
        gone=tuple(sorted(set(past[-1].tests) - set(tests))) if past else (),
        failures=tuple(problems),
        notes=tuple(_notes(tests, known, left_out, of_baseline)),
        settings={"window": WINDOW, "least_jobs": LEAST_JOBS, "runs": len(past)},
    )


def _usable(past: Sequence[StoredRun], test: TestRecord) -> tuple[list[StoredRun], list[str]]:
    """The runs that measured the same thing on the same hardware, and why others did not."""
    usable, reasons = [], []
    for run in past:
        other = run.tests.get(test.nodeid)
        if other is None:
            continue
        found = differences(other, test) or [p for p in (problem(other), problem(test)) if p]
        if found:
            reasons.append("; ".join(found))
        else:
            usable.append(run)
    return usable, reasons


def _cell(
    test: TestRecord,
    metric: str,
    new: Sequence[TestRecord],
    usable: Sequence[StoredRun],
    since: str,
) -> _Cell:
    """The cell with its newest jobs, and as many runs of each as the new job has: like means."""
    candidate = tuple(record.metrics[metric] for record in new if metric in record.metrics)
    key = (test.nodeid, metric)
    jobs: dict[str, list[Observation]] = {}
    for run in usable:
        observed = run.tests[test.nodeid].metrics.get(metric)
        if observed is not None and key not in run.rejected and run.started_at >= since:
            jobs.setdefault(run.job_id, []).append(observed)
    trimmed = [tuple(job[: len(candidate)]) for job in jobs.values()]
    first = trimmed[:WINDOW] if len(trimmed) > WINDOW else []
    return _Cell(key, candidate, tuple(trimmed[-WINDOW:]), tuple(first))


def _judge(
    cells: Sequence[_Cell], tests: Mapping[str, TestRecord], settings: LimitSettings
) -> list[CellVerdict]:
    enough = [cell for cell in cells if len(cell.jobs) >= LEAST_JOBS]
    few = [cell for cell in cells if len(cell.jobs) < LEAST_JOBS]
    noisy = {cell.key: cell for cell in enough if cell.is_timing}
    old = {key: replace(cell, jobs=cell.first) for key, cell in noisy.items() if cell.first}
    recent, at_first = _effects(noisy), _effects(old)
    # One family of tests: a cell may be worse than of late, or than its level was at first.
    windows = {(key, 0): e for key, e in recent.items()} | {(k, 1): e for k, e in at_first.items()}
    worse = rule.significant({at: effect.p_worse for at, effect in windows.items()})
    better = rule.significant({key: effect.p_better for key, effect in recent.items()})
    found = [_too_few(cell) for cell in few]
    for cell in enough:
        test = tests[cell.key[0]]
        if cell.key in recent:
            judged = timing.Judged(
                key=cell.key,
                effect=recent[cell.key],
                baseline=median(cell.baseline),
                candidate=median(cell.candidate),
                unit=cell.candidate[0].unit,
                is_worse=(cell.key, 0) in worse,
                is_better=cell.key in better,
                cells=len(windows),
                limits=settings.of(cell.key[1], "history", test),
                observation="runs",
            )
            answer = timing.verdict(judged)
            if (cell.key, 1) in worse and answer.verdict is not Verdict.REGRESSION:
                crept = replace(
                    judged,
                    effect=at_first[cell.key],
                    baseline=median(old[cell.key].baseline),
                    is_worse=True,
                )
                if timing.verdict(crept).verdict is Verdict.REGRESSION:
                    reason = f"step by step, against the first {WINDOW} runs of its level"
                    answer = replace(timing.verdict(crept), reason=reason)
            found.append(answer)
        elif cell.candidate[0].kind == QUALITY:
            found.append(_described(cell, Verdict.INCONCLUSIVE, "quality is judged in pairs"))
        elif cell.is_timing:
            found.append(_described(cell, Verdict.NOT_COMPARABLE, "values are not positive"))
        else:
            found.append(_described(cell, exact.judge(cell.key[1], cell.baseline, cell.candidate)))
    return found


def _effects(cells: Mapping[Key, _Cell]) -> dict[Key, rule.Effect]:
    levels = {key: _level(cell.candidate) for key, cell in cells.items()}
    return rule.against_history(
        {key: level for key, level in levels.items() if level is not None},
        {key: [v for job in c.jobs if (v := _level(job)) is not None] for key, c in cells.items()},
        {key: rule.Place(*key) for key in cells},
    )


def _too_few(cell: _Cell) -> CellVerdict:
    n = len(cell.jobs)
    reason = (
        f"{n} comparable {'run' if n == 1 else 'runs'} in the baseline; {LEAST_JOBS} are needed"
    )
    return _described(cell, Verdict.INCONCLUSIVE, reason)


def _described(cell: _Cell, answer: Verdict, reason: str = "") -> CellVerdict:
    """A verdict with medians and their ratio, and no interval."""
    after = median(cell.candidate)
    before = median(cell.baseline) if cell.jobs else None
    return CellVerdict(
        *cell.key,
        answer,
        unit=cell.candidate[0].unit,
        baseline=before,
        candidate=after,
        effect=worse_by(cell.candidate[0].better, before, after) if before else None,
        n=len(cell.jobs),
        reason=reason,
    )


def _level(observations: Sequence[Observation]) -> float | None:
    """A job's mean log value."""
    values = [badness(observation) for observation in observations]
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _notes(
    tests: Mapping[str, TestRecord],
    known: Mapping[str, TestRecord],
    left_out: Counter[str],
    baseline: Sequence[TestRecord],
) -> list[str]:
    lines = [
        f"left out of the baseline, {n} {'measurement' if n == 1 else 'measurements'}: {reason}"
        for reason, n in left_out.most_common(5)
    ]
    phrases = [phrase for test in tests.values() for phrase in disturbances(test)]
    phrases += canary_shift(baseline, tests.values())
    other = [
        phrase
        for nodeid, test in tests.items()
        if nodeid in known and not differences(known[nodeid], test)
        for phrase in noted_differences(known[nodeid], test)
    ]
    return (
        lines
        + [f"newest run / this one: {p}" for p in dict.fromkeys(other)]
        + [f"this run: {phrase}" for phrase in dict.fromkeys(phrases)]
    )
