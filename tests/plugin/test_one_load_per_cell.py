"""A cell is loaded once in a run, whatever files and tests use it."""

import pytest

from pytest_llmperf import __version__

BOTH = """
import pytest

def test_one(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=2, rounds=1, warmup=0)

def test_between():
    pass

@pytest.mark.parametrize("output_len", [2, 3])
def test_two(llm, llm_benchmark, output_len):
    llm_benchmark(llm, input_len=8, output_len=output_len, rounds=1, warmup=0)
"""


@pytest.fixture
def two_models(model_folder):
    return f"--llm-model=a={model_folder('first')},b={model_folder('second')}"


def test_two_cells_over_two_files_load_once_each(pytester, llm_pytest, records, two_models):
    pytester.makepyfile(test_file_1=BOTH, test_file_2=BOTH.replace("def test_", "def test_other_"))
    llm_pytest(two_models, "--benchmark-autosave").assert_outcomes(passed=14)
    engines = {}
    for record in records().values():
        engines.setdefault(record["model"]["name"], set()).add(record["run"]["engine"])
    assert len(records()) == 12
    assert engines == {"a": {1}, "b": {2}}


def test_a_view_in_another_file_loads_nothing_more(pytester, llm_pytest, records, two_models):
    view = """
    def test_view(simulated_llm, llm_benchmark):
        llm_benchmark(simulated_llm, input_len=8, output_len=2, rounds=1, warmup=0)
    """
    pytester.makepyfile(test_file_1=BOTH, test_file_2=view)
    llm_pytest(two_models, "--benchmark-autosave").assert_outcomes(passed=9)
    engines = {(r["model"]["name"], r["run"]["engine"]) for r in records().values()}
    assert engines == {("a", 1), ("b", 2)}


def test_the_source_of_a_folder_is_its_name(pytester, llm_pytest, records, two_models):
    pytester.makepyfile(BOTH)
    llm_pytest(two_models, "--benchmark-autosave").assert_outcomes(passed=7)
    sources = {(r["model"]["name"], r["model"]["source"]) for r in records().values()}
    assert sources == {("a", "first"), ("b", "second")}


def test_a_folder_without_a_name_is_called_after_itself(pytester, llm_pytest, model_folder):
    pytester.makepyfile("def test_x(llm): pass")
    folder = model_folder("My Model-7B")
    run = llm_pytest(f"--llm-model={folder}", "-v")
    run.assert_outcomes(passed=1)
    run.stdout.fnmatch_lines(["*::test_x[[]my-model-7b-simulated-none] PASSED*"])


@pytest.mark.timing
def test_an_engine_of_another_environment_is_a_cell_beside_this_ones(
    pytester, llm_pytest, records, bare_python
):
    pytester.makepyfile(test_file=BOTH)
    run = llm_pytest(
        "--benchmark-autosave",
        f"--llm-python=simulated@bare={bare_python}",
        "--llm-backend=simulated@bare",
        "--llm-rounds=3",
        "--llm-backend-arg=simulated@bare.ttft=0.06",
        "-k",
        "test_one",
        ttft=0.05,
        memory_mib=100,
    )
    run.assert_outcomes(passed=2, deselected=5)
    found = {name: record["metrics"] for name, record in records().items()}
    assert set(found) == {
        "test_one[smollm2-135m-simulated-none]",
        "test_one[smollm2-135m-simulated@bare-none]",
    }
    here, there = found.values()
    assert here["ttft"]["p50"] == pytest.approx(0.05, rel=0.05)
    assert there["ttft"]["p50"] == pytest.approx(0.06, rel=0.05)
    assert [m["peak_memory"]["p50"] for m in (here, there)] == [100, 100]
    assert {record["backend"]["name"] for record in records().values()} == {"simulated"}
    run.stdout.fnmatch_lines(
        [f"llm: * on simulated {__version__}, simulated@bare {__version__}; *"]
    )


def test_only_selected_cells_load(pytester, llm_pytest, records, two_models):
    pytester.makepyfile(BOTH)
    run = llm_pytest(two_models, "--benchmark-autosave", "-k", "b-simulated")
    run.assert_outcomes(passed=3, deselected=4)
    assert {record["run"]["engine"] for record in records().values()} == {1}


def test_a_cell_that_cannot_load_is_tried_once(pytester, llm_pytest):
    pytester.makepyfile(BOTH)
    run = llm_pytest(nonsense=1)
    run.assert_outcomes(errors=3, passed=1)
    assert run.duration < 10
    log = pytester.path / ".pytest_cache/d/llmperf-logs/smollm2-135m-simulated-none.log"
    assert log.read_text().count("ValueError: simulated has no 'nonsense'") == 1
