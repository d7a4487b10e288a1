"""Traits of real engines: compiled steps with a static cache, and another type of key-value cache."""

import json

import pytest

SIZES = {
    "num_hidden_layers": 2,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 500,
    "max_position_embeddings": 512,
}
TEST = """
    import pytest

    @pytest.mark.parametrize("output_len", [4, 9])
    def test_x(llm, llm_benchmark, output_len):
        llm_benchmark(llm, input_len=8, output_len=output_len, rounds=2, warmup=1)
"""


@pytest.fixture
def measured(pytester):
    """Return the records of a run of a tiny model with random weights."""

    def run(*options):
        folder = pytester.mkdir("tiny")
        config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **SIZES}
        (folder / "config.json").write_text(json.dumps(config))
        pytester.makepyfile(TEST)
        result = pytester.runpytest_subprocess(
            "--llm-model=./tiny",
            "--llm-load-format=dummy",
            "--llm-threads=1",
            "--benchmark-json=run.json",
            *options,
        )
        result.assert_outcomes(passed=2)
        stored = json.loads((pytester.path / "run.json").read_text())["benchmarks"]
        found = [entry["extra_info"]["llmperf"] for entry in stored]
        return [record for record in found if "schema" in record]

    return run


def test_steps_of_a_static_cache_are_compiled_and_warmed_up(measured):
    # The compiler's own backend "eager" captures the graphs and runs them without a C++ compiler.
    compile_config = {"backend": "eager", "mode": "default", "_compile_all_devices": True}
    records = measured(
        "--llm-backend=transformers",
        "--llm-device=cpu",
        "--llm-backend-arg=transformers.generate.cache_implementation=static",
        f"--llm-backend-arg=transformers.generate.compile_config={json.dumps(compile_config)}",
    )
    for record in records:
        assert record["cell"] == "tiny-transformers-none-static-compiled"
        assert record["backend"]["traits"] == ["static", "compiled"]
        settings = record["backend"]["settings"]
        assert settings["compiled"] is True
        assert settings["compile_config"] == compile_config
        assert record["workload"]["warmup"] == 3


def test_vllm_has_the_cache_that_the_id_says(measured):
    records = measured("--llm-backend=vllm", "--llm-backend-arg=vllm.kv_cache_dtype=fp8")
    for record in records:
        assert record["cell"] == "tiny-vllm-none-kvfp8"
        assert record["backend"]["traits"] == ["kvfp8"]
        assert record["backend"]["cache_value_bytes"] == 1
        settings = record["backend"]["settings"]
        assert settings["kv_cache_dtype"] == "fp8"
        assert settings["attention"]
