"""The generated sections are in step with the registries that they come from."""

import importlib.util
import sys
from pathlib import Path

import pytest

from pytest_llmperf.metrics.definitions import METRICS, MetricDefinition

TOOL = Path(__file__).parents[2] / "tools" / "make_docs.py"


@pytest.fixture
def make_docs(monkeypatch):
    spec = importlib.util.spec_from_file_location("make_docs", TOOL)
    module = importlib.util.module_from_spec(spec)
    # The tool puts the repository on the path, and its dataclass is looked up among the modules.
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "make_docs", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pages(make_docs, tmp_path):
    """A repository with both kinds of file, made up to date."""
    markdown = tmp_path / "docs" / "reference" / "metrics.md"
    python = tmp_path / "pytest_llmperf" / "metrics" / "attributes.py"
    for path in (markdown, python):
        path.parent.mkdir(parents=True)
    markdown.write_text("before\n<!-- metrics -->\nold\n<!-- /metrics -->\nafter\n")
    python.write_text(
        "class A:\n    if 1:\n        # <metrics>\n        # </metrics>\n\nafter = 1\n"
    )
    assert make_docs.main([], tmp_path) == 0
    return markdown, python


def test_this_repository_is_in_step(make_docs, capsys):
    assert make_docs.main(["--check"]) == 0, capsys.readouterr().out


def test_every_section_exists_in_this_repository(make_docs):
    for section in make_docs.SECTIONS:
        text = (TOOL.parents[1] / section.path).read_text()
        assert section.of(text.replace(section.lines()[-1], "changed")) == text


@pytest.mark.usefixtures("pages")
def test_what_was_rewritten_is_in_step(make_docs, tmp_path, capsys):
    capsys.readouterr()
    assert make_docs.main(["--check"], tmp_path) == 0
    assert capsys.readouterr().out == ""


def test_only_what_stands_between_the_markers_changes(pages):
    markdown, python = (page.read_text().splitlines() for page in pages)
    assert markdown[:2] == ["before", "<!-- metrics -->"]
    assert markdown[2].startswith("| metric | key |")
    assert len(markdown) == 2 + 2 + len(METRICS) + 2
    assert markdown[-2:] == ["<!-- /metrics -->", "after"]
    assert python[2:4] == ["        # <metrics>", "        ttft: Metric"]
    assert python[-3:] == ["        # </metrics>", "", "after = 1"]


def test_a_new_metric_is_out_of_step_until_the_tool_has_run(
    make_docs, pages, tmp_path, monkeypatch, capsys
):
    row = MetricDefinition(
        key="toy",
        name="toy metric",
        unit="toys/s",
        better="higher",
        kind="timing",
        per="round",
        meaning="toys / wall time",
        page="why/toys.md",
    )
    monkeypatch.setitem(METRICS, "toy", row)
    capsys.readouterr()
    assert make_docs.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().out.splitlines() == [
        "docs/reference/metrics.md: section metrics is out of step; run tools/make_docs.py",
        "pytest_llmperf/metrics/attributes.py: section metrics is out of step; run tools/make_docs.py",
    ]
    assert make_docs.main([], tmp_path) == 0
    markdown, python = (page.read_text() for page in pages)
    assert (
        "| toy metric | `toy` | toys/s | higher | one per round | toys / wall time "
        "([why/toys.md](../why/toys.md)) |\n<!-- /metrics -->"
    ) in markdown
    assert (
        "        toy: Metric\n"
        '        """Toy metric (toys/s); one sample per round."""\n'
        "        # </metrics>"
    ) in python
    assert make_docs.main(["--check"], tmp_path) == 0


def test_a_file_without_markers_stays_as_it_is(make_docs, tmp_path):
    page = tmp_path / "docs" / "reference" / "metrics.md"
    page.parent.mkdir(parents=True)
    page.write_text("no markers\n")
    assert make_docs.main([], tmp_path) == 0
    assert make_docs.main(["--check"], tmp_path) == 0
    assert page.read_text() == "no markers\n"
