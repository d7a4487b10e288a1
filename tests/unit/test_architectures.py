"""The configurations that ship for random weights."""

import json

import pytest

from pytest_llmperf.core.models import ARCHITECTURES, Model, parse_model


def config(name):
    return json.loads((ARCHITECTURES / name / "config.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("alias", "folder"),
    [
        ("phi-2", "phi-2"),
        ("mistral-7b", "mistral-7b"),
        ("mistral-7b-instruct", "mistral-7b"),
        ("smollm2-135m", "smollm2-135m"),
    ],
)
def test_a_model_has_its_shipped_architecture(alias, folder):
    assert parse_model(alias).shipped_config == ARCHITECTURES / folder
    assert (ARCHITECTURES / folder / "config.json").is_file()


def test_a_model_without_a_shipped_architecture_has_none():
    assert parse_model("qwen3-8b").shipped_config is None
    assert parse_model("Acme/Model").shipped_config is None


def test_another_model_under_an_alias_does_not_get_its_architecture():
    assert Model("phi-2", "hub", "Acme/Model").shipped_config is None
    assert Model("phi-2", "folder", "/somewhere/phi-2").shipped_config is None


def test_phi_2_has_the_published_figures():
    phi = config("phi-2")
    assert phi["model_type"] == "phi"
    assert phi["architectures"] == ["PhiForCausalLM"]
    assert phi["vocab_size"] == 51200
    assert phi["hidden_size"] == 2560
    assert phi["intermediate_size"] == 10240
    assert phi["num_hidden_layers"] == 32
    assert phi["num_attention_heads"] == 32
    assert phi["num_key_value_heads"] == 32
    assert phi["rope_theta"] == 10000.0
    assert phi["partial_rotary_factor"] == 0.4
    assert phi["max_position_embeddings"] == 2048
    assert phi["hidden_act"] == "gelu_new"
    assert phi["layer_norm_eps"] == 1e-5
    assert phi["tie_word_embeddings"] is False
    assert (phi["bos_token_id"], phi["eos_token_id"]) == (50256, 50256)


def test_mistral_7b_has_the_published_figures():
    mistral = config("mistral-7b")
    assert mistral["model_type"] == "mistral"
    assert mistral["architectures"] == ["MistralForCausalLM"]
    assert mistral["vocab_size"] == 32000
    assert mistral["hidden_size"] == 4096
    assert mistral["intermediate_size"] == 14336
    assert mistral["num_hidden_layers"] == 32
    assert mistral["num_attention_heads"] == 32
    assert mistral["num_key_value_heads"] == 8
    assert mistral["rope_theta"] == 10000.0
    assert mistral["max_position_embeddings"] == 32768
    assert mistral["sliding_window"] == 4096
    assert mistral["hidden_act"] == "silu"
    assert mistral["rms_norm_eps"] == 1e-5
    assert mistral["tie_word_embeddings"] is False
    assert (mistral["bos_token_id"], mistral["eos_token_id"]) == (1, 2)


def test_phi_2_has_2_78_billion_parameters():
    phi = config("phi-2")
    vocabulary, hidden = phi["vocab_size"], phi["hidden_size"]
    inner, layers = phi["intermediate_size"], phi["num_hidden_layers"]
    # Every linear layer and every norm has a bias.
    attention = 4 * (hidden * hidden + hidden)  # query, key, value, output
    feed_forward = (hidden * inner + inner) + (inner * hidden + hidden)
    norm = 2 * hidden
    embedding = vocabulary * hidden
    head = hidden * vocabulary + vocabulary
    total = embedding + layers * (attention + feed_forward + norm) + norm + head
    assert total == 2_779_683_840
    assert round(total / 1e9, 2) == 2.78
    assert round(total * 2 / 2**30, 2) == 5.18  # bfloat16


def test_mistral_7b_has_7_24_billion_parameters():
    mistral = config("mistral-7b")
    vocabulary, hidden = mistral["vocab_size"], mistral["hidden_size"]
    inner, layers = mistral["intermediate_size"], mistral["num_hidden_layers"]
    key_value = hidden // mistral["num_attention_heads"] * mistral["num_key_value_heads"]
    # There are no biases; norms have only a weight.
    attention = 2 * hidden * hidden + 2 * hidden * key_value  # query, output; key, value
    feed_forward = 3 * hidden * inner  # gate, up, down
    norm = hidden
    embedding = head = vocabulary * hidden
    total = embedding + layers * (attention + feed_forward + 2 * norm) + norm + head
    assert total == 7_241_732_096
    assert round(total / 1e9, 2) == 7.24


def test_the_embedded_model_has_135_million_parameters():
    smollm = config("smollm2-135m")
    hidden, inner, layers = 576, 1536, 30
    assert (smollm["hidden_size"], smollm["intermediate_size"]) == (hidden, inner)
    assert smollm["num_hidden_layers"] == layers
    key_value = smollm["head_dim"] * smollm["num_key_value_heads"]
    attention = 2 * hidden * hidden + 2 * hidden * key_value
    feed_forward = 3 * hidden * inner
    embedding = smollm["vocab_size"] * hidden  # the head shares it
    assert smollm["tie_word_embeddings"] is True
    total = embedding + layers * (attention + feed_forward + 2 * hidden) + hidden
    assert total == 134_515_008
