"""The refusals and compute types of CTranslate2. The engine itself: tests/engines/contract."""

import json
import sys
from dataclasses import replace
from types import ModuleType

import pytest

from pytest_llmperf.backends import backend_class
from pytest_llmperf.backends import ctranslate2 as module
from pytest_llmperf.backends.ctranslate2 import _compute_type
from pytest_llmperf.core.engine import EngineSpec, Refusal, Setup
from pytest_llmperf.core.models import parse_model

CTRANSLATE2 = backend_class("ctranslate2")
PACKAGES = {"ctranslate2": "4.8.5", "transformers": "5.19.0"}
CPU = Setup(random_weights=False, dtype="auto", on_cpu=True)
GPU = Setup(random_weights=False, dtype="auto", on_cpu=False)
EMBEDDED = parse_model("smollm2-135m")


@pytest.mark.parametrize(
    "mode", ["none", "int8", "int8_float32", "int8_bfloat16", "int8_float16", "int16"]
)
def test_its_own_modes(mode):
    assert CTRANSLATE2.refusal(mode, PACKAGES) is None
    assert CTRANSLATE2.refusal_of_model(EMBEDDED, mode, GPU) is None


def test_all_means_one_of_each_width():
    assert CTRANSLATE2.modes == ("none", "int8")


@pytest.mark.parametrize("mode", ["nf4", "fp4", "nf4-dq", "q4_1"])
def test_modes_of_other_engines_are_refused_by_nature(mode):
    assert CTRANSLATE2.refusal(mode, PACKAGES) == Refusal(
        f"ctranslate2 has no quantization mode {mode}; it has none, int8, int8_float32, "
        "int8_bfloat16, int8_float16, int16",
        by_nature=True,
    )


def test_it_converts_with_transformers():
    assert CTRANSLATE2.refusal("none", {"ctranslate2": "4.8.5"}) == Refusal(
        "CTranslate2 converts models with transformers: pip install 'pytest-llmperf[ctranslate2]'",
        by_nature=False,
    )


@pytest.mark.parametrize(
    ("model", "mode", "setup", "reason"),
    [
        (EMBEDDED, "int8_float16", CPU, "CTranslate2 computes in int8_float16 only on a GPU"),
        (
            EMBEDDED,
            "none",
            Setup(random_weights=False, dtype="bfloat16", on_cpu=True),
            "CTranslate2 computes in bfloat16 only on a GPU",
        ),
        (
            EMBEDDED,
            "none",
            Setup(random_weights=True, dtype="auto", on_cpu=True),
            "CTranslate2 loads only converted checkpoints: --llm-load-format=dummy has none",
        ),
        (
            parse_model("phi-2"),
            "none",
            GPU,
            "CTranslate2 cannot convert Phi in the layout of transformers 5",
        ),
    ],
)
def test_a_model_that_it_cannot_load_is_refused_with_the_reason(model, mode, setup, reason):
    assert CTRANSLATE2.refusal_of_model(model, mode, setup) == Refusal(reason, by_nature=True)


def test_a_folder_says_its_own_architecture(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "phi3"}))
    refusal = CTRANSLATE2.refusal_of_model(parse_model(str(tmp_path)), "none", GPU)
    assert refusal.reason == "CTranslate2 cannot convert Phi-3 in the layout of transformers 5"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt_neox"}))
    refusal = CTRANSLATE2.refusal_of_model(parse_model(str(tmp_path)), "none", GPU)
    assert refusal.reason == "CTranslate2 cannot convert GPT-NeoX in the layout of transformers 5"


@pytest.fixture
def engine(monkeypatch):
    """Replace the engine by a stand-in for ``prepare``; a conversion makes an empty folder."""
    stand_in = ModuleType("ctranslate2")
    stand_in.__version__ = "4.8.5"
    stand_in.get_cuda_device_count = lambda: 0
    stand_in.get_supported_compute_types = lambda device: {"float32", "int8_float32"}
    monkeypatch.setitem(sys.modules, "ctranslate2", stand_in)
    monkeypatch.setattr(module, "_convert", lambda source, compute_type, folder, code: None)
    return stand_in


@pytest.fixture
def checkpoint(tmp_path):
    """Return a folder that counts as a local model."""
    folder = tmp_path / "some-model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


def prepared(spec, cache):
    """Return the spec from ``prepare``, and the phases that it reported."""
    phases = []
    made = CTRANSLATE2.prepare(spec, cache, lambda phase, number, total: phases.append(phase))
    return made, phases


def test_a_converted_model_is_found_without_the_engine(engine, checkpoint, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    spec = EngineSpec("ctranslate2", "int8", str(checkpoint))
    assert CTRANSLATE2.ready(spec, cache, PACKAGES) is None
    made, phases = prepared(spec, cache)
    assert phases == ["convert"]
    assert "-ct2-int8_float32-4.8.5-" in made.model
    # None in sys.modules makes an import fail.
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    assert CTRANSLATE2.ready(spec, cache, PACKAGES) == made


@pytest.mark.parametrize(
    ("changes", "packages"),
    [
        ({"quantization": "none"}, PACKAGES),
        ({"dtype": "float32"}, PACKAGES),
        ({"device": "cuda"}, PACKAGES),
        ({}, {**PACKAGES, "ctranslate2": "4.9.0"}),
        ({}, {}),
    ],
)
def test_what_another_load_was_converted_to_is_not_taken_for_it(
    engine, checkpoint, tmp_path, changes, packages
):
    spec = EngineSpec("ctranslate2", "int8", str(checkpoint))
    prepared(spec, tmp_path)
    assert CTRANSLATE2.ready(replace(spec, **changes), tmp_path, packages) is None


def test_a_checkpoint_that_has_changed_is_converted_again(engine, checkpoint, tmp_path):
    spec = EngineSpec("ctranslate2", "int8", str(checkpoint))
    prepared(spec, tmp_path)
    (checkpoint / "config.json").write_text('{"other": 1}')
    assert CTRANSLATE2.ready(spec, tmp_path, PACKAGES) is None
    assert prepared(spec, tmp_path)[1] == ["convert"]


def test_what_is_converted_already_is_not_reported_as_a_conversion(engine, checkpoint, tmp_path):
    spec = EngineSpec("ctranslate2", "int8", str(checkpoint))
    made, _ = prepared(spec, tmp_path)
    assert prepared(spec, tmp_path) == (made, [])


def test_a_model_of_the_hub_is_looked_for_there(engine, checkpoint, tmp_path, monkeypatch):
    local = replace(EngineSpec("ctranslate2", "int8", str(checkpoint)), revision="abc")
    monkeypatch.setattr(module, "_downloaded", lambda spec: local)
    spec = EngineSpec("ctranslate2", "int8", "some/model", local=False)
    assert prepared(spec, tmp_path)[1] == ["download", "convert"]
    assert prepared(spec, tmp_path)[1] == ["download"]
    # The current revision on the hub is unknown here.
    assert CTRANSLATE2.ready(spec, tmp_path, PACKAGES) is None


@pytest.fixture
def supported(monkeypatch):
    """Return a function that sets the compute types of the device; the real engine is not asked."""
    engine = pytest.importorskip("ctranslate2")

    def of(*types):
        monkeypatch.setattr(engine, "get_supported_compute_types", lambda device: set(types))

    return of


@pytest.mark.parametrize(
    ("types", "mode", "dtype", "name"),
    [
        (("float32", "int8_float32"), "none", "auto", "float32"),
        (("float32", "int8_float32"), "int8", "auto", "int8_float32"),
        (("float32", "float16", "bfloat16"), "none", "auto", "bfloat16"),
        (("float32", "float16", "int8_float16"), "int8", "float16", "int8_float16"),
        (("int16",), "int16", "auto", "int16"),
    ],
)
def test_a_mode_and_a_compute_type_are_one_name(supported, types, mode, dtype, name):
    supported(*types)
    assert _compute_type(EngineSpec("ctranslate2", mode, "m", dtype=dtype), "cpu") == name


def test_what_the_device_cannot_do_is_one_line(supported):
    supported("float32", "int8_float32")
    message = (
        r"^CTranslate2 cannot compute in int8_float16 on this cpu; it can: float32, int8_float32$"
    )
    with pytest.raises(ValueError, match=message):
        _compute_type(EngineSpec("ctranslate2", "int8_float16", "m"), "cpu")
