"""Quantization modes side by side: speed and memory."""

import pytest


@pytest.mark.llm(quant="all")
@pytest.mark.llm_sizes(
    small={"input_len": [16], "output_len": [4]},
    full={"input_len": [128], "output_len": [128]},
)
def test_quantization(llm, llm_benchmark, input_len, output_len):
    llm_benchmark(llm, input_len=input_len, output_len=output_len, warmup=1)
