"""Bytes and numbers of the embedded model's weights, in every mode of every engine."""

import pytest

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


@pytest.mark.llm(quant="all")
def test_weights_are_counted_with_their_quantization_constants(llm):
    low, high = MIB[llm.info.backend][llm.info.quantization]
    engine = llm.engine()
    assert low < engine.info.memory["model_memory"] < high
    assert engine.info.parameters == 134_515_008


@pytest.mark.llm(backend=["vllm", "llama-cpp", "llama-cpp-python"])
def test_a_key_value_pool_is_bounded_and_reported_apart(llm):
    assert 100 < llm.engine().info.memory["kv_cache_memory"] < 1000
