"""The quantized checkpoints that no engine loads on a CPU: they are only refused."""

import json

import checkpoints
import pytest


@pytest.mark.parametrize(
    "name", [checkpoints.FP8_TENSOR, checkpoints.FP8_BLOCK, checkpoints.MODELOPT]
)
def test_a_format_has_its_size_its_configuration_and_a_tokenizer(quantized, name):
    folder = quantized(name)
    size = (folder / "model.safetensors").stat().st_size / 2**20
    assert size == pytest.approx(155.3, rel=0.01)
    assert (folder / "tokenizer.json").exists()
    config = json.loads((folder / "config.json").read_text())
    if name == checkpoints.MODELOPT:
        stored = json.loads((folder / "hf_quant_config.json").read_text())
        assert stored["quantization"]["quant_algo"] == "FP8"
        assert "quantization_config" not in config
    else:
        assert config["quantization_config"]["quant_method"] == "fp8"
