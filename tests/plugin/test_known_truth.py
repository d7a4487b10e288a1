"""Programmed times come back from the stored file: the whole path from the engine's clock to JSON."""

import json

import pytest

from pytest_llmperf.metrics.definitions import METRICS

pytestmark = pytest.mark.timing
CELL = "smollm2-135m-simulated-none"
ALL_METRICS = f"--llm-metrics={','.join(METRICS)}"


@pytest.fixture
def check(stored, records):
    """Compare a stored run of one test with the truth: the metrics, and every sibling's median."""

    def compare(truth):
        found = records()[f"test_x[{CELL}]"]["metrics"]
        medians = {key: metric["p50"] for key, metric in found.items()}
        assert medians == pytest.approx(truth, rel=0.01)
        siblings = {
            entry["extra_info"]["llmperf"]["metric"]: entry["stats"]["median"]
            for entry in stored().values()
            if "metric" in entry["extra_info"]["llmperf"]
        }
        as_lower = {
            key: 1 / value if METRICS[key].better == "higher" else value
            for key, value in truth.items()
        }
        assert siblings == pytest.approx(as_lower, rel=0.01)

    return compare


def test_every_metric_of_a_batch_is_the_programmed_truth(pytester, llm_pytest, stored, check):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            slo = {"ttft": 0.15, "tpot": 0.03, "e2e": 0.4}
            llm_benchmark(llm, input_len=20, output_len=11, batch_size=3, rounds=3, warmup=1, slo=slo)
    """)
    run = llm_pytest(
        "--benchmark-autosave",
        ALL_METRICS,
        ttft=0.1,
        ttft_per_input_token=0.0005,
        tpot=0.01,
        batch_penalty=0.5,
        load_time=1.5,
        memory_mib=100,
    )
    run.assert_outcomes(passed=1)
    ttft = 0.1 + 20 * 0.0005
    tpot = 0.01 * (1 + 2 * 0.5)
    e2e = ttft + 10 * tpot
    check(
        {
            "ttft": ttft,
            "tpot": tpot,
            "itl": tpot,
            "e2e": e2e,
            "output_throughput": 3 * 11 / e2e,
            "output_throughput_per_request": 11 / e2e,
            "total_throughput": 3 * (20 + 11) / e2e,
            "request_throughput": 3 / e2e,
            "prefill_throughput": 3 * 20 / ttft,
            "decode_throughput": 3 * 10 / (e2e - ttft),
            "goodput": 3 / e2e,
            "load_time": 1.5,
            "peak_memory": 100,
            "model_memory": 100,
        }
    )
    # The primary entry is the wall time of a round; its rate and the siblings' are one over it.
    entries = stored()
    assert entries[f"test_x[{CELL}]"]["stats"]["median"] == pytest.approx(e2e, rel=0.01)
    throughput = entries[f"test_x[{CELL}-output_throughput]"]["stats"]
    assert throughput["ops"] == pytest.approx(3 * 11 / e2e, rel=0.01)


def test_every_metric_of_chunks_is_the_programmed_truth(pytester, llm_pytest, check):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=16, output_len=20, rounds=3, warmup=0)
    """)
    run = llm_pytest(
        "--benchmark-autosave", ALL_METRICS, ttft=0.1, tpot=0.01, chunk=5, load_time=1.5
    )
    run.assert_outcomes(passed=1)
    # Four chunks of five tokens; each leaves the engine with its last token.
    first = 0.1 + 4 * 0.01
    last = 0.1 + 19 * 0.01
    check(
        {
            "ttft": first,
            "tpot": (last - first) / 15,
            "icl": 5 * 0.01,
            "e2e": last,
            "output_throughput": 20 / last,
            "output_throughput_per_request": 20 / last,
            "total_throughput": (16 + 20) / last,
            "request_throughput": 1 / last,
            "prefill_throughput": 16 / first,
            "decode_throughput": 15 / (last - first),
            "load_time": 1.5,
            "peak_memory": 64,
            "model_memory": 64,
        }
    )


def test_one_output_token_has_no_time_per_token(pytester, llm_pytest, records):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            result = llm_benchmark(llm, prompt="abc", output_len=1, rounds=3, warmup=0)
            assert "tpot" not in result.metrics
    """)
    llm_pytest("--benchmark-autosave", ttft=0.05).assert_outcomes(passed=1)
    metrics = records()[f"test_x[{CELL}]"]["metrics"]
    assert not {"tpot", "itl", "icl", "decode_throughput"} & set(metrics)
    assert metrics["ttft"]["p50"] == pytest.approx(0.05, rel=0.01)
    assert metrics["e2e"]["p50"] == pytest.approx(0.05, rel=0.01)
    assert metrics["prefill_throughput"]["p50"] == pytest.approx(3 / 0.05, rel=0.01)


@pytest.mark.parametrize("limit", ["ttft", "tpot", "e2e"])
def test_goodput_is_zero_when_one_objective_is_missed(pytester, llm_pytest, stored, records, limit):
    limits = {"ttft": 1.0, "tpot": 1.0, "e2e": 1.0} | {limit: 0.001}
    pytester.makepyfile(f"""
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=2, warmup=0, slo={limits})
    """)
    llm_pytest("--benchmark-autosave", ALL_METRICS).assert_outcomes(passed=1)
    assert records()[f"test_x[{CELL}]"]["metrics"]["goodput"]["samples"] == [0.0, 0.0]
    # Seconds per request do not exist if no request counts.
    assert f"test_x[{CELL}-goodput]" not in stored()


def test_the_result_in_the_test_is_the_stored_one(pytester, llm_pytest, records):
    pytester.makepyfile("""
        import json
        from pathlib import Path

        def test_x(llm, llm_benchmark):
            result = llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
            assert result.ttft.p95 < 1
            metrics = {key: metric.as_dict() for key, metric in result.metrics.items()}
            Path("result.json").write_text(json.dumps(metrics))
            assert len(result.measurement.rounds) == 3
    """)
    llm_pytest("--benchmark-autosave", ALL_METRICS).assert_outcomes(passed=1)
    seen = json.loads((pytester.path / "result.json").read_text())
    assert seen == records()[f"test_x[{CELL}]"]["metrics"]


def test_load_stores_the_load_time_without_loading_again(pytester, llm_pytest, stored, records):
    pytester.makepyfile("""
        def test_load(llm, llm_benchmark):
            result = llm_benchmark.load(llm)
            assert result.measurement is None

        def test_other(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=1, warmup=0)
    """)
    run = llm_pytest("--benchmark-autosave", ALL_METRICS, load_time=1.5, memory_mib=100)
    run.assert_outcomes(passed=2)
    record = records()[f"test_load[{CELL}]"]
    medians = {key: metric["p50"] for key, metric in record["metrics"].items()}
    assert medians == pytest.approx({"load_time": 1.5, "model_memory": 100}, rel=0.01)
    assert stored()[f"test_load[{CELL}]"]["stats"]["median"] == pytest.approx(1.5, rel=0.01)
    assert set(record["workload"]) == {"hash"}
    assert records()[f"test_other[{CELL}]"]["run"]["engine"] == 1
