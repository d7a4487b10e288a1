"""vLLM's bounds and key-value pool from a model's configuration. The engine itself: tests/engines."""

import json
from types import SimpleNamespace

import pytest

from pytest_llmperf.backends.vllm_config import cpu_bounds, pool_mib

LLAMA = {
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
}


@pytest.fixture
def bounds(tmp_path):
    """Return a function that gives the bounds for a model with a given configuration."""

    def of(config):
        (tmp_path / "config.json").write_text(json.dumps(config))
        return cpu_bounds(tmp_path)

    return of


def test_a_pool_on_a_cpu_holds_a_number_of_tokens(bounds):
    # 2 x 30 layers x 3 heads x 64 numbers of 2 bytes, for 16,384 tokens.
    assert bounds(LLAMA) == {"max_model_len": 4096, "kv_cache_memory_bytes": 23040 * 16384}


def test_a_configuration_with_the_text_model_inside_has_the_same_pool(bounds):
    limits = bounds({"text_config": LLAMA, "max_position_embeddings": 1024})
    assert limits == {"max_model_len": 1024, "kv_cache_memory_bytes": 23040 * 16384}


def test_a_configuration_of_another_form_leaves_the_pool_to_vllm(bounds):
    assert bounds({"d_model": 512}) == {"max_model_len": 2048}


@pytest.mark.parametrize(("dtype", "mib"), [("auto", 4.0), ("fp8_e4m3", 2.0)])
def test_a_pool_of_eight_bit_numbers_is_half_as_large(dtype, mib):
    model = SimpleNamespace(
        get_num_layers=lambda parallel: 2,
        get_num_kv_heads=lambda parallel: 4,
        get_head_size=lambda: 64,
        dtype=SimpleNamespace(itemsize=2),
    )
    config = SimpleNamespace(
        cache_config=SimpleNamespace(
            num_gpu_blocks=64, block_size=16, kv_cache_memory_bytes=None, cache_dtype=dtype
        ),
        parallel_config=SimpleNamespace(world_size=2),
        model_config=model,
    )
    assert pool_mib(config) == mib
