"""Counts of workers, put together and compared with the model without quantization."""

import pytest

from pytest_llmperf.backends.parameters import Parameters, together, total, weights

MIB = 2**20
PART = {
    "bytes": 3 * MIB,
    "linear_bytes": 2 * MIB,
    "unquantized": {},
    "quantized_layers": 4,
    "parameters": 1000,
    "places": {"cuda:0": 3 * MIB},
}
PLAIN = Parameters(total=5 * MIB, linear=4 * MIB)


def test_workers_that_share_a_model_are_added_up():
    other = {**PART, "unquantized": {"bfloat16": 7}, "places": {"cuda:1": MIB, "cpu": 2 * MIB}}
    assert together([PART, other]) == {
        "bytes": 6 * MIB,
        "linear_bytes": 4 * MIB,
        "unquantized": {"bfloat16": 7},
        "quantized_layers": 8,
        "parameters": 2000,
        "places": {"cuda:0": 3 * MIB, "cuda:1": MIB, "cpu": 2 * MIB},
    }
    assert together([PART]) == PART


def test_bits_are_those_of_a_weight_without_quantization():
    found = weights(PART, PLAIN)
    assert found.linear_parameters == 4 * MIB
    assert found.linear_bits == 4
    assert (found.unquantized_share, found.unquantized_type) == (0, None)
    assert found.places == {"cuda:0": 3}


def test_the_share_that_is_not_quantized_has_the_type_of_most_of_it():
    found = weights({**PART, "unquantized": {"float32": MIB, "bfloat16": 2 * MIB}}, PLAIN)
    assert found.unquantized_share == 0.75
    assert found.unquantized_type == "bfloat16"


def test_layers_that_every_worker_has_are_no_share_above_one():
    assert weights({**PART, "unquantized": {"bfloat16": 5 * MIB}}, PLAIN).unquantized_share == 1


@pytest.mark.parametrize("plain", [None, Parameters(total=10, linear=0)])
def test_without_a_model_to_compare_with_nothing_is_said(plain):
    assert weights(PART, plain) is None


def test_parameters_of_a_model_that_transformers_does_not_know_are_those_in_memory_unless_packed():
    assert total(PART, PLAIN) == 5 * MIB
    assert total({**PART, "quantized_layers": 0}, None) == 1000
    assert total(PART, None) is None
