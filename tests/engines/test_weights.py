"""Bytes and number of the embedded model's weights, in every mode of every engine."""

import pytest

from pytest_llmperf.backends import Architecture, backend_class


def contract_of(llm):
    return backend_class(llm.info.backend).contract


@pytest.mark.llm(quant="all")
def test_weights_are_counted_with_their_quantization_constants(llm):
    low, high = contract_of(llm).weights_mib[llm.info.quantization]
    engine = llm.engine()
    assert low < engine.info.memory["model_memory"] < high
    assert engine.info.parameters == 134_515_008


@pytest.mark.llm(quant="all")
def test_what_utilization_needs_is_told(llm):
    arithmetic, value_bytes = contract_of(llm).products[llm.info.quantization]
    info = llm.engine().info
    assert info.architecture == Architecture(
        layers=30, hidden=576, heads=9, kv_heads=3, head_dim=64, vocabulary=49152, tied=True
    )
    assert info.arithmetic == arithmetic
    assert info.embedding_bytes == pytest.approx(49152 * 576 * value_bytes)
    assert info.cache_value_bytes == contract_of(llm).cache_value_bytes
    assert info.devices == 1


@pytest.mark.llm(backend=["vllm", "llama-cpp", "llama-cpp-python"])
def test_a_key_value_pool_is_bounded_and_reported_apart(llm):
    assert 100 < llm.engine().info.memory["kv_cache_memory"] < 1000
