"""The suite whose processes tools/gate_benchmark.py records: small tests of several shapes."""

import pytest


@pytest.mark.parametrize("input_len", [16, 64])
@pytest.mark.parametrize("output_len", [8, 12])
def test_single(llm, llm_benchmark, input_len, output_len):
    llm_benchmark(llm, input_len=input_len, output_len=output_len, rounds=10, warmup=3)


@pytest.mark.parametrize("batch_size", [2, 4])
def test_batch(llm, llm_benchmark, batch_size):
    llm_benchmark(llm, input_len=16, output_len=8, batch_size=batch_size, rounds=10, warmup=3)
