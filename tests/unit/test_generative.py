"""Models that continue no text are refused before anything loads."""

import json

import pytest

from pytest_llmperf.core.cell import Cell
from pytest_llmperf.core.generative import why_no_text, why_no_text_of_gguf
from pytest_llmperf.core.models import parse_model
from pytest_llmperf.session.model_files import refusal_of_kind

ENCODER_DECODER = "is an encoder-decoder; only models that continue a text (decoders) are measured"


@pytest.mark.parametrize(
    ("config", "start"),
    [
        ({"model_type": "bart", "is_encoder_decoder": True}, "bart is an encoder-decoder; "),
        ({"is_encoder_decoder": True}, "the model is an encoder-decoder; "),
        # Configurations that leave out what is the default of their class.
        ({"model_type": "t5"}, "t5 is an encoder-decoder; "),
        ({"model_type": "mt5"}, "mt5 is an encoder-decoder; "),
        ({"model_type": "whisper"}, "whisper is an encoder-decoder; "),
        (
            {"model_type": "vision-encoder-decoder"},
            "vision-encoder-decoder is an encoder-decoder; ",
        ),
        ({"architectures": ["BertForMaskedLM"]}, "BertForMaskedLM is no model that generates; "),
        (
            {"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]},
            "LlamaForSequenceClassification is no model that generates; ",
        ),
        ({"model_type": "bert", "architectures": ["BertModel"]}, "bert is an encoder; "),
        ({"model_type": "xlm-roberta", "is_decoder": False}, "xlm-roberta is an encoder; "),
    ],
)
def test_what_continues_no_text(config, start):
    assert why_no_text(config).startswith(start)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]},
        {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "is_encoder_decoder": False},
        {"model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"]},
        {"model_type": "mistral", "architectures": ["MistralModel"]},
        {"model_type": "mpt"},
        {"model_type": "bert", "architectures": ["BertLMHeadModel"], "is_decoder": True},
        {"model_type": "modernbert-decoder"},
        {"model_type": "bert-generation", "architectures": ["BertGenerationDecoder"]},
        {"model_type": ["t5"], "architectures": "odd"},
        {"architectures": [None]},
    ],
)
def test_what_continues_a_text(config):
    assert why_no_text(config) is None


def test_a_gguf_file_says_its_family():
    assert why_no_text_of_gguf({"general.architecture": "t5"}) == f"t5 {ENCODER_DECODER}"
    assert why_no_text_of_gguf({"general.architecture": "t5encoder"})
    assert why_no_text_of_gguf({"general.architecture": "nomic-bert"})
    assert why_no_text_of_gguf({"general.architecture": "llama"}) is None
    assert why_no_text_of_gguf({}) is None


@pytest.mark.parametrize("backend", ["transformers", "vllm", "ctranslate2", "vllm@next"])
@pytest.mark.parametrize("random_weights", [False, True])
def test_every_engine_refuses_it_by_nature(tmp_path, backend, random_weights):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    cell = Cell(parse_model(f"m={tmp_path}"), backend, "none")
    refusal = refusal_of_kind(cell, random_weights)
    assert refusal.reason == f"t5 {ENCODER_DECODER}"
    assert refusal.by_nature


def test_engines_that_load_no_files_or_other_kinds_do_not(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    model = parse_model(f"m={tmp_path}")
    assert refusal_of_kind(Cell(model, "simulated", "none"), False) is None
    assert refusal_of_kind(Cell(model, "engine-of-others", "none"), False) is None


@pytest.mark.parametrize("random_weights", [False, True])
def test_the_embedded_model_runs(random_weights):
    embedded = Cell(parse_model("smollm2-135m"), "llama-cpp", "q4_1")
    assert refusal_of_kind(embedded, random_weights) is None


def test_a_plan_names_the_reason(plan, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    made = plan(models=(parse_model(f"m={tmp_path}"),), backends=("transformers",))
    with pytest.raises(pytest.UsageError, match=r"^--llm-model: t5 is an encoder-decoder; only"):
        made.check_requested()
