"""vLLM on a CPU: bounds for sizes under other names and for hub ids, folders of any name."""

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def gpt2(pytester, monkeypatch):
    """A hub id in the hub's cache, whose configuration has the names of GPT-2."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    hub = pytester.path / "hub"
    repository = hub / "models--organisation--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_embd": 64, "n_head": 1, "vocab_size": 500, "n_positions": 512}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    model.save_pretrained(repository / "snapshots" / COMMIT)
    (repository / "snapshots" / COMMIT / "tokenizer.json").write_text("{}")
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return repository / "snapshots" / COMMIT


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
