"""Arguments for an engine that would change what is measured are refused, each with its reason."""

import re

import pytest

from pytest_llmperf.backends import BUILT_IN, backend_class


@pytest.mark.parametrize(
    ("backend", "args", "reason"),
    [
        (
            "vllm",
            {"enable_lora": True},
            "vllm.enable_lora: no adapter can be named, so the base model",
        ),
        ("vllm", {"model": "a/b"}, "vllm.model: another model than the one in the test id"),
        ("vllm", {"load_format": "dummy"}, "vllm.load_format: give --llm-load-format=dummy"),
        ("vllm@next", {"revision": "x"}, "vllm.revision: give --llm-revision"),
        ("transformers", {"temperature": 0.7}, "transformers.temperature: decoding is greedy"),
        (
            "transformers",
            {"generate.max_new_tokens": 3},
            "transformers.generate.max_new_tokens: decoding is greedy and of exact length",
        ),
        (
            "transformers",
            {"generate.assistant_model": "x"},
            "transformers.generate.assistant_model: it may change what is measured; known: "
            "generate.cache_implementation, ",
        ),
        (
            "transformers",
            {"cache_implementation": "static"},
            "transformers.cache_implementation: it belongs to generate: give transformers.generate.",
        ),
        (
            "transformers",
            {"torch_compile": True},
            "transformers.torch_compile: transformers compiles",
        ),
        ("llama-cpp", {"model.path": "x"}, "llama-cpp.model.path: another model"),
        ("llama-cpp", {"sampling.temp": 1}, "llama-cpp.sampling.temp: decoding is greedy"),
        ("ctranslate2", {"compute_type": "int8"}, "ctranslate2.compute_type: give --llm-quant"),
        ("tensorrt-llm", {"enable_lora": True}, "tensorrt-llm.enable_lora: no adapter"),
    ],
)
def test_what_would_change_the_measurement_is_refused(backend, args, reason):
    refusal = backend_class(backend).refusal_of_args(args)
    assert refusal.by_nature
    assert refusal.reason.startswith(reason)


@pytest.mark.parametrize(
    ("backend", "args"),
    [
        ("vllm", {"enable_lora": False, "load_format": "auto", "max_model_len": 512}),
        ("transformers", {"generate.cache_implementation": "static", "device_map": "auto"}),
        ("transformers", {"attn_implementation": "eager", "trust_remote_code": True}),
        ("llama-cpp", {"n_parallel": 32, "cpuparams.n_threads": 4, "sampling": None}),
        ("ctranslate2", {"max_batch_size": 2, "flash_attention": True}),
        ("simulated", {"ttft": 0.1}),
    ],
)
def test_what_only_changes_how_it_is_computed_is_not(backend, args):
    assert backend_class(backend).refusal_of_args(args) is None


@pytest.mark.parametrize("backend", BUILT_IN)
def test_no_arguments_are_no_problem(backend):
    assert backend_class(backend).refusal_of_args({}) is None


def test_the_run_ends_before_it_begins_with_one_line(plan):
    message = "--llm-backend-arg: vllm.enable_lora: no adapter can be named"
    asked = plan(backends=("transformers",), backend_args={"vllm": {"enable_lora": True}})
    with pytest.raises(pytest.UsageError, match=f"^{re.escape(message)}"):
        asked.check_requested()
