from dataclasses import replace

from pytest_llmperf.core.cell import Cell
from pytest_llmperf.core.models import parse_model
from pytest_llmperf.session.cells import CellPlan
from pytest_llmperf.session.options import Settings


def test_a_gpu_that_is_not_there_is_a_problem_before_anything_loads(pytestconfig, monkeypatch):
    monkeypatch.setattr("pytest_llmperf.session.refusals.has_accelerator", lambda: False)
    plan = CellPlan(replace(Settings.from_config(pytestconfig), device="cuda:0"))
    cell = Cell(parse_model("phi-2"), "simulated", "none")
    assert plan.problem(cell) == "this machine has no GPU (--llm-device=cuda:0)"
