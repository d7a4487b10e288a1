"""The device of transformers: what torch sees decides, before anything is built on it."""

from types import SimpleNamespace

import pytest

from pytest_llmperf.backends.transformers import _device, _place
from pytest_llmperf.core.engine import EngineSpec


def device(asked, gpus):
    torch = SimpleNamespace(cuda=SimpleNamespace(device_count=lambda: gpus))
    return _device(EngineSpec("transformers", "none", "folder", device=asked), torch)


@pytest.mark.parametrize(
    ("asked", "gpus", "chosen"),
    [
        ("auto", 0, "cpu"),
        ("auto", 2, "cuda:0"),
        ("cpu", 2, "cpu"),
        ("cuda", 1, "cuda:0"),
        ("cuda:1", 2, "cuda:1"),
    ],
)
def test_a_device_that_is_there_is_taken(asked, gpus, chosen):
    assert device(asked, gpus) == chosen


@pytest.mark.parametrize(
    ("asked", "gpus", "message"),
    [
        ("cuda:1", 1, r"--llm-device=cuda:1: torch sees 1 GPU\(s\), and the first is cuda:0"),
        ("cuda", 0, r"--llm-device=cuda: torch sees 0 GPU\(s\)"),
    ],
)
def test_a_gpu_that_torch_does_not_see_is_one_line(asked, gpus, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        device(asked, gpus)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("model.embed_tokens", "0"),
        ("model.layers.1.mlp.up_proj", "cpu"),
        ("model.layers.10.mlp.up_proj", "disk"),
        ("model.layers.10", "disk"),
        ("lm_head", "unknown"),
    ],
)
def test_an_empty_tensor_is_where_the_map_of_its_layer_says(name, place):
    places = {"model.embed_tokens": "0", "model.layers.1": "cpu", "model.layers.10": "disk"}
    assert _place(places, name) == place


def test_a_model_in_one_place_has_all_tensors_there():
    assert _place({"": "cpu"}, "model.layers.1") == "cpu"
