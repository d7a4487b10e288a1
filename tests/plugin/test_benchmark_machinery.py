"""pytest-benchmark's own machinery on our entries, against real stored files."""

import json
import re
import shutil
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.timing
CELL = "smollm2-135m-simulated-none"
GROUPS = ("round", "ttft", "tpot", "e2e", "output_throughput", "peak_memory_mib")
SIBLINGS = ("ttft", "tpot", "e2e", "output_throughput", "peak_memory")


@pytest.fixture(scope="module")
def baseline_folder(tmp_path_factory, run_in):
    folder = tmp_path_factory.mktemp("baseline")
    (folder / "test_it.py").write_text("""
def test_x(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=6, rounds=3, warmup=0)
""")
    assert run_in(folder, "--benchmark-autosave", ttft=0.05, tpot=0.005) == 0
    return folder


@pytest.fixture
def baseline(pytester, baseline_folder):
    """A test and its stored run with ttft 50 ms and tpot 5 ms."""
    shutil.copytree(baseline_folder, pytester.path, dirs_exist_ok=True)


def table_of(output, group):
    """The lines of one group's table."""
    _, _, rest = output.partition(f" benchmark '{group}': ")
    assert rest, f"no table for {group}"
    return rest.split("\n\n")[0]


def section(run, title):
    """The lines of a section, up to the next one or the end."""
    lines = run.outlines
    start = next(i for i, line in enumerate(lines) if line.startswith("=") and title in line)
    end = next(i for i, line in enumerate(lines) if i > start and line.startswith("="))
    return lines[start + 1 : end]


def compared(run):
    """The cells of the comparison's rows by metric: before, now, change."""
    rows = [
        re.split(r"\s{2,}", line.removeprefix(CELL).removeprefix(" !").strip())
        for line in section(run, "0001_")
    ]
    return {row[0]: row[1:] for row in rows if len(row) == 4 and row[0] != "metric"}


def test_compare_shows_every_metric_beside_the_stored_run(baseline, llm_pytest_process):
    run = llm_pytest_process("--benchmark-compare", ttft=0.05, tpot=0.006, memory_mib=100)
    assert run.ret == 0
    rows = compared(run)
    assert set(rows) == {"ttft ms", "tpot ms", "e2e s", "tokens/s", "peak MiB"}
    assert float(rows["tpot ms"][0]) == pytest.approx(5, rel=0.02)
    assert float(rows["tpot ms"][1]) == pytest.approx(6, rel=0.02)
    assert float(rows["tpot ms"][2].rstrip("%")) == pytest.approx(20, abs=2)
    # 6 tokens in 75 ms, then in 80 ms: a rate's own change.
    assert float(rows["tokens/s"][2].rstrip("%")) == pytest.approx(-6.25, abs=1.5)
    assert rows["peak MiB"] == ["64", "100", "+56.2%"]
    assert "Name (time in " not in run.stdout.str()


def test_a_test_that_the_stored_run_lacks_is_named(baseline, pytester, llm_pytest_process):
    pytester.makepyfile(
        test_new="def test_new(llm, llm_benchmark): llm_benchmark(llm, input_len=8, output_len=2)"
    )
    run = llm_pytest_process("--benchmark-compare", ttft=0.05, tpot=0.005)
    assert f"not in the stored run: test_new.py::test_new[{CELL}]" in section(run, "0001_")


def failures(run):
    """Names of the entries that pytest-benchmark calls regressed."""
    output = run.stdout.str() + run.stderr.str()
    assert "Performance has regressed:" in output
    return {line.split()[0] for line in output.splitlines() if "PercentageRegressionCheck" in line}


def test_a_slower_first_token_fails_its_own_entries_only(baseline, llm_pytest_process):
    run = llm_pytest_process(
        "--benchmark-compare", "--benchmark-compare-fail=median:5%", ttft=0.065, tpot=0.005
    )
    assert run.ret == 1
    assert failures(run) == {
        f"test_x[{CELL}]",
        f"test_x[{CELL}-ttft]",
        f"test_x[{CELL}-e2e]",
        f"test_x[{CELL}-output_throughput]",
    }
    run.stdout.fnmatch_lines(["*LLM performance*", "*ttft ms*"])
    output = run.stdout.str() + run.stderr.str()
    assert "Traceback" not in output
    assert "PerformanceRegression" not in output
    assert run.outlines[-1] == "--benchmark-compare-fail: FAILED, 4 entries have regressed"


def test_a_comparison_without_a_stored_run_is_an_error(one_test, llm_pytest):
    run = llm_pytest("--benchmark-compare", "--benchmark-compare-fail=median:5%")
    assert run.ret == 4
    assert (
        "ERROR: --benchmark-compare-fail: no stored run to compare with (--benchmark-compare)"
    ) in run.outlines
    assert "Traceback" not in run.stdout.str() + run.stderr.str()


def test_slower_decoding_fails_its_own_entries_only(baseline, llm_pytest_process):
    run = llm_pytest_process(
        "--benchmark-compare", "--benchmark-compare-fail=median:5%", ttft=0.05, tpot=0.006
    )
    assert run.ret == 1
    failed = failures(run)
    assert f"test_x[{CELL}-tpot]" in failed
    assert f"test_x[{CELL}-ttft]" not in failed


def test_more_memory_fails_its_own_entry_only(baseline, llm_pytest_process):
    run = llm_pytest_process(
        "--benchmark-compare",
        "--benchmark-compare-fail=median:20%",
        ttft=0.05,
        tpot=0.005,
        memory_mib=100,
    )
    assert run.ret == 1
    assert failures(run) == {f"test_x[{CELL}-peak_memory]"}


def test_the_same_speed_passes_the_gate(baseline, llm_pytest_process):
    run = llm_pytest_process(
        "--benchmark-compare", "--benchmark-compare-fail=median:5%", ttft=0.05, tpot=0.005
    )
    assert run.ret == 0
    assert "Performance has regressed" not in run.stdout.str() + run.stderr.str()


@pytest.mark.skipif(find_spec("pygal") is None, reason="pytest-benchmark draws with pygal")
def test_histogram_draws_ordinary_benchmarks_only(pytester, one_test, ordinary, llm_pytest_process):
    run = llm_pytest_process("--benchmark-histogram=drawn")
    assert run.ret == 0
    assert [path.name for path in pytester.path.glob("*.svg")] == ["drawn.svg"]
    assert "throughput" not in (pytester.path / "drawn.svg").read_text()


def test_a_histogram_that_has_nothing_of_ours_says_so(one_test, llm_pytest):
    run = llm_pytest("--benchmark-histogram=drawn")
    assert run.ret == 0
    run.stdout.fnmatch_lines(["--benchmark-histogram draws seconds only, so no measurement *"])


@pytest.fixture
def ordinary(pytester):
    """A test of pytest-benchmark only."""
    return pytester.makepyfile(test_ordinary="def test_sum(benchmark): benchmark(sum, [1, 2])")


def stock_tables(run):
    """Names of the tables' rows, the titles, and the number of rows that each title gives."""
    lines = run.outlines
    titles = [line.strip("- ") for line in lines if line.startswith("-") and " benchmark" in line]
    names = [line.split()[0] for line in lines if re.match(r"test_\w+(\[.*\])?( \(.*\))? ", line)]
    return titles, names


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--benchmark-sort=mean",),
        ("--benchmark-columns=median",),
        ("--benchmark-time-unit=s",),
        ("--benchmark-verbose",),
    ],
    ids=str,
)
def test_the_stock_table_has_ordinary_benchmarks_as_if_they_were_alone(
    pytester, one_test, ordinary, llm_pytest, options
):
    run = llm_pytest(*options)
    assert run.ret == 0
    assert stock_tables(run) == (["benchmark: 1 tests"], ["test_sum"])
    run.stdout.fnmatch_lines(["*LLM performance*", f"{CELL} *"])


def test_the_stock_comparison_has_ordinary_benchmarks_only(
    pytester, one_test, ordinary, llm_pytest_process
):
    assert llm_pytest_process("--benchmark-autosave").ret == 0
    run = llm_pytest_process("--benchmark-compare")
    assert run.ret == 0
    assert stock_tables(run) == (["benchmark: 2 tests"], ["test_sum", "test_sum"])
    assert "ttft ms" in compared(run)


def test_grouping_by_a_parameter_that_only_ordinary_benchmarks_have(pytester, one_test, llm_pytest):
    pytester.makepyfile(
        test_ordinary="""
        import pytest

        @pytest.mark.parametrize("size", [1, 2])
        def test_sum(benchmark, size):
            benchmark(sum, [size])
    """
    )
    run = llm_pytest("--benchmark-group-by=param:size")
    assert run.ret == 0
    assert len(stock_tables(run)[0]) == 2


def test_a_stock_table_that_cannot_be_grouped_costs_no_result(
    pytester, one_test, ordinary, llm_pytest, stored_files, journals
):
    run = llm_pytest("--benchmark-group-by=param:missing", "--benchmark-autosave")
    assert run.ret == 4
    run.stdout.fnmatch_lines(
        [
            f"{CELL} *",
            "ERROR: pytest-benchmark has no table: --benchmark-group-by=param:missing: *",
        ]
    )
    assert "INTERNALERROR" not in run.stdout.str() + run.stderr.str()
    assert len(stored_files()) == 1
    assert journals() == []


def test_the_compare_command_lists_every_entry_of_two_files(
    baseline, pytester, llm_pytest, stored_files
):
    llm_pytest("--benchmark-autosave", ttft=0.05, tpot=0.005).assert_outcomes(passed=1)
    run = pytester.run(sys.executable, "-m", "pytest_benchmark", "compare", *stored_files())
    assert run.ret == 0
    for group in GROUPS:
        table = table_of(run.stdout.str(), group)
        assert table.startswith("2 tests")
        assert "(0001_" in table
        assert "(0002_" in table
    for metric in SIBLINGS:
        assert f"test_x[{CELL}-{metric}] (0002_" in run.stdout.str()


def test_the_compare_command_selects_a_metric(baseline, pytester):
    run = pytester.run(sys.executable, "-m", "pytest_benchmark", "compare", "0001", "-k", "ttft")
    assert run.ret == 0
    assert f"test_x[{CELL}-ttft]" in run.stdout.str()
    assert f"test_x[{CELL}-tpot]" not in run.stdout.str()


def test_benchmark_json_holds_the_samples(pytester, one_test, llm_pytest, stored):
    llm_pytest("--benchmark-json=out.json").assert_outcomes(passed=1)
    assert_holds_data(stored(pytester.path / "out.json"))


def test_save_data_holds_the_samples(one_test, llm_pytest, stored, stored_files):
    llm_pytest("--benchmark-save=kept", "--benchmark-save-data").assert_outcomes(passed=1)
    assert stored_files()[-1].name == "0001_kept.json"
    assert_holds_data(stored())


def assert_holds_data(entries):
    samples = entries[f"test_x[{CELL}]"]["extra_info"]["llmperf"]["metrics"]
    for metric in ("ttft", "tpot", "e2e", "peak_memory"):
        assert entries[f"test_x[{CELL}-{metric}]"]["stats"]["data"] == pytest.approx(
            samples[metric]["samples"]
        )
    rates = samples["output_throughput"]["samples"]
    assert entries[f"test_x[{CELL}-output_throughput]"]["stats"]["data"] == pytest.approx(
        [1 / rate for rate in rates]
    )
    assert entries[f"test_x[{CELL}]"]["stats"]["data"] == pytest.approx(samples["e2e"]["samples"])


def test_without_saving_the_samples_stay_in_the_record_alone(one_test, llm_pytest, stored_files):
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
    entries = json.loads(stored_files()[-1].read_text())["benchmarks"]
    assert all("data" not in entry["stats"] for entry in entries)
    assert len(entries[0]["extra_info"]["llmperf"]["metrics"]["ttft"]["samples"]) == 3


def test_statistics_of_the_primary_entry_are_those_of_the_rounds(one_test, llm_pytest, stored):
    llm_pytest("--benchmark-autosave", "--llm-rounds=4").assert_outcomes(passed=1)
    stats = stored()[f"test_x[{CELL}]"]["stats"]
    assert stats["rounds"] == 4
    assert stats["iterations"] == 1
    assert stats["min"] <= stats["median"] <= stats["max"]


@pytest.mark.parametrize(
    "option",
    [
        "--benchmark-sort=mean",
        "--benchmark-group-by=name",
        "--benchmark-name=short",
        "--benchmark-time-unit=s",
        "--benchmark-columns=median",
        "--benchmark-compare",
        "--benchmark-verbose",
    ],
)
def test_no_option_brings_the_stock_table_of_our_entries_back(one_test, llm_pytest, option):
    run = llm_pytest(option)
    assert run.ret == 0
    assert "Name (time in " not in run.stdout.str()
    run.stdout.fnmatch_lines(["*LLM performance*", f"{CELL} *"])


def test_the_stock_table_of_our_entries_is_hidden(one_test, llm_pytest):
    assert "Name (time in " not in llm_pytest().stdout.str()


def test_machine_and_commit_are_looked_up_once_a_run(pytester, one_test, llm_pytest, stored_files):
    pytester.makeconftest("""
        from pathlib import Path

        def looked_up(name):
            with Path("calls").open("a") as calls:
                calls.write(f"{name}\\n")

        def pytest_benchmark_generate_machine_info():
            looked_up("machine")
            return {"node": "a machine", "cpu": {}}

        def pytest_benchmark_generate_commit_info():
            looked_up("commit")
            return {"id": "abc", "dirty": False}

        def pytest_benchmark_update_commit_info(commit_info):
            assert "message" not in commit_info
            commit_info["message"] = "a change"
    """)
    assert llm_pytest("--benchmark-autosave", "--benchmark-json=out.json").ret == 0
    assert sorted((pytester.path / "calls").read_text().split()) == ["commit", "machine"]
    for file in (*stored_files(), pytester.path / "out.json"):
        run = json.loads(file.read_text())
        assert run["machine_info"] == {"node": "a machine", "cpu": {}}
        assert run["commit_info"] == {"id": "abc", "dirty": False, "message": "a change"}
