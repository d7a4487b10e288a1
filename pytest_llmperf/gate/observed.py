"""The observations of an entry on both sides, and its verdict if no noise is tested."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..store.stored import QUALITY, Observation
from . import documents, exact
from .matching import Key, median, share, worse_by
from .verdict import EntryVerdict, Verdict


@dataclass(frozen=True)
class Observed:
    """An entry with one observation per process on either side, oldest first."""

    key: Key
    baseline: tuple[Observation, ...]
    candidate: tuple[Observation, ...]
    n: int
    """Pairs, or baseline jobs."""

    @property
    def unit(self) -> str:
        return self.candidate[0].unit

    @property
    def is_quality(self) -> bool:
        return self.candidate[0].kind == QUALITY

    def verdict(self, answer: Verdict, reason: str = "") -> EntryVerdict:
        """Return a verdict with medians and their ratio, without an interval."""
        before = median(self.baseline) if self.baseline else None
        after = median(self.candidate)
        return EntryVerdict(
            *self.key,
            answer,
            unit=self.unit,
            baseline=before,
            candidate=after,
            effect=None if before is None else worse_by(self.candidate[0].better, before, after),
            n=self.n,
            reason=reason,
        )

    def judge(self) -> EntryVerdict:
        """Judge a metric without noise: by a tolerance, or quality by a bootstrap over documents."""
        if self.is_quality:
            return self._judge_quality()
        return self.verdict(exact.judge(self.key[1], self.baseline, self.candidate))

    def _judge_quality(self) -> EntryVerdict:
        before = documents.typical([observation.samples for observation in self.baseline])
        after = documents.typical([observation.samples for observation in self.candidate])
        effect = documents.compare(before, after)
        if effect is None:
            return self.verdict(Verdict.NOT_COMPARABLE, "the documents are not the same")
        return replace(
            self.verdict(documents.judge(effect)),
            effect=share(effect.estimate),
            low=share(effect.low),
            high=share(effect.high),
        )
