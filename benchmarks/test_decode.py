"""Decoding over output lengths and contexts: does a token cost the same when the context has grown?"""

import pytest


@pytest.mark.llm_sizes(
    small={"input_len": [32], "output_len": [4, 8]},
    full={"input_len": [128, 3072], "output_len": [128]},
)
def test_decode(llm, llm_benchmark, input_len, output_len):
    llm_benchmark(llm, input_len=input_len, output_len=output_len, warmup=1)
