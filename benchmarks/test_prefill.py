"""Time to first token over input lengths."""

import pytest


@pytest.mark.parametrize("input_len", [16, 64, 128])
def test_prefill(llm, llm_benchmark, input_len):
    llm_benchmark(llm, input_len=input_len, output_len=2, warmup=1)
