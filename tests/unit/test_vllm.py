"""vLLM's bounds and key-value pool from a model's configuration. The engine itself: tests/engines."""

from types import SimpleNamespace

import pytest

from pytest_llmperf.backends.vllm_config import cpu_bounds, pool_mib


def model(layers=30, heads=3, size=64, longest=8192, **more):
    """A configuration of vLLM's own, which knows the sizes of every architecture."""
    kinds = {"is_attention_free": False, "is_hybrid": False}
    return SimpleNamespace(
        get_num_layers=lambda parallel: layers,
        get_num_kv_heads=lambda parallel: heads,
        get_head_size=lambda: size,
        max_model_len=longest,
        dtype=SimpleNamespace(itemsize=2),
        **{**kinds, **more},
    )


def test_a_pool_on_a_cpu_holds_a_number_of_tokens():
    # 2 x 30 layers x 3 heads x 64 numbers of 2 bytes, for 16,384 tokens.
    limits = cpu_bounds(model(), None, {})
    assert limits == {"max_model_len": 4096, "kv_cache_memory_bytes": 23040 * 16384}


def test_a_model_with_a_shorter_context_keeps_it():
    limits = cpu_bounds(model(longest=1024), None, {})
    assert limits == {"max_model_len": 1024, "kv_cache_memory_bytes": 23040 * 16384}


def test_a_longer_context_that_is_asked_for_fits_the_pool():
    limits = cpu_bounds(model(), None, {"max_model_len": 32768})
    assert limits["kv_cache_memory_bytes"] == 23040 * 32768


def test_a_share_of_the_memory_that_is_asked_for_is_left_to_vllm():
    limits = cpu_bounds(model(), None, {"gpu_memory_utilization": 0.3})
    assert limits == {"max_model_len": 4096}


@pytest.mark.parametrize("kind", ["is_attention_free", "is_hybrid"])
def test_a_model_that_keeps_states_has_room_for_them(kind):
    limits = cpu_bounds(model(heads=1, size=0, **{kind: True}), None, {})
    assert limits["kv_cache_memory_bytes"] == 2**30


@pytest.mark.parametrize(("dtype", "mib"), [("auto", 4.0), ("fp8_e4m3", 2.0)])
def test_a_pool_of_eight_bit_numbers_is_half_as_large(dtype, mib):
    config = SimpleNamespace(
        cache_config=SimpleNamespace(
            num_gpu_blocks=64, block_size=16, kv_cache_memory_bytes=None, cache_dtype=dtype
        ),
        parallel_config=SimpleNamespace(world_size=2),
        model_config=model(layers=2, heads=4),
    )
    assert pool_mib(config) == mib
