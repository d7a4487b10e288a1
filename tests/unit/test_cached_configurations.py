"""A hub model whose configuration lies in the hub's cache is known as a folder is."""

import json
import os

import pytest

from pytest_llmperf.core.models import parse_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
KV_FP8 = {"kv_cache_scheme": {"num_bits": 8, "type": "float"}, "quant_method": "gptq", "bits": 4}


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """Put files of a repository into the hub's cache, and return the model."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))

    def put(repository="org/model", **files):
        folder = tmp_path / f"models--{repository.replace('/', '--')}"
        snapshot = folder / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(COMMIT)
        for name, content in files.items():
            (snapshot / f"{name}.json").write_text(json.dumps(content))
        return parse_model(repository)

    return put


def only_cell(plan, model, backend, **settings):
    made = plan(models=(model,), backends=(backend,), **settings)
    (choice,) = made.choices(None)
    return made, choice


@pytest.mark.parametrize("backend", ["transformers", "vllm", "ctranslate2"])
def test_a_kind_that_is_not_measured_is_refused(plan, cached, backend):
    model = cached(config={"model_type": "t5"})
    made, choice = only_cell(plan, model, backend)
    line = "t5 is an encoder-decoder; only models that continue a text (decoders) are measured"
    assert choice.problem == line
    with pytest.raises(pytest.UsageError, match=r"^--llm-model: t5 is an encoder-decoder; only"):
        made.check_requested()


def test_a_revision_that_is_not_in_the_cache_says_nothing(plan, cached):
    model = cached(config={"model_type": "t5"})
    assert only_cell(plan, model, "transformers", revision="other")[1].problem is None
    assert only_cell(plan, model, "transformers", revision=COMMIT)[1].problem is not None


def test_the_cache_type_that_a_checkpoint_asks_for_is_in_the_id(plan, cached):
    model = cached(config={"quantization_config": KV_FP8})
    assert only_cell(plan, model, "vllm")[1].cell.id == "model-vllm-gptq-int4-kvfp8"


def test_a_file_of_modelopt_beside_the_configuration_counts_as_well(plan, cached):
    beside = {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
    model = cached(config={"model_type": "llama"}, hf_quant_config=beside)
    assert only_cell(plan, model, "vllm")[1].cell.id == "model-vllm-fp8-static-kvfp8"


def test_settings_of_generation_are_in_the_id(plan, cached):
    model = cached(
        config={"model_type": "llama"}, generation_config={"cache_implementation": "static"}
    )
    _, choice = only_cell(plan, model, "transformers", device="cpu")
    assert choice.cell.id == "model-transformers-none-static"


def test_the_context_is_known(plan, cached):
    model = cached(config={"max_position_embeddings": 64})
    made, choice = only_cell(plan, model, "transformers")
    assert made.context(choice.cell) == 64


def test_a_layout_that_an_engine_cannot_convert_is_refused(plan, cached):
    model = cached(config={"model_type": "phi3"})
    packages = {"ctranslate2": "4.8", "transformers": "5.19"}
    (choice,) = plan(packages, models=(model,), backends=("ctranslate2",)).choices(None)
    assert choice.problem.startswith("CTranslate2 cannot convert ")


def test_a_cell_that_a_test_names_knows_it_too(plan, cached):
    model = cached(config={"model_type": "t5"})
    made = plan(models=(model,), backends=("transformers",))
    assert made.problem(made.cell("model-transformers-none")).startswith("t5 is ")


@pytest.mark.parametrize("content", [[], "{"])
def test_a_configuration_that_cannot_be_read_is_left_to_the_engine(plan, cached, content):
    model = cached("org/model-AWQ", config=content)
    _, choice = only_cell(plan, model, "vllm")
    assert (choice.cell.id, choice.problem) == ("model-awq-vllm-awq-int4", None)


def test_the_hubs_own_configuration_comes_before_the_shipped_one(plan, cached):
    model = cached("microsoft/phi-2", config={"max_position_embeddings": 64})
    made, choice = only_cell(plan, model, "transformers")
    assert made.context(choice.cell) == 64


def test_random_weights_are_made_from_the_shipped_one(plan, cached):
    model = cached("microsoft/phi-2", config={"max_position_embeddings": 64})
    made, choice = only_cell(plan, model, "transformers", load_format="dummy")
    assert made.context(choice.cell) == 2048


def test_a_model_is_the_same_wherever_its_files_are(cached):
    model = cached(config={})
    located = model.located(None, os.environ)
    assert located.snapshot is not None
    assert located == model
    assert hash(located) == hash(model)
