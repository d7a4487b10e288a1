"""Models of many shapes, tiny and with random weights: loaded, or refused in one line."""

import pytest

SIZES = {
    "vocab_size": 512,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 128,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
TEST = """
    def test_x(llm, llm_benchmark):
        llm_benchmark(llm, input_len=8, output_len=4, rounds=1, warmup=0)
"""


@pytest.fixture
def save(pytester):
    """Return a function that writes a checkpoint with a tokenizer, from a name of transformers."""

    def write(folder, name, config):
        import torch
        import transformers
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        torch.manual_seed(0)
        made = getattr(transformers, f"{name.partition('For')[0]}Config")(**config)
        getattr(transformers, name)(made).to(torch.bfloat16).save_pretrained(pytester.path / folder)
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        words = {word: i for i, word in enumerate(("<s>", "</s>", *letters))}
        tokenizer = Tokenizer(models.BPE(words, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<s>"}
        fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
        fast.save_pretrained(pytester.path / folder)

    return write


@pytest.fixture
def run(pytester):
    """Return a function that runs a test on an engine and a saved model."""
    pytester.makepyfile(TEST)
    cache = f"--llm-cache-dir={pytester.mkdir('cache')}"

    def start(backend, folder, *arguments):
        command = [f"--llm-backend={backend}", f"--llm-model=./{folder}", cache, *arguments]
        return pytester.runpytest_subprocess(*command)

    return start


@pytest.mark.parametrize("load_format", ["auto", "dummy"])
def test_a_model_with_a_tower_for_images_loads_for_text(save, run, load_format):
    text = {"model_type": "llama", **SIZES}
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = {"text_config": text, "vision_config": vision, "image_token_index": 5}
    save("llava", "LlavaForConditionalGeneration", config)
    result = run("transformers", "llava", f"--llm-load-format={load_format}", "--llm-floor=off")
    result.assert_outcomes(passed=1)


def test_an_encoder_decoder_is_refused_before_it_loads(save, run):
    sizes = {"d_model": 64, "d_kv": 32, "d_ff": 128, "num_layers": 2, "num_heads": 2}
    save("t5", "T5ForConditionalGeneration", {"vocab_size": 512, **sizes})
    result = run("transformers", "t5")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: --llm-model: t5 is an encoder-decoder; only models that continue a text (decoders) "
            "are measured"
        ]
    )


def test_the_floor_of_a_window_in_ctranslate2_sees_random_weights(save, run):
    save("window", "MistralForCausalLM", {**SIZES, "sliding_window": 32})
    result = run("ctranslate2", "window")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["window-ctranslate2-none: invalid measurement: its perplexity on *"]
    )


def test_the_quality_of_a_window_in_ctranslate2_is_not_available(pytester, save, run):
    save("window", "MistralForCausalLM", {**SIZES, "sliding_window": 32})
    pytester.makepyfile("def test_x(llm, llm_benchmark): llm_benchmark.quality(llm)")
    result = run("ctranslate2", "window", "--llm-floor=off", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        [
            "*not available: CTranslate2 reports no probabilities of a text of * tokens in a model with "
            "a window of 32"
        ]
    )


def test_what_ctranslate2_cannot_convert_is_one_line(save, run):
    experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
    save("mixtral", "MixtralForCausalLM", {**SIZES, **experts})
    result = run("ctranslate2", "mixtral")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "cannot load mixtral-ctranslate2-none: ValueError: CTranslate2 has no conversion for "
            "MixtralConfig; log: *"
        ]
    )
