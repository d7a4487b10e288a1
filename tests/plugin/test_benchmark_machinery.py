"""pytest-benchmark's own machinery on our entries, against real stored files."""

import json
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


def test_compare_shows_both_rows_of_every_metric(baseline, llm_pytest_process):
    run = llm_pytest_process("--benchmark-compare", ttft=0.05, tpot=0.005)
    assert run.ret == 0
    for group in GROUPS:
        table = table_of(run.stdout.str(), group)
        assert table.startswith("2 tests")
        assert "(NOW)" in table
        assert "(0001_" in table


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
    # Our table stands before the exception that ends all summaries.
    run.stdout.fnmatch_lines(["*LLM performance*", "*ttft ms*"])


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
def test_histogram_draws_every_group(pytester, one_test, llm_pytest_process):
    run = llm_pytest_process("--benchmark-histogram=drawn")
    assert run.ret == 0
    assert {p.name for p in pytester.path.glob("*.svg")} == {f"drawn-{g}.svg" for g in GROUPS}


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
    ],
)
def test_an_option_of_the_stock_table_shows_it(one_test, llm_pytest, option):
    run = llm_pytest(option)
    assert run.ret == 0
    assert "Name (time in " in run.stdout.str()


def test_the_stock_table_is_hidden_when_nobody_asks_for_it(one_test, llm_pytest):
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
