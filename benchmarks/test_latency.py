"""Latency of one prompt: time to first token, time per output token, end to end."""

import pytest

PROMPT = (
    "Instruct: Write a detailed analogy between mathematics and a lighthouse, "
    "then say where the analogy fails.\nOutput:"
)


@pytest.mark.llm_sizes(small={"output_len": [8]}, full={"output_len": [77]})
def test_latency(llm, llm_benchmark, output_len):
    llm_benchmark(llm, prompt=PROMPT, output_len=output_len, warmup=1)
