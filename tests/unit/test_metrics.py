"""Metrics from traces whose figures are worked out by hand."""

import copy
import pickle
from dataclasses import replace
from fnmatch import fnmatch

import pytest

from pytest_llmperf.core.trace import RequestTrace, RoundTrace
from pytest_llmperf.metrics.definitions import METRICS
from pytest_llmperf.metrics.rounds import (
    e2e,
    from_rounds,
    gaps,
    meets,
    step_time,
    tokens_per_step,
    tpot,
    ttft,
)
from pytest_llmperf.metrics.samples import FewSamplesWarning, Metric, metric

# Three tokens: 0.5 s to the first, then gaps of 0.2 s and 0.4 s; 8 prompt tokens.
THREE = RequestTrace(submitted=10.0, times=(10.5, 10.7, 11.1), counts=(1, 1, 1), input_tokens=8)
# Two tokens: 0.25 s to the first, then a gap of 1.0 s; 4 prompt tokens.
TWO = RequestTrace(submitted=10.0, times=(10.25, 11.25), counts=(1, 1), input_tokens=4)
# One token after 0.25 s; 4 prompt tokens.
ONE = RequestTrace(submitted=10.0, times=(10.25,), counts=(1,), input_tokens=4)
# Six tokens in three chunks: 2 after 0.5 s, 3 after 1.3 s, 1 after 1.5 s.
CHUNKS = RequestTrace(submitted=10.0, times=(10.5, 11.3, 11.5), counts=(2, 3, 1), input_tokens=8)


def of_one_round(*requests, objectives=None):
    return from_rounds([RoundTrace(requests)], objectives)


def only_sample(metrics, key):
    (sample,) = metrics[key].samples
    return sample


def test_ttft_is_from_submission_to_the_first_token():
    assert ttft(THREE) == pytest.approx(0.5)  # 10.5 - 10.0


def test_e2e_is_from_submission_to_the_last_token():
    assert e2e(THREE) == pytest.approx(1.1)  # 11.1 - 10.0


def test_tpot_is_the_time_after_the_first_token_over_the_other_tokens():
    assert tpot(THREE) == pytest.approx(0.3)  # (1.1 - 0.5) / (3 - 1)


def test_tpot_of_one_token_is_undefined():
    assert tpot(ONE) is None


def test_tpot_leaves_out_tokens_that_arrived_with_the_first():
    assert tpot(CHUNKS) == pytest.approx(0.25)  # (11.5 - 10.5) / (6 - 2)


def test_tpot_is_undefined_when_all_tokens_arrive_together():
    assert tpot(RequestTrace(10.0, (10.5,), (4,), 8)) is None


def test_gaps_lie_between_consecutive_arrivals():
    assert gaps(THREE) == pytest.approx([0.2, 0.4])
    assert gaps(ONE) == []


def test_itl_pools_the_gaps_of_all_requests_and_rounds():
    metrics = from_rounds([RoundTrace((THREE, TWO)), RoundTrace((THREE,))])
    assert metrics["itl"].samples == pytest.approx((0.2, 0.4, 1.0, 0.2, 0.4))
    assert "icl" not in metrics


def test_chunks_of_several_tokens_give_icl_instead_of_itl():
    metrics = of_one_round(THREE, CHUNKS)
    assert metrics["icl"].samples == pytest.approx((0.2, 0.4, 0.8, 0.2))
    assert "itl" not in metrics


def test_a_step_that_gives_several_tokens_is_the_time_between_two_stamps():
    # 2 tokens at 1 s, then 3, 1 and 2 at 2, 3 and 4 s.
    trace = RequestTrace(0.0, (1.0, 2.0, 3.0, 4.0), (2, 3, 1, 2), 8)
    assert step_time(trace, speculation=True) == 1
    assert step_time(trace, speculation=False) == tpot(trace) == 0.5
    assert tokens_per_step([RoundTrace((trace, ONE))])["tokens_per_step"].samples == (2,)
    assert tokens_per_step([RoundTrace((ONE,))]) == {}


def test_requests_give_a_sample_each():
    metrics = from_rounds([RoundTrace((THREE, TWO)), RoundTrace((ONE,))])
    assert metrics["ttft"].samples == pytest.approx((0.5, 0.25, 0.25))
    assert metrics["e2e"].samples == pytest.approx((1.1, 1.25, 0.25))
    assert metrics["tpot"].samples == pytest.approx((0.3, 1.0))  # undefined for the last


def test_throughputs_of_a_single_request():
    metrics = of_one_round(THREE)
    # The round takes 1.1 s.
    assert only_sample(metrics, "output_throughput") == pytest.approx(3 / 1.1)
    assert only_sample(metrics, "total_throughput") == pytest.approx((8 + 3) / 1.1)
    assert only_sample(metrics, "request_throughput") == pytest.approx(1 / 1.1)
    assert only_sample(metrics, "prefill_throughput") == pytest.approx(16.0)  # 8 / 0.5
    assert only_sample(metrics, "decode_throughput") == pytest.approx(2 / 0.6)


def test_throughputs_of_a_batch():
    metrics = of_one_round(THREE, TWO)
    # The round takes 1.25 s: until the slower request has its last token.
    assert only_sample(metrics, "output_throughput") == pytest.approx(4.0)  # (3 + 2) / 1.25
    assert only_sample(metrics, "total_throughput") == pytest.approx(13.6)  # (8 + 4 + 5) / 1.25
    assert only_sample(metrics, "request_throughput") == pytest.approx(1.6)  # 2 / 1.25
    # 3 / 1.1 and 2 / 1.25: each request by its own time.
    assert metrics["output_throughput_per_request"].samples == pytest.approx((3 / 1.1, 1.6))
    # 8 / 0.5 + 4 / 0.25
    assert only_sample(metrics, "prefill_throughput") == pytest.approx(32.0)
    # (3 - 1) / 0.6 + (2 - 1) / 1.0
    assert only_sample(metrics, "decode_throughput") == pytest.approx(2 / 0.6 + 1.0)


def test_throughputs_have_a_sample_a_round():
    metrics = from_rounds([RoundTrace((THREE,)), RoundTrace((TWO,))])
    assert metrics["output_throughput"].samples == pytest.approx((3 / 1.1, 2 / 1.25))


def test_single_tokens_have_no_tpot_itl_or_decode_throughput():
    metrics = of_one_round(ONE)
    assert set(metrics) == {
        "ttft",
        "e2e",
        "output_throughput",
        "output_throughput_per_request",
        "total_throughput",
        "request_throughput",
        "prefill_throughput",
    }


def test_decode_throughput_leaves_out_requests_of_a_single_token():
    assert only_sample(of_one_round(TWO, ONE), "decode_throughput") == pytest.approx(1.0)


def test_goodput_counts_requests_that_met_every_objective():
    # THREE has ttft 0.5 and misses; TWO has 0.25 and meets it: 1 request in 1.25 s.
    metrics = of_one_round(THREE, TWO, objectives={"ttft": 0.4, "tpot": 2.0})
    assert only_sample(metrics, "goodput") == pytest.approx(0.8)


def test_goodput_of_a_round_that_missed_everything_is_zero():
    assert only_sample(of_one_round(THREE, objectives={"e2e": 1.0}), "goodput") == 0.0


def test_an_objective_is_met_at_its_limit():
    assert meets(TWO, {"ttft": 0.25})
    assert not meets(TWO, {"ttft": 0.2499})


def test_an_undefined_tpot_meets_its_objective():
    assert meets(ONE, {"tpot": 0.001})
    assert only_sample(of_one_round(ONE, objectives={"tpot": 0.001}), "goodput") == 4.0  # 1 / 0.25


def test_there_is_no_goodput_without_objectives():
    assert "goodput" not in of_one_round(THREE)


@pytest.mark.parametrize(
    ("q", "expected"),
    [(0, 1.0), (25, 1.75), (50, 2.5), (90, 3.7), (95, 3.85), (99, 3.97), (100, 4.0)],
)
def test_percentiles_are_linear_between_ranks(q, expected):
    # numpy.percentile([4, 1, 3, 2], q)
    assert metric("ttft", [4.0, 1.0, 3.0, 2.0]).percentile(q) == pytest.approx(expected)


def test_percentiles_have_names():
    found = metric("ttft", [4.0, 1.0, 3.0, 2.0])
    assert (found.p50, found.p90, found.p95, found.p99) == pytest.approx((2.5, 3.7, 3.85, 3.97))


@pytest.mark.parametrize("q", [-1, 100.5])
def test_percentile_outside_its_range_is_rejected(q):
    with pytest.raises(ValueError, match=f"^a percentile is between 0 and 100, not {q}$"):
        metric("ttft", [1.0]).percentile(q)


def test_one_sample_is_every_statistic():
    found = metric("ttft", [0.5])
    statistics = (found.mean, found.min, found.max, found.p50, found.p90, found.p95, found.p99)
    assert statistics == (0.5,) * 7
    assert found.n == 1
    assert found.spread == 0.0


def test_spread_is_half_the_interquartile_range_over_the_median():
    # Quartiles 2 and 4, median 3: (4 - 2) / 2 / 3.
    assert metric("ttft", [1.0, 2.0, 3.0, 4.0, 5.0]).spread == pytest.approx(1 / 3)


def test_spread_of_a_zero_median_is_zero():
    assert metric("kv_cache_memory", [0.0, 0.0, 1.0]).spread == 0.0


def test_stored_form_is_that_of_schema_1():
    assert metric("output_throughput", [30.0, 10.0, 20.0]).as_dict() == {
        "unit": "tokens/s",
        "better": "higher",
        "kind": "timing",
        "n": 3,
        "mean": 20.0,
        "min": 10.0,
        "max": 30.0,
        "p50": 20.0,
        "p90": pytest.approx(28.0),
        "p95": pytest.approx(29.0),
        "p99": pytest.approx(29.8),
        "samples": [30.0, 10.0, 20.0],
    }


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_sample_that_is_not_finite_is_rejected(bad):
    with pytest.raises(ValueError, match=f"^ttft: sample {bad} is not a finite number$"):
        metric("ttft", [0.5, bad])


def test_an_unknown_key_is_rejected():
    with pytest.raises(ValueError, match=r"^unknown metric 'latency'$"):
        metric("latency", [0.5])


def test_no_samples_give_no_metric():
    assert metric("ttft", []) is None


def test_only_rates_and_shares_are_higher_is_better():
    rates = {key for key, definition in METRICS.items() if definition.better == "higher"}
    assert rates == {
        "tokens_per_step",
        "output_throughput",
        "output_throughput_per_request",
        "total_throughput",
        "request_throughput",
        "prefill_throughput",
        "decode_throughput",
        "goodput",
        "top1_agreement",
        "mbu",
        "mfu",
    }


@pytest.mark.parametrize(
    ("key", "samples", "shown"),
    [
        ("ttft", [0.271, 0.2, 0.582], "ttft: p50 271 ms, max 582 ms, n 3"),
        ("ttft", [0.271] * 100, "ttft: p50 271 ms, p95 271 ms, n 100"),
        ("e2e", [1.5, 1.5], "e2e: p50 1.5 s, max 1.5 s, n 2"),
        ("tpot", [0.0000123], "tpot: 12.3 us, n 1"),
        ("tpot", [0.0], "tpot: 0 us, n 1"),
        (
            "output_throughput",
            [447.6, 12345.0],
            "output_throughput: p50 6,396 tokens/s, max 12,345 ",
        ),
        ("perplexity", [17.25], "perplexity: 17.2, n 1"),
        ("ttft", [], "ttft: no samples"),
    ],
)
def test_a_metric_is_short_in_a_failed_assertion(key, samples, shown):
    assert repr(Metric(METRICS[key], tuple(samples))).startswith(shown)
    assert f"{Metric(METRICS[key], tuple(samples))}".startswith(shown)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("p96", "ttft has no p96; it has p50, *, and percentile(96)"),
        ("p99_9", "ttft has no p99_9; it has p50, *, and percentile(99.9)"),
        ("median", "ttft has no median; did you mean p50? it has p50, *"),
        ("meen", "ttft has no meen; did you mean mean? it has p50, *"),
        ("quux", "ttft has no quux; it has p50, *"),
    ],
)
def test_a_statistic_that_does_not_exist_names_those_that_do(name, message):
    with pytest.raises(AttributeError) as error:
        getattr(metric("ttft", [1.0]), name)
    assert fnmatch(str(error.value), message)


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m < 1,
        lambda m: m >= 1,
        lambda m: m * 1000,
        lambda m: 1 - m,
        lambda m: m / m,
        float,
        round,
        "{:.3f}".format,
    ],
)
def test_a_metric_is_no_number(use):
    message = r"^ttft holds 2 samples, not one number: write ttft\.p50, or mean, min, max, p95$"
    with pytest.raises(TypeError, match=message):
        use(metric("ttft", [1.0, 2.0]))


def test_a_metric_can_be_copied_and_stored():
    made = metric("ttft", [1.0, 2.0])
    assert copy.copy(made) == pickle.loads(pickle.dumps(made)) == replace(made, warns=True)


@pytest.mark.parametrize(("stat", "needed"), [("p90", 50), ("p95", 100), ("p99", 500)])
def test_a_percentile_that_a_test_reads_warns_if_its_samples_are_too_few(stat, needed):
    few = replace(metric("ttft", [1.0] * (needed - 1)), warns=True)
    message = (
        f"^ttft.{stat} needs {needed} samples and has {needed - 1}: read p50 or max, or measure"
    )
    with pytest.warns(FewSamplesWarning, match=message):
        getattr(few, stat)
    assert getattr(replace(metric("ttft", [1.0] * needed), warns=True), stat) == 1.0
