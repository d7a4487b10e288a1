"""Sizes of a model from what its files say."""

import struct

import pytest

from pytest_llmperf.core.architecture import Architecture, window_of
from pytest_llmperf.core.gguf import header
from pytest_llmperf.core.models import embedded_gguf

VALUES = {
    "general.architecture": "llama",
    "llama.block_count": 30,
    "llama.embedding_length": 576,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
}
SHAPES = {"token_embd.weight": (576, 49152), "blk.0.attn_q.weight": (576, 576)}
SMOLLM = Architecture(
    layers=30, hidden=576, heads=9, kv_heads=3, head_dim=64, vocabulary=49152, tied=True
)


def test_a_gguf_header_has_the_sizes():
    assert Architecture.from_gguf(VALUES, SHAPES) == SMOLLM


def test_an_output_layer_of_its_own_is_not_tied():
    found = Architecture.from_gguf(VALUES, {**SHAPES, "output.weight": (576, 49152)})
    assert not found.tied


def test_a_gguf_header_may_say_more():
    more = {
        "llama.attention.key_length": 128,
        "llama.attention.sliding_window": 4096,
        "llama.expert_count": 8,
    }
    found = Architecture.from_gguf({**VALUES, **more}, SHAPES)
    assert (found.head_dim, found.window, found.experts) == (128, 4096, 8)


def test_without_grouped_queries_every_head_has_keys_of_its_own():
    values = {k: v for k, v in VALUES.items() if not k.endswith("_kv")}
    assert Architecture.from_gguf(values, SHAPES).kv_heads == 9


@pytest.mark.parametrize("key", ["block_count", "embedding_length", "attention.head_count"])
def test_a_gguf_header_without_sizes_describes_something_else(key):
    assert Architecture.from_gguf({**VALUES, f"llama.{key}": None}, SHAPES) is None


def test_sizes_that_differ_by_layer_are_not_understood():
    values = {**VALUES, "llama.attention.head_count_kv": [3, 9]}
    assert Architecture.from_gguf(values, SHAPES) is None


CONFIG = {
    "num_hidden_layers": 30,
    "hidden_size": 576,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}


def test_a_plain_configuration_can_be_counted():
    assert Architecture.counted(CONFIG) == SMOLLM


@pytest.mark.parametrize(
    "more",
    [
        {"vision_config": {"hidden_size": 8}},
        {"kv_lora_rank": 512},
        {"layer_types": ["full_attention", "linear_attention"]},
        {"mamba_d_state": 16, "attn_layer_period": 8},  # Jamba
        {"layers_block_type": ["mamba", "hybrid"]},  # Zamba2
        {"hybrid_override_pattern": "M-M*-"},  # Nemotron-H
        {"num_kv_shared_layers": 20},  # Gemma 3n
        {"num_key_value_heads": [3, 9]},
        {"moe_num_experts": 64},  # ERNIE 4.5
        {"ffn_config": {}, "num_experts_of_others": [8, 8]},
        {"word_embed_proj_dim": 512},  # OPT-350m
    ],
)
def test_what_is_not_attention_alone_cannot(more):
    assert Architecture.counted({**CONFIG, **more}) is None


def test_a_window_of_some_layers_counts_for_all():
    mixed = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 512}
    assert Architecture.counted({**CONFIG, **mixed}).window == 512
    full = {"layer_types": ["full_attention"], "sliding_window": 512}
    assert Architecture.counted({**CONFIG, **full}).window is None


def layers(*kinds):
    return {
        **CONFIG,
        "num_hidden_layers": len(kinds),
        "layer_types": [*kinds],
        "sliding_window": 512,
    }


def test_a_window_of_some_layers_counts_for_these():
    mixed = Architecture.counted(layers(*["sliding_attention"] * 5, "full_attention"))
    assert (mixed.window, mixed.window_layers) == (512, 5)
    # 5 layers see 512 tokens, one sees all 3,512.
    assert (mixed.seen(100), mixed.seen(3512)) == (100, 1012)
    everywhere = Architecture.counted(layers("sliding_attention", "sliding_attention"))
    assert (everywhere.window, everywhere.window_layers) == (512, None)
    assert everywhere.seen(3512) == 512
    assert SMOLLM.seen(3512) == 3512


@pytest.mark.parametrize(
    ("config", "window"),
    [
        ({"sliding_window": 512}, 512),
        ({"text_config": {"sliding_window": 512}}, 512),
        ({"sliding_window": 512, "use_sliding_window": False}, None),
        ({"sliding_window": 512, "layer_types": ["full_attention"]}, None),
        ({"sliding_window": 512, "layer_types": ["sliding_attention", "full_attention"]}, 512),
        ({"sliding_window": None}, None),
        ({}, None),
    ],
)
def test_a_window_is_one_that_a_layer_has(config, window):
    assert window_of(config) == window


def test_a_gguf_header_leaves_the_windows_of_layers_to_the_family():
    values = {k.replace("llama", "gemma3"): v for k, v in VALUES.items()}
    values |= {"general.architecture": "gemma3", "gemma3.attention.sliding_window": 512}
    found = Architecture.from_gguf(values, SHAPES)
    # Of 30 layers, each sixth sees everything.
    assert (found.window, found.window_layers) == (512, 25)
    del values["gemma3.attention.sliding_window"]
    assert Architecture.from_gguf(values, SHAPES).window_layers is None


def test_only_a_window_of_some_layers_is_a_field_of_the_record():
    assert "window_layers" not in SMOLLM.to_wire()
    mixed = Architecture.counted(layers("sliding_attention", "full_attention"))
    assert Architecture(**mixed.to_wire()) == mixed


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def test_a_header_is_read_to_its_end(tmp_path):
    path = tmp_path / "some.gguf"
    words = string("words") + struct.pack("<IIQ", 9, 8, 2) + string("a") + string("b")
    count = string("count") + struct.pack("<II", 4, 7)
    # Two tensors, the second one first in the file: 64 bytes, then 100.
    late = string("late") + struct.pack("<I2Q", 2, 5, 5) + struct.pack("<IQ", 0, 64)
    early = string("early") + struct.pack("<IQ", 1, 16) + struct.pack("<IQ", 0, 0)
    text = b"GGUF" + struct.pack("<IQQ", 3, 2, 2) + words + count + late + early
    padding = -len(text) % 32
    path.write_bytes(text + bytes(padding) + bytes(64 + 100))
    found = header(path)
    assert found.values == {"words": None, "count": 7}
    assert found.shapes == {"late": (5, 5), "early": (16,)}
    assert found.sizes == {"late": 100, "early": 64}


@pytest.mark.skipif(embedded_gguf() is None, reason="the embedded model is not installed")
def test_the_embedded_model_tells_its_sizes():
    found = header(embedded_gguf())
    assert Architecture.from_gguf(found.values, found.shapes) == SMOLLM
