"""Latency of one prompt: time to first token, time per output token, end to end."""

PROMPT = (
    "Instruct: Write a detailed analogy between mathematics and a lighthouse, "
    "then say where the analogy fails.\nOutput:"
)
OUTPUT_LEN = 77


def test_latency(llm, llm_benchmark):
    llm_benchmark(llm, prompt=PROMPT, output_len=OUTPUT_LEN, warmup=1)
