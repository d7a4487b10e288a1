"""One engine in several environments: ``--llm-python vllm@nightly=PATH``."""

import re
import sys
from dataclasses import replace

import pytest

from pytest_llmperf.core.cell import Cell
from pytest_llmperf.core.models import parse_model
from pytest_llmperf.core.traits import Traits
from pytest_llmperf.session.cells import CellPlan

PHI = parse_model("phi-2")
NIGHTLY = "/opt/nightly/bin/python"


@pytest.fixture
def plan(unsaid):
    """A plan with vLLM in this environment and a newer one in another."""

    def make(**settings):
        given = replace(unsaid, models=(PHI,), pythons={"vllm@nightly": NIGHTLY}, **settings)
        installed = {sys.executable: {"vllm": "0.27.1"}, NIGHTLY: {"vllm": "0.32.0"}}
        return CellPlan(given, installed)

    return make


def ids(choices):
    return [choice.cell.id for choice in choices]


def test_a_labelled_environment_is_one_more_cell(plan):
    assert ids(plan().choices(None)) == ["phi-2-vllm-none", "phi-2-vllm@nightly-none"]


def test_the_command_line_can_choose_the_labelled_one_alone(plan):
    choices = plan(backends=("vllm@nightly",)).choices(None)
    assert ids(choices) == ["phi-2-vllm@nightly-none"]


def test_a_test_for_an_engine_takes_all_its_environments(plan):
    marker = pytest.mark.llm(backend="vllm").mark
    expected = ["phi-2-vllm-none", "phi-2-vllm@nightly-none"]
    assert ids(plan().choices(marker)) == expected
    assert ids(plan().choices(None, only_backend="vllm")) == expected


def test_a_test_for_another_engine_takes_none_of_them(plan):
    assert ids(plan().choices(pytest.mark.llm(backend="simulated").mark)) == [
        "phi-2-simulated-none"
    ]


def test_packages_are_those_of_the_labelled_environment(plan):
    # nf4 needs nothing more than bitsandbytes in 0.27, and a plugin in 0.32.
    problems = [choice.problem for choice in plan(quantizations=("nf4",)).choices(None)]
    assert problems[0].startswith("nf4 needs bitsandbytes")
    assert problems[1].startswith("vLLM 0.32.0 needs a plugin for bitsandbytes")


def test_a_labelled_cell_is_found_by_its_id(plan):
    assert plan().cell("phi-2-vllm@nightly-nf4") == Cell(PHI, "vllm@nightly", "nf4")


def test_a_label_without_an_interpreter_runs_in_its_engines_own_environment(unsaid):
    lean = {"vllm@lean": {"max_num_seqs": 8}}
    given = replace(unsaid, models=(PHI,), pythons={"vllm": NIGHTLY}, backend_args=lean)
    installed = {sys.executable: {}, NIGHTLY: {"vllm": "0.32.0"}}
    plan = CellPlan(given, installed)
    assert given.python_of("vllm@lean") == given.python_of("vllm") == NIGHTLY
    assert given.python_of("transformers") == sys.executable
    assert plan.packages("vllm@lean") == {"vllm": "0.32.0"}
    assert plan.problem(Cell(PHI, "vllm@lean", "none")) is None


def test_an_own_interpreter_of_a_label_comes_before_its_engines(unsaid):
    given = replace(unsaid, pythons={"vllm": "/opt/old/python", "vllm@nightly": NIGHTLY})
    assert given.python_of("vllm@nightly") == NIGHTLY


@pytest.fixture
def with_cache(plan):
    """A plan in which a label of vLLM has another key-value cache."""
    return plan(
        backends=("vllm", "vllm@kv8"),
        backend_args={
            "vllm": {"tensor_parallel_size": 2},
            "vllm@kv8": {"kv_cache_dtype": "fp8"},
        },
    )


def test_each_label_has_the_traits_of_its_own_arguments(with_cache):
    choices = with_cache.choices(None)
    assert ids(choices) == ["phi-2-vllm-none-tp2", "phi-2-vllm@kv8-none-tp2-kvfp8"]
    assert with_cache.cell("phi-2-vllm@kv8-none-tp2-kvfp8") == choices[1].cell


@pytest.mark.parametrize("mode", ["none", "nf4", "nf4-dq"])
def test_an_id_that_a_test_names_itself_has_the_traits(with_cache, mode):
    cell = with_cache.cell(f"phi-2-vllm@kv8-{mode}-tp2-kvfp8")
    assert cell == Cell(PHI, "vllm@kv8", mode, Traits(devices="tp2", cache="kvfp8"))


@pytest.mark.parametrize(
    ("cell_id", "instead"),
    [
        ("phi-2-vllm@kv8-none", "phi-2-vllm@kv8-none-tp2-kvfp8"),
        ("phi-2-vllm-nf4-dq", "phi-2-vllm-nf4-dq-tp2"),
        ("phi-2-vllm-none-tp4", "phi-2-vllm-none-tp2"),
        ("phi-2-transformers-none-static", "phi-2-transformers-none"),
    ],
)
def test_an_id_without_the_traits_that_would_run_is_refused(with_cache, cell_id, instead):
    message = (
        f"{cell_id!r} is not what would run: by this run's --llm-backend-arg and the model's files it "
        f"is {instead!r}"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        with_cache.cell(cell_id)


def test_a_model_that_is_named_after_an_engine_is_found(plan, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    model = parse_model(f"for-vllm-tests={tmp_path}")
    given = CellPlan(replace(plan().settings, models=(model,)))
    assert given.cell("for-vllm-tests-vllm-none") == Cell(model, "vllm", "none")
