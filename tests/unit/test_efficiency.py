import pytest

from pytest_llmperf.core.trace import RequestTrace, RoundTrace
from pytest_llmperf.metrics.efficiency import of_energy, of_price
from pytest_llmperf.metrics.samples import metric


def round_of(*requests):
    """A round of requests, each (input tokens, output tokens)."""
    return RoundTrace(
        tuple(
            RequestTrace(
                submitted=0.0,
                times=tuple(float(i + 1) for i in range(output)),
                counts=(1,) * output,
                input_tokens=given,
            )
            for given, output in requests
        )
    )


def test_energy_is_that_of_all_rounds_over_all_of_their_tokens():
    rounds = [round_of((20, 10), (30, 10)), round_of((20, 5), (25, 5))]
    found = of_energy(rounds, 600.0)
    assert found["energy_per_output_token"].samples == (600 / 30,)
    assert found["energy_per_token"].samples == (600 / 125,)
    assert {m.unit for m in found.values()} == {"J/token"}


def test_a_million_tokens_cost_what_the_machine_costs_meanwhile():
    found = of_price(3.6, metric("output_throughput", [100.0, 50.0]))
    # 10,000 s at 0.001 a second.
    assert found["cost_per_million_tokens"].samples == pytest.approx((10.0, 20.0))
