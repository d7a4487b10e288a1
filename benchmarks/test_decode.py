"""Decoding over output lengths: does a token cost the same when the context has grown?"""

import pytest


@pytest.mark.parametrize("output_len", [4, 16])
def test_decode(llm, llm_benchmark, output_len):
    llm_benchmark(llm, input_len=32, output_len=output_len, warmup=1)
