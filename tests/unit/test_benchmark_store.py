import math

import pytest

from pytest_llmperf.metrics.samples import metric
from pytest_llmperf.store.entries import VirtualClock
from pytest_llmperf.store.siblings import lower, sibling_name
from pytest_llmperf.store.stats import stats


def test_a_time_is_already_lower_is_better():
    assert lower(metric("ttft", [0.1, 0.3])) == [0.1, 0.3]


def test_a_rate_becomes_seconds_per_unit():
    assert lower(metric("output_throughput", [20.0, 50.0])) == [0.05, 0.02]


def test_a_rate_of_zero_has_no_seconds_per_unit():
    assert lower(metric("goodput", [0.0, 2.0])) == []


def test_ops_of_a_stored_rate_is_the_rate():
    entry = stats(lower(metric("output_throughput", [40.0, 40.0])))
    assert math.isclose(entry["ops"], 40.0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test_x[phi-2-vllm-nf4]", "test_x[phi-2-vllm-nf4-ttft]"),
        ("a.py::test_x[phi-2-vllm-nf4-8]", "a.py::test_x[phi-2-vllm-nf4-8-ttft]"),
        ("test_x", "test_x[ttft]"),
    ],
)
def test_a_sibling_is_named_after_its_parent_and_metric(name, expected):
    assert sibling_name(name, "ttft") == expected


def test_the_virtual_clock_moves_only_when_told():
    clock = VirtualClock()
    before = clock()
    assert clock() == before
    clock.advance(1.5)
    assert clock() - before == 1.5
