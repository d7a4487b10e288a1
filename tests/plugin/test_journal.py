"""Measurements of a killed run: on disk at once, recovered into a stored run, never in the way."""

import json
import os
import shutil
import sys

import pytest

CELL = "smollm2-135m-simulated-none"
KILLED = """
import os

def test_first(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)

def test_second(llm, llm_benchmark):
    if os.environ.get("KILL"):
        os.kill(os.getpid(), 9)
    llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
"""
FIRST = {
    f"test_first[{CELL}]",
    *(
        f"test_first[{CELL}-{metric}]"
        for metric in ("ttft", "tpot", "e2e", "output_throughput", "peak_memory")
    ),
}


@pytest.fixture(scope="module")
def killed_folder(tmp_path_factory, run_in):
    folder = tmp_path_factory.mktemp("killed")
    (folder / "test_killed.py").write_text(KILLED)
    killed = {"KILL": "1"}
    assert run_in(folder, "--benchmark-autosave", environment=killed, ttft=0.05) == -9
    return folder


@pytest.fixture
def killed(pytester, killed_folder, journals):
    """The journal of a run that was killed with SIGKILL in its second test."""
    shutil.copytree(killed_folder, pytester.path, dirs_exist_ok=True)
    (journal,) = journals()
    return journal


@pytest.fixture
def recover(pytester):
    """Run ``pytest-llmperf recover``."""

    def run(*arguments):
        return pytester.run(sys.executable, "-m", "pytest_llmperf.cli", "recover", *arguments)

    return run


def test_a_killed_run_leaves_its_finished_measurement(killed, stored_files):
    header, *entries = [json.loads(line) for line in killed.read_text().splitlines()]
    assert header["journal"] == 1
    assert {"machine_info", "commit_info", "datetime", "benchmark_version"} <= set(header)
    assert {entry["name"] for entry in entries} == FIRST
    assert len(entries) == len(FIRST)
    assert stored_files() == []


@pytest.mark.timing
def test_recover_makes_a_stored_run_of_it(killed, recover, journals, stored, stored_files):
    run = recover()
    assert run.ret == 0
    (file,) = stored_files()
    assert run.outlines == [f"recovered 6 entries: .benchmarks/{file.parent.name}/{file.name}"]
    assert file.name.startswith("0001_")
    assert journals() == []
    entries = stored()
    assert set(entries) == FIRST
    ttft = entries[f"test_first[{CELL}-ttft]"]
    assert ttft["stats"]["median"] == pytest.approx(0.05, rel=0.01)
    assert len(ttft["stats"]["data"]) == 3


def test_a_recovered_run_has_the_form_of_a_stored_one(killed, recover, llm_pytest, stored_files):
    assert recover().ret == 0
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=2)
    recovered, normal = (json.loads(file.read_text()) for file in stored_files())
    assert set(recovered) == set(normal)
    assert recovered["commit_info"].keys() == normal["commit_info"].keys()
    entries = {entry["name"]: entry for entry in normal["benchmarks"]}
    for entry in recovered["benchmarks"]:
        same = entries[entry["name"]]
        assert set(entry) == set(same)
        assert set(entry["stats"]) - {"data"} == set(same["stats"])
        assert entry["options"] == same["options"]


def test_a_run_compares_with_a_recovered_one(killed, recover, llm_pytest_process):
    assert recover().ret == 0
    run = llm_pytest_process(
        "--benchmark-compare", "--benchmark-compare-fail=median:20%", ttft=0.08
    )
    assert run.ret == 1
    regressed = [line for line in run.outlines + run.errlines if "RegressionCheck" in line]
    assert any(f"test_first[{CELL}-ttft]" in line for line in regressed)
    assert not any("-tpot]" in line for line in regressed)


def test_the_compare_command_reads_a_recovered_run(killed, recover, pytester):
    assert recover().ret == 0
    run = pytester.run(sys.executable, "-m", "pytest_benchmark", "compare", "0001")
    assert run.ret == 0
    assert f"test_first[{CELL}-ttft]" in run.stdout.str()


def test_the_next_run_says_what_a_killed_run_left(killed, llm_pytest, recover, journals):
    run = llm_pytest()
    run.assert_outcomes(passed=2)
    message = (
        "an earlier run was killed and left 6 entries; run `pytest-llmperf recover` to store them"
    )
    assert run.outlines.count(message) == 1
    assert journals() == [killed]
    assert recover().ret == 0
    assert message not in llm_pytest().outlines


def test_an_incomplete_last_line_is_left_out(killed, recover, stored):
    with killed.open("a") as file:
        file.write('{"name": "half an en')
    assert recover().ret == 0
    assert set(stored()) == FIRST


def test_a_journal_of_a_living_run_is_left_alone(killed, recover, journals, llm_pytest):
    header, *rest = killed.read_text().splitlines()
    living = json.dumps({**json.loads(header), "pid": os.getpid(), "process_start": None})
    killed.write_text("\n".join([living, *rest, ""]))
    run = recover()
    assert run.ret == 0
    run.stdout.fnmatch_lines([f"*: the run is still going on (process {os.getpid()}); left alone"])
    assert journals() == [killed]
    assert "an earlier run was killed" not in llm_pytest().stdout.str()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json\n", "line 1 is not valid JSON"),
        ("{}\n", "not a journal of pytest-llmperf"),
        ("", "not a journal of pytest-llmperf"),
        ('{"journal": 99}\n', "journal version 99 is not known to this release (it knows 1)"),
    ],
)
def test_recover_refuses_what_is_no_journal(pytester, recover, content, message):
    pytester.mkdir(".benchmarks")
    pytester.mkdir(".benchmarks/.llmperf")
    (pytester.path / ".benchmarks/.llmperf/broken.jsonl").write_text(content)
    run = recover()
    assert run.ret == 3
    assert run.errlines == [f"pytest-llmperf recover: .benchmarks/.llmperf/broken.jsonl: {message}"]


def test_recover_counts_the_lines_that_are_damaged(killed, recover, stored):
    header, first, *rest = killed.read_text().splitlines()
    killed.write_text("\n".join([header, first[:-9], *rest, ""]))
    run = recover()
    assert run.ret == 0
    (line,) = run.outlines
    assert line.startswith("recovered 5 entries (1 damaged line left out): ")
    assert len(stored()) == 5


def test_a_journal_of_another_machine_is_left_alone(killed, recover, journals, llm_pytest):
    header, *rest = killed.read_text().splitlines()
    elsewhere = {**json.loads(header), "machine_info": {"node": "another"}}
    killed.write_text("\n".join([json.dumps(elsewhere), *rest, ""]))
    run = recover()
    assert run.ret == 0
    run.stdout.fnmatch_lines(
        [
            "*: the run belongs to another machine (another) and may still be going on: recover it "
            "there, or here a day after its last entry; left alone"
        ]
    )
    assert journals() == [killed]
    assert "an earlier run was killed" not in llm_pytest().stdout.str()


def test_recover_goes_on_after_a_journal_it_cannot_store(killed, recover, stored_files):
    broken = killed.with_name("broken.jsonl")
    broken.write_text('{"journal": 1}\n{"name": "x"}\n')
    os.utime(broken, (0, 0))
    run = recover()
    assert run.ret == 3
    (line,) = run.errlines
    assert line.startswith("pytest-llmperf recover: .benchmarks/.llmperf/broken.jsonl: ")
    assert len(stored_files()) == 1


def test_a_broken_journal_is_named_and_does_not_stop_a_run(pytester, one_test, llm_pytest):
    pytester.mkdir(".benchmarks")
    pytester.mkdir(".benchmarks/.llmperf")
    (pytester.path / ".benchmarks/.llmperf/broken.jsonl").write_text('{"journal": 1}\n')
    os.mkfifo(pytester.path / ".benchmarks/.llmperf/waits.jsonl")
    run = llm_pytest("--benchmark-autosave")
    run.assert_outcomes(passed=1)
    run.stdout.fnmatch_lines(
        [
            "note: *broken.jsonl: its header has no pid",
            "note: *waits.jsonl: cannot be read (it is not a regular file)",
        ]
    )


def test_a_run_that_is_killed_after_it_was_stored_is_not_stored_twice(
    pytester, one_test, llm_pytest_process, recover, journals, stored_files
):
    # Of all that follows the save, this is first.
    pytester.makeconftest("""
        import os, signal

        def pytest_sessionfinish():
            os.kill(os.getpid(), signal.SIGKILL)
    """)
    llm_pytest_process("--benchmark-autosave")
    assert len(stored_files()) == 1
    assert journals() == []
    assert recover().ret == 0
    assert len(stored_files()) == 1


@pytest.mark.parametrize("save", ["--benchmark-autosave", "--benchmark-json=out.json"])
def test_a_run_that_fails_after_it_was_stored_leaves_no_journal(
    pytester, one_test, llm_pytest_process, journals, save
):
    # After pytest-benchmark, which saves in a wrapper as well.
    pytester.makeconftest("""
        import pytest

        @pytest.hookimpl(wrapper=True, trylast=True)
        def pytest_sessionfinish():
            raise RuntimeError("after the save")
            yield
    """)
    run = llm_pytest_process(save)
    assert run.ret == 1
    assert journals() == []
    assert "pytest-llmperf recover" not in run.stdout.str() + run.stderr.str()


def test_a_save_that_fails_says_once_what_the_journal_keeps(
    pytester, one_test, llm_pytest_process, journals, recover, stored_files
):
    pytester.makeconftest("""
        def pytest_benchmark_update_json(output_json):
            raise OSError("the disk is full")
    """)
    run = llm_pytest_process("--benchmark-autosave")
    assert run.ret == 1
    (path,) = journals()
    message = (
        f"an error at the end of the run: 6 measured entries are kept in {path}; "
        "run `pytest-llmperf recover` to store them"
    )
    assert (run.outlines + run.errlines).count(message) == 1
    assert recover().ret == 0
    assert len(stored_files()) == 1


def test_recover_stores_no_run_that_is_stored_already(
    pytester, killed, recover, journals, stored_files
):
    (path,) = journals()
    text = path.read_text()
    recover()
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    run = recover()
    assert run.ret == 0
    assert run.outlines == [
        f"{path.relative_to(pytester.path)}: its run is stored already: "
        f"{stored_files()[0].relative_to(pytester.path)}"
    ]
    assert journals() == []
    assert len(stored_files()) == 1


def test_recover_without_anything_to_recover(pytester, recover):
    run = recover()
    assert run.ret == 3
    assert run.errlines == ["pytest-llmperf recover: .benchmarks is not a folder"]
    pytester.mkdir(".benchmarks")
    run = recover()
    assert run.ret == 0
    assert run.outlines == ["nothing to recover in .benchmarks"]


def test_recover_reads_another_storage(pytester, killed, recover, stored_files):
    (pytester.path / ".benchmarks").rename(pytester.path / "elsewhere")
    assert recover("--storage=elsewhere").ret == 0
    assert len(list(pytester.path.glob("elsewhere/*/0001_*.json"))) == 1
    assert stored_files() == []


@pytest.mark.parametrize("save", [[], ["--benchmark-autosave"], ["--benchmark-json=out.json"]])
def test_a_normal_run_leaves_no_journal(pytester, one_test, llm_pytest, journals, save):
    llm_pytest(*save).assert_outcomes(passed=1)
    assert not (pytester.path / ".benchmarks/.llmperf").exists()


def test_a_normal_run_without_the_terminal_plugin_leaves_no_journal(
    one_test, llm_pytest_process, journals
):
    # Then nothing calls pytest_terminal_summary.
    assert llm_pytest_process("-p", "no:terminal").ret == 0
    assert journals() == []


def test_a_run_with_failures_leaves_no_journal(pytester, llm_pytest, journals):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=1, warmup=0)
            assert False
    """)
    llm_pytest().assert_outcomes(failed=1)
    assert journals() == []


def test_the_journal_follows_the_storage_option(pytester, llm_pytest_process, monkeypatch):
    pytester.makepyfile(test_killed=KILLED)
    monkeypatch.setenv("KILL", "1")
    assert llm_pytest_process("--benchmark-storage=file://elsewhere").ret == -9
    assert len(list(pytester.path.glob("elsewhere/.llmperf/*.jsonl"))) == 1
