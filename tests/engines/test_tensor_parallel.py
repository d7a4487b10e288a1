"""One model over two workers, with the real workers and collectives of vLLM on a CPU."""

import json

import pytest

pytestmark = pytest.mark.engine

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 1024,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def test_two_workers_share_a_model_say_so_in_the_id_and_are_gone_after_the_run(
    pytester, session_processes
):
    folder = pytester.mkdir("tiny")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    pytester.makepyfile(
        """
        from pathlib import Path

        def test_it(llm, llm_benchmark):
            Path("pid").write_text(str(llm.engine().pid))
            llm_benchmark(llm, input_len=8, output_len=4, rounds=1, warmup=1)
        """
    )
    result = pytester.runpytest_subprocess(
        "--llm-model=tiny=tiny",
        "--llm-load-format=dummy",
        "--llm-backend=vllm",
        "--llm-backend-arg=vllm.tensor_parallel_size=2",
        "--benchmark-json=out.json",
    )
    result.assert_outcomes(passed=1)
    entries = json.loads((pytester.path / "out.json").read_text())["benchmarks"]
    record = entries[0]["extra_info"]["llmperf"]
    assert record["nodeid"].endswith("test_it[tiny-vllm-none-tp2]")
    # Both workers have the norms (5 norms of 256 numbers), which count once.
    weights = 2 * 1024 * 256 + 2 * (4 * 256 * 256 + 3 * 256 * 512)
    assert record["model"]["parameters"] == weights + 5 * 256
    assert not session_processes(int((pytester.path / "pid").read_text()))
