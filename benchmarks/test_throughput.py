"""Throughput over batch sizes."""

import pytest


@pytest.mark.llm_sizes(
    small={"input_len": [16], "output_len": [8], "batch_size": [1, 8]},
    full={"input_len": [128], "output_len": [128], "batch_size": [1, 8, 32, 128]},
)
def test_throughput(llm, llm_benchmark, input_len, output_len, batch_size):
    llm_benchmark(llm, input_len=input_len, output_len=output_len, batch_size=batch_size, warmup=1)
