"""The interval of a median: its coverage, its honesty about drift, and when it is looked at."""

import math
import random
import statistics

import pytest

from pytest_llmperf.metrics.precision import (
    FIRST_LOOK,
    dependence,
    half_interval,
    is_known,
    next_look,
)
from pytest_llmperf.metrics.samples import metric, of_these_rounds


def noise(seed, n, spread=0.02):
    source = random.Random(seed)
    return [math.exp(source.gauss(0, spread)) for _ in range(n)]


def drift(seed, n, spread=0.02, correlation=0.9):
    source = random.Random(seed)
    level, values = source.gauss(0, 1), []
    for _ in range(n):
        values.append(math.exp(spread * level))
        level = correlation * level + math.sqrt(1 - correlation**2) * source.gauss(0, 1)
    return values


def test_equal_rounds_know_their_median_exactly():
    assert half_interval([0.25] * 10) == 0.0


@pytest.mark.parametrize("n", range(6))
def test_fewer_than_six_rounds_know_no_interval(n):
    assert half_interval([1.0 + i for i in range(n)]) is None


def test_the_half_interval_of_independent_rounds_lies_between_two_order_statistics():
    # An order that hides the size of the values, so that the rounds look independent.
    values = [1.0 + 0.01 * (i * 37 % 100) for i in range(100)]
    # The ranks around the middle that a fair coin stays between in 95 %: 1.96 * sqrt(100) / 2.
    expected = 1.96 * 10 / 2 * 0.01 / 1.495
    assert dependence(values) == pytest.approx(1, abs=0.02)
    assert half_interval(values) == pytest.approx(expected, rel=0.01)


def test_of_two_levels_the_interval_reaches_to_the_other_one():
    source = random.Random(8)
    values = [1.0 if source.random() < 0.52 else 1.1 for _ in range(50)]
    assert half_interval(values) == pytest.approx(0.1, rel=0.1)


def test_an_outlier_does_not_widen_the_interval():
    values = noise(1, 50)
    without = half_interval(values)
    values[values.index(max(values))] *= 1000
    assert half_interval(values) == without


def test_a_unit_does_not_change_the_interval():
    values = noise(2, 40)
    assert half_interval([1e3 * v for v in values]) == pytest.approx(half_interval(values))


def test_a_trend_widens_the_interval():
    rising = [1.0 + 0.001 * i for i in range(40)]
    shuffled = random.Random(3).sample(rising, 40)
    assert half_interval(shuffled) < 0.01
    # The median lies farther away than all that was seen.
    assert half_interval(rising) > 0.02


def test_drift_counts_as_fewer_rounds():
    def typical(series):
        return sorted(dependence(values) for values in series)[10]

    assert typical([noise(seed, 100) for seed in range(21)]) < 2
    assert typical([drift(seed, 100) for seed in range(21)]) > 5


def test_an_interval_of_mostly_zeros_is_unknown_or_zero():
    assert half_interval([0.0] * 20) == 0.0
    assert half_interval([0.0, 1.0, 0.0, -1.0] * 5) in (None, 0.0)


def looked_at(values, precision):
    """The rounds at which a measurement by need ends, and its interval."""
    n = next_look(0)
    while n < len(values) and not is_known(values[:n], precision):
        n = min(next_look(n), len(values))
    return n, half_interval(values[:n])


@pytest.mark.parametrize("spread", [0.005, 0.02])
def test_coverage_holds_with_the_looks_that_end_the_rounds(spread):
    hits, trials = 0, 200
    for seed in range(trials):
        values = noise(seed, 200, spread)
        n, half = looked_at(values, 0.01)
        hits += half is not None and abs(1 / statistics.median(values[:n]) - 1) <= half
    assert hits / trials >= 0.93


def test_looks_grow_apart():
    looks = [FIRST_LOOK]
    while looks[-1] < 200:
        looks.append(next_look(looks[-1]))
    assert looks == [10, 14, 20, 28, 40, 56, 79, 111, 156, 219]


def test_an_early_interval_has_to_be_narrower():
    values = noise(5, 10, 0.005)
    half = half_interval(values)
    assert is_known(values, 2.01 * half)
    assert not is_known(values, 1.5 * half)


def test_requests_of_a_round_count_as_one():
    alike = [value for value in noise(6, 20) for _ in range(8)]
    metrics = of_these_rounds({"ttft": metric("ttft", alike)}, 20, 0.01)
    assert metrics["ttft"].half_interval == half_interval(noise(6, 20))
    assert len(metrics["ttft"].by_round) == 20


def test_a_median_that_is_known_too_little_is_imprecise():
    values = noise(7, 20, 0.1)
    (asked,) = of_these_rounds({"ttft": metric("ttft", values)}, 20, 0.01).values()
    (fixed,) = of_these_rounds({"ttft": metric("ttft", values)}, 20, None).values()
    assert asked.imprecise
    assert asked.as_dict()["imprecise"] is True
    assert asked.as_dict()["half_interval"] == asked.half_interval > 0.01
    assert not fixed.imprecise
    assert "imprecise" not in fixed.as_dict()


def test_what_is_measured_once_has_no_interval():
    (load,) = of_these_rounds({"load_time": metric("load_time", [9.0])}, 20, 0.01).values()
    assert load.half_interval is None
    assert not load.imprecise
    assert "half_interval" not in load.as_dict()


def test_samples_that_no_round_can_be_told_of_have_no_interval():
    (uneven,) = of_these_rounds({"icl": metric("icl", [0.1] * 31)}, 10, 0.01).values()
    assert uneven.half_interval is None
