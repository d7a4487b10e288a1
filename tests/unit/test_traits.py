"""What changes speed or numbers and is not the weights' format: traits in test ids."""

import json

import pytest

from pytest_llmperf.backends import backend_class
from pytest_llmperf.core.cache_type import cache_type_of
from pytest_llmperf.core.cell import Cell
from pytest_llmperf.core.engine import Setup
from pytest_llmperf.core.models import parse_model
from pytest_llmperf.core.traits import Traits, devices_of

PHI = parse_model("phi-2")
GPU = Setup(random_weights=False, dtype="auto", on_cpu=False)
CPU = Setup(random_weights=False, dtype="auto", on_cpu=True)


def trait_id(engine, args, setup=GPU, model=PHI):
    return backend_class(engine).traits(args, model, setup).id


@pytest.fixture
def folder(tmp_path):
    """A checkpoint's folder with these files."""

    def make(**files):
        for name, content in {"config": {}, **files}.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return parse_model(f"m={tmp_path}")

    return make


def test_parts_of_an_id_have_one_order():
    traits = Traits(
        reuse="prefix",
        speculation="spec",
        cache="kvfp8",
        devices="tp2-pp2",
        execution="eager",
        implementation="hf",
    )
    assert (
        Cell(PHI, "vllm", "fp8", traits).id == "phi-2-vllm-fp8-tp2-pp2-kvfp8-eager-spec-hf-prefix"
    )
    assert Cell(PHI, "vllm", "none").id == "phi-2-vllm-none"


def test_devices_are_known_among_the_parts():
    assert devices_of(("tp2", "pp4", "kvfp8", "eager")) == ("tp2", "pp4")
    assert devices_of(("gpus2", "static", "k8")) == ("gpus2",)


@pytest.mark.parametrize("text", ["a b", "A", "x/y", "a--b", "-a", "[", 2, None])
def test_a_trait_that_would_break_ids_is_refused(text):
    with pytest.raises(ValueError, match="a trait consists of"):
        Traits(cache=text)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({}, ""),
        ({"tensor_parallel_size": 2}, "tp2"),
        ({"tensor_parallel_size": 2, "pipeline_parallel_size": 4}, "tp2-pp4"),
        ({"tensor_parallel_size": 1}, ""),
        ({"kv_cache_dtype": "fp8"}, "kvfp8"),
        ({"kv_cache_dtype": "fp8_e4m3"}, "kvfp8"),
        ({"kv_cache_dtype": "fp8_e5m2"}, "kvfp8e5m2"),
        ({"kv_cache_dtype": "nvfp4"}, "kvnvfp4"),
        ({"kv_cache_dtype": "int8_per_token_head"}, "kvint8"),
        ({"kv_cache_dtype": "fp8_per_token_head"}, "kvfp8pertokenhead"),
        ({"kv_cache_dtype": "auto"}, ""),
        ({"kv_cache_dtype": "bfloat16"}, ""),
        ({"kv_cache_dtype": "float16"}, "kvf16"),
        ({"enforce_eager": True}, "eager"),
        ({"enforce_eager": False}, ""),
        ({"attention_backend": "FLASHINFER"}, "attnflashinfer"),
        ({"attention_config": {"backend": "FLASH_ATTN"}}, "attnflash_attn"),
        ({"speculative_config": {"method": "ngram"}}, "spec"),
        ({"model_impl": "transformers"}, "hf"),
        ({"model_impl": "auto", "max_num_seqs": 8}, ""),
        (
            {"model_impl": "transformers", "kv_cache_dtype": "fp8", "tensor_parallel_size": 2},
            "tp2-kvfp8-hf",
        ),
    ],
)
def test_traits_of_vllm(args, expected):
    assert trait_id("vllm", args) == expected


def test_what_is_the_default_on_a_device_is_no_trait():
    # On a CPU this package sets enforce_eager.
    assert trait_id("vllm", {"enforce_eager": True}, CPU) == ""
    assert trait_id("vllm", {"enforce_eager": False}, CPU) == "compiled"
    half = Setup(random_weights=False, dtype="float16", on_cpu=False)
    assert trait_id("vllm", {"kv_cache_dtype": "float16"}, half) == ""
    assert trait_id("vllm", {"kv_cache_dtype": "bfloat16"}, half) == "kvbf16"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, ""),
        ({"config": {"quantization_config": {"quant_method": "gptq"}}}, ""),
        (
            {
                "config": {
                    "quantization_config": {
                        "quant_method": "compressed-tensors",
                        "kv_cache_scheme": {"num_bits": 8, "type": "float", "dynamic": False},
                    }
                }
            },
            "kvfp8",
        ),
        (
            {
                "config": {
                    "text_config": {"compression_config": {"kv_cache_scheme": {"num_bits": 8}}}
                }
            },
            "kvfp8",
        ),
        ({"config": {"quantization_config": {"kv_cache_quant_algo": "NVFP4"}}}, "kvnvfp4"),
        ({"hf_quant_config": {"quantization": {"kv_cache_quant_algo": "FP8"}}}, "kvfp8"),
        ({"hf_quant_config": {"quantization": {"kv_cache_quant_algo": None}}}, ""),
    ],
)
def test_a_checkpoint_that_names_its_cache_type_gives_the_trait(folder, files, expected):
    model = folder(**files)
    assert trait_id("vllm", {}, model=model) == expected
    assert trait_id("vllm", {"kv_cache_dtype": "auto"}, model=model) == expected
    # What is asked for by hand wins, as in the engine.
    assert trait_id("vllm", {"kv_cache_dtype": "fp8_e5m2"}, model=model) == "kvfp8e5m2"
    assert trait_id("transformers", {}, model=model) == ""


@pytest.mark.parametrize("config", [{"quantization_config": 3}, {"text_config": []}, {}])
def test_a_configuration_of_another_form_names_no_cache_type(config):
    assert cache_type_of(config) is None


@pytest.mark.parametrize(
    ("args", "setup", "expected"),
    [
        ({}, GPU, ""),
        ({"generate.cache_implementation": "static"}, GPU, "static"),
        ({"generate.cache_implementation": "static"}, CPU, "static"),
        ({"generate.cache_implementation": "dynamic"}, GPU, ""),
        (
            {"generate.cache_implementation": "static", "generate.disable_compile": True},
            GPU,
            "static-eager",
        ),
        (
            {"generate.cache_implementation": "static", "generate.disable_compile": True},
            CPU,
            "static",
        ),
        (
            {
                "generate.cache_implementation": "static",
                "generate.compile_config": {"_compile_all_devices": True},
            },
            CPU,
            "static-compiled",
        ),
        ({"generate.cache_implementation": "offloaded"}, GPU, "kvoffloaded"),
        ({"generate.cache_implementation": "offloaded_static"}, GPU, "kvoffloaded-static"),
        ({"generate.cache_implementation": "quantized"}, GPU, "kvint4"),
        (
            {
                "generate.cache_implementation": "quantized",
                "generate.cache_config": {"backend": "hqq", "nbits": 8},
            },
            GPU,
            "kvint8",
        ),
        ({"generate.use_cache": False}, GPU, "nocache"),
        ({"attn_implementation": "eager"}, GPU, "attneager"),
        (
            {"attn_implementation": "kernels-community/flash-attn3"},
            GPU,
            "attnkernelscommunityflashattn3",
        ),
        ({"low_cpu_mem_usage": True}, GPU, ""),
    ],
)
def test_traits_of_transformers(args, setup, expected):
    assert trait_id("transformers", args, setup) == expected


def test_layers_over_all_gpus_name_how_many_there_are(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert trait_id("transformers", {"device_map": "auto"}) == "gpus2"
    assert trait_id("transformers", {}) == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert trait_id("transformers", {"device_map": "auto"}) == ""


def test_a_checkpoint_whose_generation_settings_have_a_static_cache_says_so(folder):
    static = folder(generation_config={"cache_implementation": "static"})
    assert trait_id("transformers", {}, model=static) == "static"
    dynamic = {"generate.cache_implementation": "dynamic"}
    assert trait_id("transformers", dynamic, model=static) == ""
    # transformers leaves that one out where a checkpoint has it.
    hybrid = folder(generation_config={"cache_implementation": "hybrid"})
    assert trait_id("transformers", {}, model=hybrid) == ""


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({}, ""),
        ({"cache_type_k": 1, "cache_type_v": 1}, ""),
        ({"cache_type_k": 8, "cache_type_v": 8}, "kvq8_0"),
        ({"cache_type_k": "q8_0", "cache_type_v": "Q8_0"}, "kvq8_0"),
        ({"cache_type_k": "q8_0"}, "kq8_0-vf16"),
        ({"cache_type_k": 0, "cache_type_v": 0}, "kvf32"),
        ({"speculative.draft.n_max": 4}, "spec"),
        ({"n_parallel": 4}, ""),
    ],
)
def test_traits_of_llama_cpp(args, expected):
    assert trait_id("llama-cpp", args) == expected


def test_the_other_binding_names_the_same_types_otherwise():
    assert trait_id("llama-cpp-python", {"type_k": 8, "type_v": "q8_0"}) == "kvq8_0"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({}, ""),
        ({"tensor_parallel_size": 2, "kv_cache_config.dtype": "fp8"}, "tp2-kvfp8"),
        ({"kv_cache_config": {"dtype": "nvfp4"}}, "kvnvfp4"),
        ({"kv_cache_config.dtype": "auto"}, ""),
        ({"cuda_graph_config": None, "attn_backend": "FLASHINFER"}, "attnflashinfer-eager"),
        ({"speculative_config": {"decoding_type": "NGram"}}, "spec"),
    ],
)
def test_traits_of_tensorrt_llm(args, expected):
    assert trait_id("tensorrt-llm", args) == expected


def test_traits_of_ctranslate2():
    assert trait_id("ctranslate2", {"flash_attention": True}) == "attnflash"
    assert trait_id("ctranslate2", {"flash_attention": False, "max_batch_size": 4}) == ""


@pytest.mark.parametrize(
    ("engine", "kind", "trait", "argument"),
    [
        ("vllm", "cache", "kvfp8", "kv_cache_dtype=fp8"),
        ("vllm", "cache", "", "kv_cache_dtype=auto"),
        ("transformers", "execution", "static", "generate.cache_implementation=static"),
        ("transformers", "execution", "", "generate.cache_implementation=dynamic"),
        ("transformers", "cache", "nocache", "generate.use_cache=false"),
    ],
)
def test_the_argument_that_makes_a_trait_part_of_the_id(engine, kind, trait, argument):
    assert backend_class(engine).argument_for(kind, trait) == argument
