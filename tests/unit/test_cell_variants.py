"""One engine in several environments: ``--llm-python vllm@nightly=PATH``."""

import sys
from dataclasses import replace

import pytest

from pytest_llmperf.backends.transformers import TransformersBackend
from pytest_llmperf.backends.vllm import VllmBackend
from pytest_llmperf.core.cell import Cell
from pytest_llmperf.core.models import parse_model
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


def test_the_degree_of_tensor_parallelism_is_part_of_the_id():
    assert VllmBackend.degree({"tensor_parallel_size": 2}) == "tp2"
    assert VllmBackend.degree({"tensor_parallel_size": 2, "pipeline_parallel_size": 4}) == "tp2-pp4"
    assert VllmBackend.degree({"tensor_parallel_size": 1}) == ""


def test_layers_over_all_gpus_name_how_many_there_are(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert TransformersBackend.degree({"device_map": "auto"}) == "gpus2"
    assert TransformersBackend.degree({}) == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert TransformersBackend.degree({"device_map": "auto"}) == ""
