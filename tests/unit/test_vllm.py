"""vLLM's bounds and key-value pool from a model's configuration. The engine itself: tests/engines."""

from types import SimpleNamespace

import pytest
import torch

from pytest_llmperf.backends.vllm_config import cache_value_bytes, cpu_bounds, pool_mib
from pytest_llmperf.backends.vllm_workers import pool_of


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


def configuration(dtype):
    return SimpleNamespace(
        cache_config=SimpleNamespace(
            num_gpu_blocks=64, block_size=16, kv_cache_memory_bytes=None, cache_dtype=dtype
        ),
        parallel_config=SimpleNamespace(world_size=2),
        model_config=model(layers=2, heads=4),
    )


# Pool and bytes of a number where the workers show nothing.
BY_NAME = [
    ("auto", 4.0, 2),
    ("bfloat16", 4.0, 2),
    ("fp8_e4m3", 2.0, 1),
    ("int8_per_token_head", 2.0, 1),
    ("int4_per_token_head", 1.0, 0.5),
    ("nvfp4", 1.0, 0.5),
]


@pytest.mark.parametrize(("dtype", "mib", "value_bytes"), BY_NAME)
def test_a_pool_of_smaller_numbers_is_smaller(dtype, mib, value_bytes):
    nothing = [{"bytes": 0, "value_bytes": None}] * 2
    assert pool_mib(nothing, configuration(dtype)) == mib
    assert cache_value_bytes(nothing, configuration(dtype)) == value_bytes


def specification(page, **more):
    """16 tokens of 4 heads of 64 numbers, twice: keys and values."""
    return SimpleNamespace(
        block_size=16, num_kv_heads=4, head_size=64, page_size_bytes=page, **more
    )


def worker(*specifications, caches=()):
    groups = [SimpleNamespace(kv_cache_spec=spec) for spec in specifications]
    runner = SimpleNamespace(
        kv_caches=list(caches), kv_cache_config=SimpleNamespace(kv_cache_groups=groups)
    )
    return SimpleNamespace(model_runner=runner)


@pytest.mark.parametrize(
    ("page", "value_bytes"),
    [
        pytest.param(8192 * 2, 2, id="bfloat16"),
        pytest.param(8192, 1, id="fp8"),
        pytest.param(4096 + 512, 0.5625, id="4 bits and a scale of 8 for 16 numbers"),
    ],
)
def test_the_workers_know_their_pool_whatever_its_type_is_called(page, value_bytes):
    memory = torch.zeros(3 * 2**20, dtype=torch.uint8)
    pools = [pool_of(worker(specification(page), caches=[memory]))] * 2
    # "auto": a checkpoint may have switched on another type by itself.
    assert pool_mib(pools, configuration("auto")) == 6
    assert cache_value_bytes(pools, configuration("auto")) == value_bytes


def test_a_group_may_have_a_specification_for_each_layer_or_keep_states():
    of_layers = SimpleNamespace(kv_cache_specs={"1": specification(8192)})
    states = SimpleNamespace(block_size=16, page_size_bytes=100)
    assert pool_of(worker(states, of_layers))["value_bytes"] == 1
    assert pool_of(worker(states))["value_bytes"] is None
