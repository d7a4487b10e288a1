"""Bytes and numbers of the embedded model's weights, in every mode of every engine."""

import pytest

from pytest_llmperf.core.architecture import Architecture

# Weights in MiB. bitsandbytes keeps activations in bfloat16; what it saves is the weights. CTranslate2
# computes in float32 on a CPU, so it holds twice as much; llama.cpp holds what is in the file.
BITSANDBYTES = {
    "none": (256, 259),
    "int8": (155, 158),
    "fp4": (110, 113),
    "nf4": (110, 113),
    "nf4-dq": (106, 109),
}
MIB = {
    "transformers": BITSANDBYTES,
    "vllm": BITSANDBYTES,
    "llama-cpp": {"q4_1": (92, 93)},
    "llama-cpp-python": {"q4_1": (92, 93)},
    "ctranslate2": {"none": (513, 514), "int8": (129, 131)},
}

# The type of matrix products, and bytes of a weight in the embedding table: bitsandbytes leaves that
# alone, the GGUF file has it as Q8_0 (34 bytes for 32 weights), CTranslate2 has a factor a row.
BFLOAT16 = dict.fromkeys(BITSANDBYTES, ("bfloat16", 2)) | {"int8": (None, 2)}
GGUF = {"q4_1": (None, 34 / 32)}
PRODUCTS = {
    "transformers": BFLOAT16,
    "vllm": BFLOAT16,
    "llama-cpp": GGUF,
    "llama-cpp-python": GGUF,
    "ctranslate2": {"none": ("float32", 4), "int8": (None, 1 + 4 / 576)},
}


@pytest.mark.llm(quant="all")
def test_weights_are_counted_with_their_quantization_constants(llm):
    low, high = MIB[llm.info.backend][llm.info.quantization]
    engine = llm.engine()
    assert low < engine.info.memory["model_memory"] < high
    assert engine.info.parameters == 134_515_008


@pytest.mark.llm(quant="all")
def test_what_utilization_needs_is_told(llm):
    arithmetic, value_bytes = PRODUCTS[llm.info.backend][llm.info.quantization]
    info = llm.engine().info
    assert info.architecture == Architecture(
        layers=30, hidden=576, heads=9, kv_heads=3, head_dim=64, vocabulary=49152, tied=True
    )
    assert info.arithmetic == arithmetic
    assert info.embedding_bytes == pytest.approx(49152 * 576 * value_bytes)
    assert info.cache_value_bytes == (4 if llm.info.backend == "ctranslate2" else 2)
    assert info.devices == 1


@pytest.mark.llm(backend=["vllm", "llama-cpp", "llama-cpp-python"])
def test_a_key_value_pool_is_bounded_and_reported_apart(llm):
    assert 100 < llm.engine().info.memory["kv_cache_memory"] < 1000
