"""The mode of a checkpoint, from the configurations that libraries write."""

import json
from enum import Enum

import pytest

from pytest_llmperf.core.checkpoint_format import (
    CheckpointFormat,
    format_by_name,
    format_of_config,
    format_of_folder,
    mode_of_config,
)
from pytest_llmperf.core.quantization import OF_CHECKPOINTS, bits_of


def compressed(weights, activations=None, **more):
    groups = {"group_0": {"weights": weights, "input_activations": activations}}
    return {"quant_method": "compressed-tensors", "config_groups": groups, **more}


def ints(bits, **more):
    return {"num_bits": bits, "type": "int", **more}


def floats(bits, **more):
    return {"num_bits": bits, "type": "float", **more}


TOKENS = {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}
BNB4 = {"quant_method": "bitsandbytes", "load_in_4bit": True}
MODES = [
    ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8"),
    ({**BNB4, "bnb_4bit_quant_type": "fp4"}, "fp4"),
    ({**BNB4, "bnb_4bit_quant_type": "nf4"}, "nf4"),
    ({**BNB4, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}, "nf4-dq"),
    ({"_load_in_4bit": True, "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "nf4"),
    ({"quant_method": "bitsandbytes", "load_in_8bit": False}, "none"),
    ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq-int4"),
    ({"quant_method": "awq", "w_bit": 4}, "awq-int4"),
    ({"quant_method": "gptq", "bits": 8}, "gptq-int8"),
    ({"quant_method": "auto-round", "bits": 4}, "auto-round-int4"),
    ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4}}}, "hqq-int4"),
    ({"quant_method": "quanto", "weights": "int8"}, "quanto-int8"),
    ({"quant_method": "fp8", "activation_scheme": "dynamic"}, "fp8"),
    ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8-static"),
    ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block"),
    ({"quant_method": "mxfp4"}, "mxfp4"),
    ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8-static"),
    ({"quant_method": "modelopt", "quantization": {"quant_algo": "NVFP4"}}, "nvfp4"),
    ({"quant_method": "modelopt", "quantization": {"quant_algo": None}}, "none"),
    ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, "mixed"),
    (compressed(ints(8), ints(8)), "w8a8"),
    (compressed(ints(4, group_size=128)), "w4a16"),
    (compressed(ints(8)), "w8a16"),
    (compressed(ints(4), ints(8)), "w4a8"),
    (compressed(floats(8, strategy="channel"), TOKENS), "fp8-channel"),
    (compressed(floats(8, strategy="block"), TOKENS), "fp8-block"),
    (compressed(floats(8, strategy="tensor"), floats(8, dynamic=False)), "fp8-static"),
    (compressed(floats(8, strategy="tensor"), floats(8, dynamic=True)), "fp8"),
    (compressed(floats(8, strategy="channel")), "fp8a16"),
    (compressed(floats(4, group_size=16), floats(4)), "nvfp4"),
    (compressed(floats(4, group_size=16)), "nvfp4a16"),
    (compressed(floats(4, group_size=32)), "mxfp4"),
    (compressed(floats(8, group_size=32), floats(8)), "mxfp8"),
    ({"quant_method": "compressed-tensors", "config_groups": {}}, "none"),
    (
        {
            "quant_method": "compressed-tensors",
            "config_groups": {"a": {"weights": ints(4)}, "b": {"weights": ints(8)}},
        },
        "mixed",
    ),
    (
        {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}}},
        "ao-int8wo",
    ),
    ({"quant_method": "torchao", "quant_type": "int4_weight_only"}, "ao-int4wo"),
    (
        {
            "quant_method": "torchao",
            "quant_type": {
                "default": {"_type": "Float8DynamicActivationFloat8WeightConfig", "_data": {}}
            },
        },
        "ao-fp8dq",
    ),
    ({"quant_method": "FBGEMM_FP8"}, "fbgemm-fp8"),
    ({"quant_method": "a new one"}, "a-new-one"),
    ({"bits": 4}, "unknown"),
]


@pytest.mark.parametrize(("declared", "mode"), MODES)
def test_a_configuration_names_the_mode(declared, mode):
    assert mode_of_config({"quantization_config": declared}) == mode


def test_the_method_of_a_loaded_model_is_an_enumeration():
    class Method(Enum):
        BITS_AND_BYTES = "bitsandbytes"

    declared = {"quant_method": Method.BITS_AND_BYTES, "load_in_8bit": True}
    assert mode_of_config({"quantization_config": declared}) == "int8"


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"quantization_config": None},
        {"quantization_config": {}},
        {"quantization_config": "awq"},
        {"text_config": [1]},
    ],
)
def test_without_a_declared_quantization_the_mode_is_none(config):
    assert mode_of_config(config) == "none"


@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
def test_the_declaration_may_be_in_the_part_for_text(key):
    config = {"model_type": "gemma3", "text_config": {key: {"quant_method": "awq", "bits": 4}}}
    assert mode_of_config(config) == "awq-int4"


@pytest.mark.parametrize(
    "odd",
    [
        {"quant_method": 7},
        {"quant_method": "compressed-tensors", "config_groups": [1]},
        {
            "quant_method": "compressed-tensors",
            "config_groups": {"a": {"weights": {"num_bits": "x"}}},
        },
        {"quant_method": "torchao", "quant_type": [[1], {}]},
        {"quant_method": "torchao"},
        {"quant_method": "modelopt", "quantization": [1]},
        {"quant_method": "hqq", "quant_config": 1},
        {"quant_method": "quanto", "weights": ["int8"]},
        {"quant_method": "awq", "bits": "four"},
    ],
)
def test_odd_values_are_no_error(odd):
    assert isinstance(mode_of_config({"quantization_config": odd}), str)


def test_a_format_says_its_method_and_the_size_of_its_groups():
    declared = {"quant_method": "gptq", "bits": 4, "group_size": 64}
    found = format_of_config({"quantization_config": declared})
    assert found == CheckpointFormat("gptq-int4", "gptq", 64)
    found = format_of_config({"quantization_config": compressed(ints(4, group_size=32))})
    assert found == CheckpointFormat("w4a16", "compressed-tensors", 32)
    declared = {"quant_method": "gptq", "bits": 4, "group_size": -1}
    assert format_of_config({"quantization_config": declared}).group_size is None


@pytest.mark.parametrize(
    ("file", "content", "mode"),
    [
        ("hf_quant_config.json", {"quantization": {"quant_algo": "FP8"}}, "fp8-static"),
        ("quantize_config.json", {"bits": 4, "group_size": 128}, "gptq-int4"),
        ("quant_config.json", {"w_bit": 4, "q_group_size": 128}, "awq-int4"),
    ],
)
def test_a_file_beside_the_configuration_counts_too(tmp_path, file, content, mode):
    (tmp_path / "config.json").write_text("{}")
    assert format_of_folder(tmp_path) is None
    (tmp_path / file).write_text(json.dumps(content))
    assert format_of_folder(tmp_path).mode == mode


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("org/Llama-3.1-8B-Instruct-AWQ", "awq-int4"),
        ("org/Qwen2.5-7B-Instruct-GPTQ-Int4", "gptq-int4"),
        ("org/Qwen2.5-7B-Instruct-GPTQ-Int8", "gptq-int8"),
        ("org/Qwen3-8B-FP8", "fp8"),
        ("org/Llama-3.1-8B-Instruct-FP8-dynamic", "fp8-channel"),
        ("org/Llama-3.1-8B-Instruct-NVFP4", "nvfp4"),
        ("org/model-bnb-4bit", "nf4"),
        ("org/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", "w4a16"),
        ("org/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", "w8a8"),
    ],
)
def test_a_repositorys_name_is_a_hint(name, mode):
    assert format_by_name(name).mode == mode


@pytest.mark.parametrize("name", ["org/phi-2", "org/Mistral-7B-v0.1", "awq/model", "org/mawqish"])
def test_other_names_are_none(name):
    assert format_by_name(name) is None


def test_names_of_modes_say_their_bits():
    bits = {mode: bits_of(mode) for mode in (*OF_CHECKPOINTS, "none", "int8", "nf4-dq", "mixed")}
    assert set(bits.values()) <= {2, 3, 4, 8, 16, None}
    assert {mode for mode, value in bits.items() if value is None} == {"mixed"}
    some = [bits[mode] for mode in ("w4a16", "w8a8", "awq-int4", "fp8-block", "ao-int8dq", "mxfp4")]
    assert some == [4, 8, 4, 8, 8, 4]
