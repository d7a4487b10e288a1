"""vLLM on a CPU: bounds for sizes under other names and for hub ids, folders of any name."""

import json

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CONFIG = {
    "model_type": "gpt2",
    "architectures": ["GPT2LMHeadModel"],
    "n_layer": 2,
    "n_embd": 64,
    "n_head": 1,
    "n_positions": 512,
    "vocab_size": 500,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
LAYER = {
    "ln_1.weight": (64,),
    "ln_1.bias": (64,),
    "attn.c_attn.weight": (64, 192),
    "attn.c_attn.bias": (192,),
    "attn.c_proj.weight": (64, 64),
    "attn.c_proj.bias": (64,),
    "ln_2.weight": (64,),
    "ln_2.bias": (64,),
    "mlp.c_fc.weight": (64, 256),
    "mlp.c_fc.bias": (256,),
    "mlp.c_proj.weight": (256, 64),
    "mlp.c_proj.bias": (64,),
}
WEIGHTS = {
    "transformer.wte.weight": (500, 64),
    "transformer.wpe.weight": (512, 64),
    **{f"transformer.h.{i}.{name}": shape for i in (0, 1) for name, shape in LAYER.items()},
    "transformer.ln_f.weight": (64,),
    "transformer.ln_f.bias": (64,),
}


@pytest.fixture
def gpt2(pytester, monkeypatch, save_weights):
    """A hub id in the hub's cache, whose configuration has the names of GPT-2."""
    hub = pytester.path / "hub"
    repository = hub / "models--organisation--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(CONFIG))
    save_weights(snapshot, WEIGHTS)
    (snapshot / "tokenizer.json").write_text("{}")
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return snapshot


def test_a_hub_id_and_a_folder_with_brackets_have_their_bounds(pytester, gpt2):
    (pytester.path / "epoch=3, [x] y").symlink_to(gpt2)
    pytester.makepyfile(
        """
        def test_x(llm):
            engine = llm.engine().info
            assert engine.context == 512
            # 2 x 2 layers x 64 numbers of 2 bytes, for 16,384 tokens.
            assert engine.memory["kv_cache_memory"] == 2 * 2 * 64 * 2 * 16384 / 2**20
        """
    )
    run = pytester.runpytest_subprocess(
        "--llm-backend=vllm",
        "--llm-model=organisation/tiny",
        r"--llm-model=epoch=3\, [x] y",
        "--llm-backend-arg=vllm.skip_tokenizer_init=true",
        "-rA",
    )
    run.assert_outcomes(passed=2)
    run.stdout.fnmatch_lines(
        ["PASSED *test_x[[]tiny-vllm-none[]]", "PASSED *test_x[[]epoch-3-x-y-*"]
    )
