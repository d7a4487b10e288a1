"""Budgets: what a limit's text means, how many samples carry it, which side of it fails."""

import pytest

from pytest_llmperf.core.values import shown
from pytest_llmperf.core.workload import Need, Workload
from pytest_llmperf.metrics.definitions import METRICS
from pytest_llmperf.metrics.samples import metric, needed_samples
from pytest_llmperf.session.budgets import (
    Budget,
    BudgetChecker,
    expected_samples,
    parse_budget,
)

NODEID = "test_a.py::test_x[m-simulated-none]"
NINES = "9" * 400
RECORD = {"nodeid": NODEID, "workload": {"rounds": 5}}


def measured(key, samples):
    """A record of one metric, as far as budgets read it."""
    return {**RECORD, "metrics": {key: metric(key, samples).as_dict()}}


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("ttft.p95:200ms", 0.2),
        ("ttft.p95:0.2s", 0.2),
        ("ttft.p95:.2s", 0.2),
        ("tpot.mean:1500us", 0.0015),
        ("load_time.p50:10s", 10),
        ("e2e.max: 2 s", 2),
        ("peak_memory.max:4GiB", 4096),
        ("peak_memory.max:512MiB", 512),
        ("model_memory.mean:512", 512),
        ("output_throughput.mean:30", 30),
        ("goodput.min:1.5", 1.5),
    ],
)
def test_an_absolute_limit_is_in_the_metrics_unit(text, limit):
    budget = parse_budget(text)
    assert budget.limit == pytest.approx(limit)
    assert not budget.relative
    assert budget.text == text
    assert text.startswith(f"{budget.metric}.{budget.stat}:")


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("tpot.p50:+5%", 0.05),
        ("peak_memory.max:+0%", 0.0),
        ("ttft.mean:+150 %", 1.5),
        ("output_throughput.mean:-2.5%", -0.025),
    ],
)
def test_a_relative_limit_is_a_share(text, share):
    budget = parse_budget(text)
    assert budget.relative
    assert budget.limit == pytest.approx(share)


KNOWN = ", ".join(METRICS)
FORM = "is not of the form METRIC.STAT:LIMIT, e.g. ttft.p95:200ms"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"'' {FORM}"),
        ("ttft.p95", f"'ttft.p95' {FORM}"),
        ("ttft:200ms", f"'ttft:200ms' {FORM}"),
        ("speed.p50:1s", f"unknown metric 'speed'; known: {KNOWN}"),
        (
            "ttft.p75:1s",
            "unknown statistic 'p75'; known: mean, min, max, p50, p90, p95, p99",
        ),
        ("ttft.p50:", "'ttft.p50:': '' is not a limit; write 200ms or +5%"),
        ("ttft.p50:fast", "'ttft.p50:fast': 'fast' is not a limit; write 200ms or +5%"),
        ("ttft.p50:1e-3", "'ttft.p50:1e-3': '1e-3' is not a limit; write 200ms or +5%"),
        ("ttft.p50:0ms", "'ttft.p50:0ms': '0ms' is not a limit; write 200ms or +5%"),
        ("ttft.p50:nan", "'ttft.p50:nan': 'nan' is not a limit; write 200ms or +5%"),
        ("ttft.p50:-1s", "'ttft.p50:-1s': '-1s' is not a limit; write 200ms or +5%"),
        ("peak_memory.max:+1", "'peak_memory.max:+1': '+1' is not a limit; write 4GiB or +5%"),
        ("goodput.min:x", "'goodput.min:x': 'x' is not a limit; write 30 or -5%"),
        (
            "ttft.p50:200min",
            "'ttft.p50:200min': a time takes s, ms or us, not 'min'",
        ),
        (
            "ttft.mean:200",
            "'ttft.mean:200': a time takes s, ms or us; write ttft.mean:200ms or ttft.mean:200s",
        ),
        (
            f"ttft.mean:{NINES}ms",
            f"{shown(f'ttft.mean:{NINES}ms')}: the number is too large; write 200ms or +5%",
        ),
        (
            f"tpot.p50:+{NINES}%",
            f"{shown(f'tpot.p50:+{NINES}%')}: the number is too large; write 200ms or +5%",
        ),
        (
            "peak_memory.max:4GB",
            "'peak_memory.max:4GB': a memory takes MiB or GiB (bare: MiB), not 'GB'",
        ),
        (
            "output_throughput.mean:30ms",
            "'output_throughput.mean:30ms': output_throughput is in tokens/s and takes no unit, "
            "not 'ms'",
        ),
        ("perplexity.mean:9ms", "'perplexity.mean:9ms': perplexity takes no unit, not 'ms'"),
        (
            "tpot.p50:-5%",
            "'tpot.p50:-5%': lower is better for tpot, so a relative limit is +5%",
        ),
        ("tpot.p50:5%", "'tpot.p50:5%': lower is better for tpot, so a relative limit is +5%"),
        (
            "goodput.mean:+5%",
            "'goodput.mean:+5%': higher is better for goodput, so a relative limit is -5%",
        ),
        ("goodput.mean:-100%", "'goodput.mean:-100%': nothing can fall by 100 % or more"),
        (
            "load_time.p95:5s",
            "'load_time.p95:5s': load_time has one sample per measurement, too few for p95; "
            "give load_time.max:5s",
        ),
        (
            "peak_memory.p90:+5%",
            "'peak_memory.p90:+5%': peak_memory has one sample per measurement, too few for p90; "
            "give peak_memory.max:+5%",
        ),
    ],
)
def test_a_mistake_is_one_line(text, message):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_budget(text)
    assert str(caught.value) == message


def test_every_metric_takes_a_budget():
    for key, definition in METRICS.items():
        sign = "+" if definition.better == "lower" else "-"
        unit = "s" if definition.unit == "s" else ""
        assert parse_budget(f"{key}.p50:10{unit}").limit == 10
        assert parse_budget(f"{key}.p50:{sign}10%").relative


def test_samples_that_carry_a_statistic():
    needed = {
        stat: needed_samples(stat) for stat in ("mean", "min", "max", "p50", "p90", "p95", "p99")
    }
    assert needed == {
        "mean": 1,
        "min": 1,
        "max": 1,
        "p50": 1,
        "p90": 50,
        "p95": 100,
        "p99": 500,
    }


def test_expected_samples():
    workload = Workload(output_len=11, input_len=8, batch_size=3, rounds=4)
    expected = {key: expected_samples(key, workload, True) for key in METRICS}
    assert expected == {
        **dict.fromkeys(METRICS, 4),
        **dict.fromkeys(("ttft", "e2e", "tpot", "output_throughput_per_request"), 12),
        **dict.fromkeys(("itl", "icl"), 120),
        **dict.fromkeys(("load_time", "peak_memory", "model_memory", "kv_cache_memory"), 1),
        **dict.fromkeys(("perplexity", "kl_divergence", "top1_agreement"), 1),
        **dict.fromkeys(("tokens_per_step", "mbu", "mfu", "cost_per_million_tokens"), None),
        **dict.fromkeys(("energy_per_output_token", "energy_per_token"), 1),
    }


def test_requests_of_one_token_have_no_sample_of_tpot():
    workload = Workload(output_len=[1, 4, 6], input_len=8, batch_size=3, rounds=2)
    keys = ("ttft", "tpot", "itl", "output_throughput")
    assert [expected_samples(key, workload, False) for key in keys] == [6, 4, 16, 2]


def test_metrics_that_a_measurement_will_not_have():
    one_token = Workload(output_len=1, input_len=8, batch_size=3, rounds=4)
    expected = {key: expected_samples(key, one_token, False) for key in METRICS}
    absent = {key for key, n in expected.items() if n == 0}
    assert absent == {"tpot", "itl", "icl", "decode_throughput", "goodput"}


@pytest.fixture
def check():
    """Judge one metric against one budget: ``check("ttft.p50:1s", [0.5], baseline=0.4)``."""

    def judge(text, samples, baseline=None):
        budget = parse_budget(text)
        checker = BudgetChecker([budget], lambda record, metric, stat: baseline)
        return checker.after(measured(budget.metric, samples))

    return judge


@pytest.mark.parametrize(
    ("text", "value", "line"),
    [
        ("ttft.p50:200ms", 0.213, "ttft.p50 is 213 ms, the limit is 200 ms"),
        ("ttft.p50:200ms", 0.20004, "ttft.p50 is 200.04 ms, the limit is 200 ms"),
        ("e2e.max:1.25s", 12.345, "e2e.max is 12.3 s, the limit is 1.25 s"),
        ("tpot.mean:500us", 0.002, "tpot.mean is 2,000 us, the limit is 500 us"),
        ("peak_memory.max:4GiB", 4097, "peak_memory.max is 4,097 MiB, the limit is 4,096 MiB"),
        (
            "output_throughput.mean:30",
            25.04,
            "output_throughput.mean is 25 tokens/s, the limit is at least 30 tokens/s",
        ),
    ],
)
def test_the_line_of_a_broken_budget(check, text, value, line):
    assert check(text, [value]) == [f"over budget: {line} (--llm-fail-if)"]


@pytest.mark.parametrize(
    ("text", "value", "baseline", "line"),
    [
        (
            "tpot.p50:+5%",
            0.004,
            0.002,
            "tpot.p50 is 4 ms, the limit is 2.1 ms, the baseline's 2 ms +5 %",
        ),
        (
            "output_throughput.mean:-10%",
            8.99,
            10.0,
            "output_throughput.mean is 8.99 tokens/s, the limit is at least 9 tokens/s, "
            "the baseline's 10 tokens/s -10 %",
        ),
    ],
)
def test_the_line_of_a_broken_relative_budget(check, text, value, baseline, line):
    assert check(text, [value], baseline) == [f"over budget: {line} (--llm-fail-if)"]


@pytest.mark.parametrize(
    ("text", "value", "baseline"),
    [
        ("ttft.p50:200ms", 0.2, None),
        ("output_throughput.mean:30", 30, None),
        ("tpot.p50:+5%", 0.00209, 0.002),
        ("tpot.p50:+5%", 0.001, 0.002),
        ("goodput.min:-10%", 9.01, 10.0),
    ],
)
def test_a_kept_budget_has_no_line(check, text, value, baseline):
    assert check(text, [value], baseline) == []


def test_the_statistic_is_the_named_one(check):
    samples = [0.1] * 60 + [1.0] * 40
    for stat, broken in (("min", 0), ("p50", 0), ("mean", 1), ("p90", 1), ("p95", 1), ("max", 1)):
        assert len(check(f"ttft.{stat}:200ms", samples)) == broken, stat


def test_a_budget_does_not_concern_a_measurement_without_its_metric():
    checker = BudgetChecker([parse_budget("ttft.p50:1us")], lambda *_: None)
    assert checker.after(measured("load_time", [3.0])) == []


def test_a_line_for_each_broken_budget(check):
    budgets = [parse_budget(text) for text in ("ttft.p50:1ms", "ttft.mean:1s", "ttft.max:2ms")]
    checker = BudgetChecker(budgets, lambda *_: None)
    lines = checker.after(measured("ttft", [0.5]))
    assert [line.split()[2] for line in lines] == ["ttft.p50", "ttft.max"]


def test_too_few_samples_are_told_before(monkeypatch):
    budgets = [parse_budget(text) for text in ("ttft.p95:1s", "e2e.p50:1s", "itl.p99:1s")]
    checker = BudgetChecker(budgets, lambda *_: None)
    few = Workload(output_len=5, input_len=8, batch_size=3, rounds=5)
    assert checker.before(few, False) == [
        "too few samples: ttft.p95 would have 15 and needs 100, which --llm-rounds=34 gives "
        "(--llm-fail-if)",
        "too few samples: itl.p99 would have 60 and needs 500, which --llm-rounds=42 gives "
        "(--llm-fail-if)",
    ]
    enough = Workload(output_len=5, input_len=8, batch_size=3, rounds=42)
    assert checker.before(enough, False) == []


@pytest.mark.parametrize("stat", ["p90", "p95", "p99"])
@pytest.mark.parametrize(
    "key",
    [
        *("load_time", "model_memory", "kv_cache_memory"),
        *("perplexity", "kl_divergence", "top1_agreement"),
    ],
)
def test_no_budget_can_have_too_few_samples_after_a_load_or_a_quality(key, stat):
    # All that those two store has one sample, so such a budget ends the run before it begins.
    with pytest.raises(ValueError, match=f"{key} has one sample per measurement"):
        parse_budget(f"{key}.{stat}:1")


def test_a_percentile_of_a_metric_that_will_not_be_needs_no_samples():
    checker = BudgetChecker([parse_budget("tpot.p95:1s")], lambda *_: None)
    assert checker.before(Workload(output_len=1, input_len=8, rounds=5), False) == []


def test_fewer_samples_than_expected_are_told_afterwards(check):
    # Chunks of tokens: how many there are is known when they have come.
    assert check("icl.p90:1s", [0.1] * 20) == [
        "too few samples: icl.p90 has 20 and needs 50, which --llm-rounds=13 gives (--llm-fail-if)"
    ]


def test_tests_without_a_baseline_are_named_and_then_counted():
    budgets = [parse_budget(text) for text in ("ttft.p50:+5%", "ttft.max:+5%", "ttft.mean:9s")]
    checker = BudgetChecker(budgets, lambda *_: None)
    for i in range(7):
        record = {**measured("ttft", [0.5]), "nodeid": f"test_a.py::test_{i}"}
        assert checker.after(record) == []
    lines = checker.summary()
    assert lines[0] == (
        "no baseline for test_a.py::test_0 (ttft.p50, ttft.max; same work, same hardware)"
    )
    assert len(lines) == 6
    assert lines[-1] == "no baseline for 2 more"


def test_a_budget_is_a_value():
    assert parse_budget("ttft.p95:200ms") == Budget("ttft", "p95", 0.2, False, "ttft.p95:200ms")
    assert len({parse_budget("ttft.p95:200ms"), parse_budget("ttft.p95:200ms")}) == 1


BY_NEED = Workload(
    output_len=4, input_len=8, batch_size=8, need=Need(precision=0.01, max_time=5.0, metrics=())
)


@pytest.mark.parametrize(
    ("budget", "rounds"),
    [("ttft.p99:1s", 63), ("output_throughput.p90:1", 50), ("itl.p95:1s", 5), ("e2e.mean:1s", 1)],
)
def test_rounds_by_need_go_on_for_the_samples_of_a_percentile(budget, rounds):
    checker = BudgetChecker([parse_budget(budget)], lambda *_: None)
    assert checker.before(BY_NEED, has_objectives=False) == []
    assert checker.needed_rounds(BY_NEED, has_objectives=False) == rounds


def test_a_metric_that_a_workload_cannot_have_asks_for_no_rounds():
    checker = BudgetChecker([parse_budget("goodput.p99:1")], lambda *_: None)
    assert checker.needed_rounds(BY_NEED, has_objectives=False) == 0


def test_a_percentile_that_ran_out_of_time_fails_with_the_number_that_it_needs():
    checker = BudgetChecker([parse_budget("ttft.p99:1s")], lambda *_: None)
    record = {**measured("ttft", [0.1] * 80), "workload": {"rounds": 10, "max_time": 5.0}}
    assert checker.after(record) == [
        "too few samples: ttft.p99 has 80 within --llm-max-time=5 and needs 500, which --llm-rounds=63 "
        "gives (--llm-fail-if)"
    ]
