"""``ab --budget``: no pair begins that would end too late."""

from types import SimpleNamespace

import pytest

from pytest_llmperf.ab import comparison as comparing
from pytest_llmperf.ab.budget import Budget
from pytest_llmperf.ab.comparison import Comparison
from pytest_llmperf.ab.plan import Plan
from pytest_llmperf.ab.sides import Side
from pytest_llmperf.gate.limits import LimitSettings


class Display:
    def __init__(self):
        self.lines = []

    def say(self, line):
        self.lines.append(line)


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Measure pairs of 10 s each within a budget; return the numbers of those that began."""

    def run(seconds, pairs=8):
        now = [0.0]
        plan = Plan(
            "job",
            Side("base"),
            Side("head"),
            "/",
            (),
            "",
            pairs,
            0,
            LimitSettings(),
            in_turns=False,
        )
        budget = Budget(seconds, lambda: now[0])
        comparison = Comparison(plan, tmp_path, Display(), budget)
        begun = []

        def measure(number, task):
            begun.append(number)
            now[0] += 5
            comparison._durations.append(5.0)

        monkeypatch.setattr(comparing, "_is_measured", lambda path: False)
        monkeypatch.setattr(comparison, "_task", lambda *_: SimpleNamespace(side=None))
        monkeypatch.setattr(comparison, "_out", lambda number, side: tmp_path)
        monkeypatch.setattr(comparison, "_run", measure)
        all_begun = comparison._measure(range(1, pairs + 1), (None, None), (None, None))
        return begun[::2], all_begun

    return run


@pytest.mark.parametrize(
    ("seconds", "pairs", "is_all"),
    [
        (float("inf"), 8, True),
        (80, 8, True),
        (79, 7, False),
        (35, 3, False),
        (1, 1, False),  # Nobody knows how long the first one takes.
    ],
)
def test_no_pair_begins_that_would_end_too_late(measured, seconds, pairs, is_all):
    begun, all_begun = measured(seconds)
    assert begun == list(range(1, pairs + 1))
    assert all_begun is is_all
