"""Throughput over batch sizes."""

import pytest


@pytest.mark.parametrize("batch_size", [1, 8])
def test_throughput(llm, llm_benchmark, batch_size):
    llm_benchmark(llm, input_len=16, output_len=8, batch_size=batch_size, warmup=1)
