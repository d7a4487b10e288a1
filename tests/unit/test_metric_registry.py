"""A metric needs only a row of the registry, and the code that produces its samples."""

import pytest

from pytest_llmperf.analysis.tradeoff import trade_offs
from pytest_llmperf.core.workload import Workload
from pytest_llmperf.gate.limits import LimitSettings
from pytest_llmperf.gate.matching import PER_ENGINE
from pytest_llmperf.gate.pairs import Pair, judge
from pytest_llmperf.gate.verdict import Verdict
from pytest_llmperf.metrics.definitions import (
    METRICS,
    OBJECTIVES,
    POOLED,
    MetricDefinition,
    table_columns,
    tradeoff_columns,
)
from pytest_llmperf.metrics.samples import metric, of_these_rounds
from pytest_llmperf.report.terminal import Row, legend, table
from pytest_llmperf.report.tradeoff import lines
from pytest_llmperf.session.budgets import BudgetChecker, expected_samples, parse_budget
from pytest_llmperf.session.llm import Result
from pytest_llmperf.store.stored import read_run


def test_columns_of_the_table_from_the_left():
    assert [column.title for column in table_columns()] == [
        "ttft ms",
        "prompt tokens/s",
        "tpot ms",
        "tokens/step",
        "e2e s",
        "tokens/s",
        "per request",
        "mbu",
        "mfu",
        "peak MiB",
        "J/token",
        "cost/1M",
        "load s",
        "perplexity",
        "KL nats",
        "agree %",
    ]


def test_columns_of_the_trade_off_from_the_left():
    assert [column.title for column in tradeoff_columns()] == [
        "tokens/s",
        "weights MiB",
        "peak MiB",
        "perplexity",
        "KL nats",
        "agree %",
        "J/token",
    ]


def test_metrics_that_every_test_of_an_engine_repeats():
    assert PER_ENGINE == ("load_time", "model_memory", "kv_cache_memory")


def test_metrics_of_one_sample_per_token():
    assert POOLED == ("itl", "icl")


def test_objectives_are_metrics_of_requests():
    assert {METRICS[key].per for key in OBJECTIVES} == {"request"}


def test_a_column_has_a_title_of_its_own():
    for columns in (table_columns(), tradeoff_columns()):
        titles = [column.title for column in columns]
        assert all(titles)
        assert len(set(titles)) == len(titles)


def test_every_exact_metric_has_an_absolute_tolerance():
    tolerances = {key: d.tolerance for key, d in METRICS.items() if d.tolerance is not None}
    assert tolerances == {
        "peak_memory": 16,
        "model_memory": 16,
        "kv_cache_memory": 16,
        "kl_divergence": 0.002,
        "top1_agreement": 0.03,
    }
    assert set(tolerances) == {key for key, d in METRICS.items() if d.kind == "exact"}


def test_metrics_of_quality_are_not_judged_by_their_rounding():
    # Measured between unquantized engines (docs: quality): up to 0.0017 nats, down to 97.2 %.
    assert METRICS["kl_divergence"].tolerance > 0.0017
    assert METRICS["top1_agreement"].tolerance > 1 - 0.972


def test_a_value_is_shown_in_the_unit_of_its_column():
    assert METRICS["ttft"].shown(0.2) == "200.0"
    assert METRICS["top1_agreement"].shown(0.9123) == "91.2"
    assert METRICS["peak_memory"].shown(6000.4) == "6,000"


@pytest.fixture
def toy(monkeypatch):
    """A metric that exists as a row of the registry and nowhere else."""
    row = MetricDefinition(
        key="toy",
        name="toy metric",
        unit="toys/s",
        better="higher",
        kind="timing",
        per="round",
        meaning="toys / wall time",
        title="ktoys/s",
        scale=1e-3,
        digits=2,
        table=45,
        tradeoff=15,
        note="thousands of toys",
    )
    monkeypatch.setitem(METRICS, "toy", row)


@pytest.mark.usefixtures("toy")
def test_a_new_row_is_a_column_of_the_table_with_its_legend():
    metrics = of_these_rounds({"toy": metric("toy", [5000.0, 4000.0, 6000.0] * 4)}, 12, None)
    rows = [Row("test_a.py::test_x", "m-vllm-none", metrics)]
    assert table(rows) == [
        "test_a.py::test_x",
        "               ktoys/s",
        "-----------  ---------",
        "m-vllm-none  5.00 ±20%",
    ]
    assert legend(rows) == ["ktoys/s: thousands of toys"]


@pytest.mark.usefixtures("toy")
def test_a_new_row_takes_budgets():
    workload = Workload(output_len=4, input_len=8, rounds=7)
    assert expected_samples("toy", workload, False) == 7
    budget = parse_budget("toy.p95:30")
    (early,) = BudgetChecker([budget], lambda *_: None).before(workload, False)
    assert early.startswith("too few samples: toy.p95 would have 7 and needs 100")
    checker = BudgetChecker([parse_budget("toy.p50:30")], lambda *_: None)
    record = {"workload": {"rounds": 1}, "metrics": {"toy": metric("toy", [20.0]).as_dict()}}
    (late,) = checker.after(record)
    assert late == (
        "over budget: toy.p50 is 20 toys/s, the limit is at least 30 toys/s (--llm-fail-if)"
    )


@pytest.mark.usefixtures("toy")
def test_a_new_row_is_an_attribute_of_results():
    assert Result({"toy": metric("toy", [2.0])}, None).toy.p50 == 2.0
    with pytest.raises(AttributeError, match=r"^this measurement has no toy; it has ttft$"):
        _ = Result({"ttft": metric("ttft", [2.0])}, None).toy


@pytest.mark.usefixtures("toy")
def test_a_new_row_is_judged_by_the_gate(stored_json, save):
    def run(number, value):
        return read_run(save(number, stored_json(number, toy=value)))

    # A rate that falls from 5,000 to 4,000 in each of three pairs: 25 % worse.
    pairs = [Pair(n, run(2 * n, 5000.0 + n), run(2 * n + 1, 4000.0 + n)) for n in (1, 2, 3)]
    (entry,) = judge(pairs, LimitSettings()).entries
    assert (entry.metric, entry.verdict, entry.unit) == ("toy", Verdict.REGRESSION, "toys/s")


@pytest.mark.usefixtures("toy")
def test_a_new_row_is_a_column_of_the_trade_off(stored_record):
    def record(mode, **values):
        nodeid = f"test_t.py::test_x[m-vllm-{mode}]"
        return stored_record(nodeid, quantization={"mode": mode}, **values)

    records = [
        record("none", output_throughput=50.0, perplexity=10.0, toy=5000.0),
        record("nf4", output_throughput=40.0, perplexity=11.0),
    ]
    head, _, plain, quantized, *_ = lines(trade_offs(records))
    assert head.split() == ["m", "tokens/s", "ktoys/s", "perplexity"]
    assert plain.split() == ["vllm-none", "50.0", "5.00", "10.00"]
    assert quantized.split() == ["vllm-nf4", "40.0", "-", "11.00"]
