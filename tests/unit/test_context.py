"""A request that is longer than the model's context is refused with both numbers, for every engine."""

import json

import pytest

from pytest_llmperf.backends.simulated import SimulatedBackend
from pytest_llmperf.core.cell import Cell
from pytest_llmperf.core.context import context_of, context_of_gguf, why_too_long
from pytest_llmperf.core.engine import EngineInfo
from pytest_llmperf.core.models import parse_model
from pytest_llmperf.core.workload import Request, Workload
from pytest_llmperf.session.model_files import context_of_cell
from pytest_llmperf.worker.measure import check_fits, measure


def test_a_request_beyond_the_context_is_refused():
    assert why_too_long(100, 8, 64) == (
        "a request of 108 tokens (prompt 100 + output 8) does not fit the model's context of 64"
    )
    assert why_too_long(0, 108, 64) == (
        "a request of 108 tokens (output 108, without the prompt) does not fit the model's context of 64"
    )


@pytest.mark.parametrize("context", [108, 109, None])
def test_a_request_within_the_context_or_without_one_is_not(context):
    assert why_too_long(100, 8, context) is None


@pytest.mark.parametrize(
    ("config", "context"),
    [
        ({"max_position_embeddings": 64}, 64),
        ({"n_positions": 1024, "n_ctx": 512}, 1024),  # GPT-2
        ({"max_seq_len": 2048}, 2048),  # MPT
        ({"text_config": {"max_position_embeddings": 64}, "max_position_embeddings": 8}, 64),
        # Mamba and T5 have no such limit, and a Gemma may leave out what is the default.
        ({}, None),
        ({"n_positions": 512, "is_encoder_decoder": True}, None),
        ({"text_config": {"model_type": "gemma3_text"}}, None),
        ({"max_position_embeddings": None}, None),
        ({"max_position_embeddings": -1}, None),
        ({"max_position_embeddings": True}, None),
        ({"max_position_embeddings": "64"}, None),
        ({"max_position_embeddings": [64]}, None),
        ({"max_position_embeddings": 64, "rope_scaling": "odd"}, 64),
        ({"max_position_embeddings": 64, "rope_scaling": {"type": "linear", "factor": 4.0}}, 256),
        (
            {
                "max_position_embeddings": 32768,
                "rope_parameters": {
                    "rope_type": "yarn",
                    "factor": 4.0,
                    "original_max_position_embeddings": 32768,
                },
            },
            131072,
        ),
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
            },
            131072,
        ),
    ],
)
def test_the_context_has_many_names(config, context):
    assert context_of(config) == context


@pytest.mark.parametrize(
    ("values", "context"),
    [
        ({"general.architecture": "llama", "llama.context_length": 8192}, 8192),
        (
            {
                "general.architecture": "qwen2",
                "qwen2.context_length": 32768,
                "qwen2.rope.scaling.factor": 4.0,
                "qwen2.rope.scaling.original_context_length": 32768,
            },
            131072,
        ),
        ({"general.architecture": ["odd"], "llama.context_length": "long"}, None),
        ({}, None),
    ],
)
def test_a_gguf_file_says_its_context(values, context):
    assert context_of_gguf(values) == context


def test_the_embedded_model_says_its_context():
    embedded = Cell(parse_model("smollm2-135m"), "llama-cpp", "q4_1")
    assert context_of_cell(embedded, False, {}) == 8192
    assert context_of_cell(embedded, True, {}) == 8192


def test_what_the_engine_is_told_replaces_what_the_files_say(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 64}))
    model = parse_model(f"tiny={tmp_path}")
    assert context_of_cell(Cell(model, "vllm", "none"), False, {}) == 64
    assert context_of_cell(Cell(model, "vllm", "none"), False, {"max_model_len": 128}) is None
    # Neither of these loads the files.
    assert context_of_cell(Cell(model, "simulated", "none"), False, {}) is None
    assert context_of_cell(Cell(model, "engine-of-others", "none"), False, {}) is None


def info(context):
    return EngineInfo("cpu", "float32", 1000, has_tokenizer=False, context=context)


def test_no_engine_gets_a_request_that_it_cannot_hold():
    backend = SimulatedBackend()  # Not loaded: it would fail if it were asked.
    workload = Workload(input_len=60, output_len=5, rounds=1, warmup=1)
    with pytest.raises(
        ValueError, match=r"^a request of 65 tokens \(prompt 60 \+ output 5\) does not"
    ):
        measure(backend, info(64), workload, lambda *_: None)


def test_the_longest_request_of_a_batch_counts():
    check_fits(info(4), [Request((1,), 3), Request((1, 2), 2)])
    with pytest.raises(ValueError, match=r"^a request of 5 tokens "):
        check_fits(info(4), [Request((1,), 3), Request((1, 2, 3), 2)])
