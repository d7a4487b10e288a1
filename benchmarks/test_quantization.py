"""Quantization modes side by side: speed and memory."""

import pytest


@pytest.mark.llm(quant="all")
def test_quantization(llm, llm_benchmark):
    llm_benchmark(llm, input_len=16, output_len=8, warmup=1)
