"""When rounds end: at a fixed number, when medians are known, or when their time is spent."""

import itertools
import random

import pytest

from pytest_llmperf.core.trace import RequestTrace, RoundTrace
from pytest_llmperf.core.turns import Asks
from pytest_llmperf.core.workload import Need, Workload
from pytest_llmperf.metrics.precision import half_interval
from pytest_llmperf.worker.ending import MOST_ROUNDS, Ending

NEED = Need(precision=0.01, max_time=1e9, metrics=("ttft", "tpot", "e2e"))


def steady():
    """Times to first token that do not vary."""
    return itertools.repeat(0.1)


def noisy(spread):
    source = random.Random(4)
    return (0.1 * source.lognormvariate(0, spread) for _ in itertools.count())


def rounds_until_the_end(need, ttfts, least=3, output_len=3):
    """Let rounds of one request go on, each a second long; return their times to first token."""
    measured = []
    workload = Workload(output_len=output_len, input_len=1, rounds=least, need=need)
    ending = Ending(workload, lambda: float(len(measured)))
    while ending.asks() in (Asks.NEEDS, Asks.WANTS):
        first = next(ttfts)
        times = tuple(first + 0.01 * i for i in range(output_len))
        ending.add(RoundTrace((RequestTrace(0.0, times, (1,) * output_len, 1),)))
        measured.append(first)
    return measured


@pytest.mark.parametrize("number", [1, 7])
def test_a_fixed_number_of_rounds_is_exact(number):
    assert len(rounds_until_the_end(None, noisy(1.0), least=number)) == number


def test_rounds_without_noise_end_at_the_first_look():
    assert len(rounds_until_the_end(NEED, steady())) == 10


def test_never_fewer_than_the_smallest_number():
    assert len(rounds_until_the_end(NEED, steady(), least=31)) == 31


def test_noise_makes_rounds_go_on_until_every_median_is_known():
    values = rounds_until_the_end(NEED, noisy(0.02))
    assert len(values) > 20
    assert half_interval(values) <= 0.01


def test_a_wider_precision_needs_fewer_rounds():
    coarse = Need(precision=0.05, max_time=1e9, metrics=NEED.metrics)
    needed = [len(rounds_until_the_end(need, noisy(0.05))) for need in (coarse, NEED)]
    assert needed[0] < needed[1]


def test_a_metric_that_is_not_asked_for_does_not_matter():
    only_tpot = Need(precision=0.01, max_time=1e9, metrics=("tpot",))
    assert len(rounds_until_the_end(only_tpot, noisy(0.5))) == 10


def test_a_metric_that_a_round_does_not_have_does_not_matter():
    assert len(rounds_until_the_end(NEED, steady(), output_len=1)) == 10


@pytest.mark.parametrize("seconds", [4.0, 7.5, 40.0])
def test_no_round_begins_that_would_end_after_the_time(seconds):
    need = Need(precision=0.001, max_time=seconds, metrics=NEED.metrics)
    assert len(rounds_until_the_end(need, noisy(0.5))) == int(seconds)


def test_the_smallest_number_takes_the_time_that_it_takes():
    need = Need(precision=0.01, max_time=0.5, metrics=NEED.metrics)
    assert len(rounds_until_the_end(need, noisy(0.5))) == 3


def test_percentiles_ask_for_their_rounds():
    need = Need(precision=0.01, max_time=1e9, metrics=NEED.metrics, rounds=500)
    assert len(rounds_until_the_end(need, steady())) == 500


def test_percentiles_do_not_get_more_time():
    need = Need(precision=0.01, max_time=60, metrics=NEED.metrics, rounds=500)
    assert len(rounds_until_the_end(need, steady())) == 60


def test_rounds_that_are_never_precise_end_all_the_same():
    need = Need(precision=1e-6, max_time=1e9, metrics=NEED.metrics)
    assert len(rounds_until_the_end(need, noisy(0.5))) == MOST_ROUNDS
