"""--llm-fit: the section after the run."""

from dataclasses import replace

import pytest

from pytest_llmperf.backends.simulated import SimulatedBackend
from pytest_llmperf.core.architecture import Architecture

CELL = "simulated-none"
ARCHITECTURE = Architecture(
    layers=32, hidden=2560, heads=32, kv_heads=32, head_dim=80, vocabulary=51200, tied=False
)


@pytest.fixture
def fit_rows():
    """The rows of the section by name."""

    def read(run):
        start = next(i for i, line in enumerate(run.outlines) if "= LLM fit =" in line)
        return {line.split()[0]: line.split()[1:] for line in run.outlines[start:] if line.strip()}

    return read


def test_a_model_fits_by_its_peak_and_the_context(one_test, llm_pytest, fit_rows):
    run = llm_pytest("--llm-fit=16GiB", memory_mib=1000)
    run.assert_outcomes(passed=1)
    run.stdout.fnmatch_lines(["*= LLM fit =*", "smollm2-135m on a GPU of 16,384 MiB"])
    assert fit_rows(run)[CELL] == [
        "1",
        "12",
        "1,000",
        "-",
        "512",
        "1,512",
        "yes",
        "+14,872",
        "measured",
    ]


def test_it_works_with_random_weights(one_test, llm_pytest, fit_rows):
    run = llm_pytest("--llm-fit=1GB", "--llm-load-format=dummy", memory_mib=1000)
    assert fit_rows(run)[CELL][6:8] == ["no", "-558"]


def test_modes_that_were_not_measured_are_estimated(one_test, llm_pytest, fit_rows, monkeypatch):
    load = SimulatedBackend.load

    def loaded(self, spec):
        found = load(self, spec)
        return replace(found, architecture=ARCHITECTURE, parameters=2779683840)

    monkeypatch.setattr(SimulatedBackend, "load", loaded)
    run = llm_pytest("--llm-fit=4GiB", "--llm-isolation=none", memory_mib=6000)
    rows = fit_rows(run)
    assert rows[CELL][-1] == "measured"
    fits = {name: parts[6] for name, parts in rows.items() if name.startswith("transformers-")}
    assert fits == {
        "transformers-none": "no",
        "transformers-int8": "yes",
        "transformers-fp4": "yes",
        "transformers-nf4": "yes",
        "transformers-nf4-dq": "yes",
    }
    assert {parts[-1] for name, parts in rows.items() if name in fits} == {"estimated"}


def test_without_the_option_nothing_is_said(one_test, llm_pytest):
    assert "LLM fit" not in llm_pytest().stdout.str()


def test_a_run_that_measures_nothing_has_no_section(pytester, llm_pytest):
    pytester.makepyfile("def test_load(llm, llm_benchmark): llm_benchmark.load(llm)")
    assert "LLM fit" not in llm_pytest("--llm-fit=16GiB").stdout.str()
