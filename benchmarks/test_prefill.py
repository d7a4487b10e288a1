"""Time to first token over input lengths."""

import pytest


@pytest.mark.llm_sizes(
    small={"input_len": [16, 64, 128]},
    full={"input_len": [128, 1024, 4096]},
)
def test_prefill(llm, llm_benchmark, input_len):
    llm_benchmark(llm, input_len=input_len, output_len=2, warmup=1)
