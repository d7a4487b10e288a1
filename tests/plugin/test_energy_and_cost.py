"""Programmed power and a price come back from the stored file, or the reason if nothing reports it."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pytest_llmperf.backends.simulated import SimulatedBackend

CELL = "smollm2-135m-simulated-none"
LONG = """
def test_x(llm, llm_benchmark):
    llm_benchmark(llm, input_len=30, output_len=11, batch_size=2, rounds=3, warmup=1)
"""


@pytest.mark.timing
def test_programmed_power_comes_back_as_joules_per_token(pytester, llm_pytest, records, stored):
    pytester.makepyfile(LONG)
    keys = "energy_per_output_token,energy_per_token"
    run = llm_pytest(
        "--benchmark-autosave", f"--llm-metrics={keys}", ttft=0.1, tpot=0.01, power_w=300
    )
    run.assert_outcomes(passed=1)
    record = records()[f"test_x[{CELL}]"]
    energy = record["environment"]["energy"]
    assert set(energy) == {"source", "joules", "seconds", "mean_w", "error_share"}
    assert energy["source"] == "simulated"
    assert energy["joules"] == pytest.approx(3 * 0.2 * 300, rel=0.01)
    assert energy["mean_w"] == pytest.approx(energy["joules"] / energy["seconds"])
    # 0.2 s a round at 300 W; 2 x 11 output tokens, 2 x 41 in all.
    truth = {"energy_per_output_token": 60 / 22, "energy_per_token": 60 / 82}
    medians = {key: record["metrics"][key]["p50"] for key in truth}
    assert medians == pytest.approx(truth, rel=0.01)
    assert {record["metrics"][key]["n"] for key in truth} == {1}
    sibling = stored()[f"test_x[{CELL}-energy_per_output_token]"]
    assert sibling["stats"]["median"] == pytest.approx(60 / 22, rel=0.01)
    run.stdout.fnmatch_lines(
        ["*J/token*", f"{CELL} * 2.7*", "J/token: energy of the engine's GPUs *"]
    )


def test_without_power_nothing_is_said_of_energy(one_test, llm_pytest, records):
    run = llm_pytest("--benchmark-autosave")
    record = records()[f"test_x[{CELL}]"]
    assert "energy" not in record["environment"]
    assert "hourly_cost" not in record["environment"]
    assert not [key for key in record["metrics"] if "energy" in key or "cost" in key]
    assert "J/token" not in run.stdout.str()
    assert "cost/1M" not in run.stdout.str()


def test_an_engine_on_a_gpu_that_tells_nothing_says_why(one_test, llm_pytest, records, monkeypatch):
    load = SimulatedBackend.load
    monkeypatch.setattr(
        SimulatedBackend, "load", lambda self, spec: replace(load(self, spec), device="cuda:0")
    )
    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(NVMLError=OSError, nvmlInit=int))
    llm_pytest("--benchmark-autosave", "--llm-isolation=none").assert_outcomes(passed=1)
    record = records()[f"test_x[{CELL}]"]
    assert record["environment"]["energy"]["unavailable"] == (
        "the GPUs that the engine sees are unknown"
    )
    assert "energy_per_token" not in record["metrics"]


@pytest.mark.timing
def test_a_price_gives_the_cost_of_a_million_tokens(pytester, llm_pytest, records):
    pytester.makepyfile(LONG)
    run = llm_pytest("--benchmark-autosave", "--llm-hourly-cost=3.96", ttft=0.1, tpot=0.01)
    run.assert_outcomes(passed=1)
    record = records()[f"test_x[{CELL}]"]
    cost = record["metrics"]["cost_per_million_tokens"]
    # 22 tokens in 0.2 s, so 396,000 an hour.
    assert cost["p50"] == pytest.approx(10.0, rel=0.01)
    assert cost["n"] == 3
    assert record["environment"]["hourly_cost"] == 3.96
    run.stdout.fnmatch_lines(
        [
            "*cost/1M*",
            f"{CELL} *10.0*",
            "cost/1M: price of a million output tokens at 3.96 per hour",
        ]
    )


def test_a_price_may_stand_in_the_ini_file(pytester, one_test, llm_pytest, records):
    pytester.makeini("[pytest]\nllm_hourly_cost = 2.5")
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
    assert "cost_per_million_tokens" in records()[f"test_x[{CELL}]"]["metrics"]


def test_a_budget_on_the_cost(one_test, llm_pytest):
    run = llm_pytest(
        "--llm-hourly-cost=3.6", "--llm-fail-if=cost_per_million_tokens.p50:1", tpot=0.01
    )
    run.assert_outcomes(failed=1)
    run.stdout.fnmatch_lines(["*over budget: cost_per_million_tokens.p50 is *"])
