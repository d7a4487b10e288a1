"""Quality of the quantization modes: perplexity, and distance from the unquantized model."""

import pytest


@pytest.mark.llm(quant="all")
def test_quality(llm, llm_benchmark):
    llm_benchmark.quality(llm)
