"""Judge a new run against stored runs of the past."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from ..store.stored import Observation, StoredRun, TestRecord
from . import exact, rule, timing
from .clock import believable, moment, start_of
from .comparable import differences, noted_differences, setting_changes
from .disturbances import canary_shift, disturbances, problem
from .limits import Limits, LimitSettings
from .matching import Key, Repeats, all_tests, badness, median
from .measured import measured
from .observed import Observed
from .verdict import EntryVerdict, Judgement, Verdict

WINDOW = 20
LEAST_JOBS = 3
"""Jobs that an entry needs. Quality needs one: its noise is between documents, which every run has."""

Jobs = tuple[tuple[Observation, ...], ...]
"""Observations by job and process, oldest job first."""


@dataclass(frozen=True)
class _Entry:
    """An entry with the observations of the new job and of past jobs."""

    key: Key
    candidate: tuple[Observation, ...]
    jobs: Jobs
    first_jobs: Jobs = ()
    """The first jobs of its level, if the newest are different: a slow creep shows against these."""

    @property
    def observed(self) -> Observed:
        return Observed(self.key, tuple(chain(*self.jobs)), self.candidate, len(self.jobs))

    @property
    def is_timing(self) -> bool:
        kind = self.candidate[0].kind
        return kind == "timing" or (
            kind == "exact" and exact.varies(self.key[1], self.observed.baseline)
        )

    @property
    def jobs_needed(self) -> int:
        return 1 if self.observed.is_quality else LEAST_JOBS

    @property
    def against_first_jobs(self) -> _Entry:
        return replace(self, jobs=self.first_jobs)


@dataclass(frozen=True)
class _Matched:
    """A test of the new job, and the runs that can be compared with it."""

    test: TestRecord
    """The test's newest record."""
    past: tuple[StoredRun, ...]
    new: tuple[TestRecord, ...]
    reasons: tuple[str, ...]
    """Reasons for leaving out other runs, past or new; one per run."""
    other_settings: tuple[tuple[StoredRun, str], ...] = ()
    """Past runs on this hardware with other settings, oldest first, and what differs."""

    @property
    def problem(self) -> str:
        """Return why nothing can be compared; empty if it can."""
        return "" if self.past and self.new else "; ".join(dict.fromkeys(self.reasons))

    def changed_setting(self, metric: str, since: str) -> str:
        """Return what makes an entry a new level; empty if it continues one, or is new.

        Args:
            since: start of the run that introduced the accepted level; earlier runs are left out.
        """
        if any(self._counts(run, metric, since) for run in self.past):
            return ""
        reasons = [why for run, why in self.other_settings if self._counts(run, metric, since)]
        return reasons[-1] if reasons else ""

    def _counts(self, run: StoredRun, metric: str, since: str) -> bool:
        """Return whether a past run has an entry at its accepted level, and was not rejected there."""
        test = run.tests[self.test.nodeid]
        return (
            metric in test.metrics
            and (test.nodeid, metric) not in run.rejected
            and not _is_before(run, since)
        )

    def entry(self, metric: str, since: str) -> _Entry:
        """Return an entry with its newest jobs, and with as many runs of each as the new job has.

        Means over equally many runs have the same noise; a mean over more runs has less.

        Args:
            since: start of the run that introduced the accepted level; earlier runs are left out.
        """
        key = (self.test.nodeid, metric)
        candidate = tuple(test.metrics[metric] for test in self.new if metric in test.metrics)
        jobs: dict[str, list[Observation]] = {}
        for run in self.past:
            if self._counts(run, metric, since):
                observation = run.tests[self.test.nodeid].metrics[metric]
                jobs.setdefault(run.job_id, []).append(observation)
        trimmed = tuple(tuple(job[: len(candidate)]) for job in jobs.values())
        first = trimmed[:WINDOW] if len(trimmed) > WINDOW else ()
        return _Entry(key, candidate, trimmed[-WINDOW:], first)


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
        baseline: stored runs; those of the candidate's job are left out.
        candidate: the new job's runs, one or several restarts.
        anchors: start of each entry's history (see ``accepted``).
        problems: files that could not be read, for the report.
    """
    past, unordered = believable(_past(baseline, candidate))
    tests = all_tests(sorted(candidate, key=start_of))
    known = all_tests(past)
    matched = [_match(test, past, candidate) for test in tests.values() if test.nodeid in known]
    entries, incomparable = _entries(matched, known, anchors or {})
    left_out = Counter(reason for test in matched for reason in test.reasons)
    compared = [run.tests[m.test.nodeid] for m in matched for run in m.past[-WINDOW:]]
    return Judgement(
        mode="history",
        baseline=names[0],
        candidate=names[1],
        entries=tuple(incomparable + _verdicts(entries, tests, settings)),
        new=tuple(sorted(set(tests) - set(known))),
        gone=tuple(sorted(set(past[-1].tests) - set(tests))) if past else (),
        failures=(*problems, *unordered),
        notes=tuple(_notes(tests, known, left_out, compared)),
        settings={"window": WINDOW, "least_jobs": LEAST_JOBS, "runs": len(past)},
        measured=measured(compared, tests.values()),
    )


def _past(baseline: Sequence[StoredRun], candidate: Sequence[StoredRun]) -> list[StoredRun]:
    """Return the runs of other jobs."""
    same = {run.run_id for run in candidate} | {run.job_id for run in candidate}
    return [run for run in baseline if run.run_id not in same and run.job_id not in same]


def _is_before(run: StoredRun, since: str) -> bool:
    """Return whether a run started before the level that was accepted; empty: no level was."""
    level = moment(since)
    return level is not None and start_of(run) < level


def _match(test: TestRecord, past: Sequence[StoredRun], candidate: Sequence[StoredRun]) -> _Matched:
    comparable, reasons = _comparable(past, test)
    new, new_reasons = _comparable(candidate, test)
    records = tuple(run.tests[test.nodeid] for run in new)
    kept = {id(run) for run in comparable}
    others = [run for run in past if test.nodeid in run.tests and id(run) not in kept]
    changed = [(run, "; ".join(setting_changes(run.tests[test.nodeid], test))) for run in others]
    return _Matched(
        test,
        tuple(comparable),
        records,
        (*reasons, *new_reasons),
        tuple((run, why) for run, why in changed if why),
    )


def _comparable(runs: Sequence[StoredRun], test: TestRecord) -> tuple[list[StoredRun], list[str]]:
    """Return the runs that can be compared with a test, and the reasons against the others."""
    comparable, reasons = [], []
    for run in runs:
        other = run.tests.get(test.nodeid)
        if other is None:
            continue
        phrases = differences(other, test) or [p for p in (problem(other), problem(test)) if p]
        if phrases:
            reasons.append("; ".join(phrases))
        else:
            comparable.append(run)
    return comparable, reasons


def _entries(
    matched: Sequence[_Matched], known: Mapping[str, TestRecord], anchors: Mapping[Key, str]
) -> tuple[list[_Entry], list[EntryVerdict]]:
    """Return the entries to judge, and verdicts on those that cannot be compared."""
    entries: list[_Entry] = []
    incomparable: list[EntryVerdict] = []
    repeats = Repeats()
    for matched_test in matched:
        nodeid, metrics = matched_test.test.nodeid, matched_test.test.metrics
        lost = [metric for metric in known[nodeid].metrics if metric not in metrics]
        incomparable += [_incomparable((nodeid, m), "the new run no longer has it") for m in lost]
        for metric in metrics:
            if repeats.is_copy(metric, matched_test.test.cell):
                continue
            key = (nodeid, metric)
            since = anchors.get(key, "")
            if changed := matched_test.changed_setting(metric, since):
                incomparable.append(_incomparable(key, changed, new_level=True))
            elif matched_test.problem:
                incomparable.append(_incomparable(key, matched_test.problem))
            else:
                entries.append(matched_test.entry(metric, since))
    return entries, incomparable


def _incomparable(key: Key, reason: str, new_level: bool = False) -> EntryVerdict:
    return EntryVerdict(*key, Verdict.NOT_COMPARABLE, reason=reason, new_level=new_level)


def _verdicts(
    entries: Sequence[_Entry], tests: Mapping[str, TestRecord], settings: LimitSettings
) -> list[EntryVerdict]:
    few = [entry for entry in entries if len(entry.jobs) < entry.jobs_needed]
    enough = [entry for entry in entries if len(entry.jobs) >= entry.jobs_needed]
    suite = _TimingSuite([entry for entry in enough if entry.is_timing])
    verdicts = [_too_few(entry) for entry in few]
    for entry in enough:
        nodeid, metric = entry.key
        if not entry.is_timing:
            verdicts.append(_without_noise(entry))
        elif suite.has(entry):
            limits = settings.of(metric, "history", tests[nodeid])
            verdicts.append(suite.verdict(entry, limits))
        else:
            reason = "values are not positive"
            verdicts.append(entry.observed.verdict(Verdict.NOT_COMPARABLE, reason))
    return verdicts


class _TimingSuite:
    """Entries with noise, which are judged together.

    Both tests of an entry, against its newest jobs and against its first ones, are one family.
    """

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self._recent = _effects(entries)
        self._at_first = _effects([e.against_first_jobs for e in entries if e.first_jobs])
        family = {("recent", key): effect.p_worse for key, effect in self._recent.items()}
        family |= {("first", key): effect.p_worse for key, effect in self._at_first.items()}
        self._size = len(family)
        self._worse = rule.significant(family)
        self._better = rule.significant({k: e.p_better for k, e in self._recent.items()})

    def has(self, entry: _Entry) -> bool:
        """Return whether the entry's effect is known."""
        return entry.key in self._recent

    def verdict(self, entry: _Entry, limits: Limits) -> EntryVerdict:
        """Return the verdict against the newest jobs, unless the first ones show a regression."""
        recent = timing.verdict(self._judged(entry, "recent", self._recent[entry.key], limits))
        if recent.verdict is Verdict.REGRESSION or ("first", entry.key) not in self._worse:
            return recent
        effect = self._at_first[entry.key]
        crept = timing.verdict(self._judged(entry.against_first_jobs, "first", effect, limits))
        if crept.verdict is not Verdict.REGRESSION:
            return recent
        return replace(crept, reason=f"step by step, against the first {WINDOW} runs of its level")

    def _judged(
        self, entry: _Entry, window: str, effect: rule.Effect, limits: Limits
    ) -> timing.Judged:
        observed = entry.observed
        return timing.Judged(
            key=entry.key,
            effect=effect,
            baseline=median(observed.baseline),
            candidate=median(observed.candidate),
            unit=observed.unit,
            is_worse=(window, entry.key) in self._worse,
            is_better=entry.key in self._better,
            entries=self._size,
            limits=limits,
            observation="runs",
        )


def _without_noise(entry: _Entry) -> EntryVerdict:
    """Return the verdict against the newest jobs; quality is also judged against the first ones."""
    recent = entry.observed.judge()
    if not (entry.observed.is_quality and entry.first_jobs) or recent.verdict is Verdict.REGRESSION:
        return recent
    crept = entry.against_first_jobs.observed.judge()
    if crept.verdict is not Verdict.REGRESSION:
        return recent
    return replace(crept, reason=f"step by step, against the first {WINDOW} runs of its level")


def _effects(entries: Sequence[_Entry]) -> dict[Key, rule.Effect]:
    levels = {entry.key: _level(entry.candidate) for entry in entries}
    past = {entry.key: [_level(job) for job in entry.jobs] for entry in entries}
    return rule.against_history(
        {key: level for key, level in levels.items() if level is not None},
        {key: [v for v in values if v is not None] for key, values in past.items()},
        {entry.key: rule.Place(*entry.key) for entry in entries},
    )


def _too_few(entry: _Entry) -> EntryVerdict:
    n, needed = len(entry.jobs), entry.jobs_needed
    runs = "run" if n == 1 else "runs"
    are = "is" if needed == 1 else "are"
    reason = f"{n} comparable {runs} in the baseline; {needed} {are} needed"
    return entry.observed.verdict(Verdict.INCONCLUSIVE, reason)


def _level(observations: Sequence[Observation]) -> float | None:
    """Return a job's mean log value; None if a value is not positive."""
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
