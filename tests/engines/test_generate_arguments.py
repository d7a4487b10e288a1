"""Arguments for transformers' generate reach it, and are recorded."""

import json


def test_a_static_cache_is_used(pytester):
    folder = pytester.mkdir("tiny")
    sizes = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "vocab_size": 500}
    (folder / "config.json").write_text(
        json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"], **sizes})
    )
    pytester.makepyfile(
        """
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=2, warmup=0)
        """
    )
    run = pytester.runpytest_subprocess(
        "--llm-backend=transformers",
        "--llm-model=./tiny",
        "--llm-load-format=dummy",
        "--llm-backend-arg=transformers.generate.cache_implementation=static",
        "--benchmark-json=run.json",
    )
    run.assert_outcomes(passed=1)
    stored = json.loads((pytester.path / "run.json").read_text())["benchmarks"][0]["extra_info"]
    backend = stored["llmperf"]["backend"]
    assert backend["settings"]["cache_implementation"] == "static"
    assert backend["args"] == {"generate.cache_implementation": "static"}
