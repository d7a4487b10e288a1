"""``pytest-llmperf ab``: what it writes is checked first, what it cannot measure is said at once."""

import json
import os
import subprocess
import sys

import pytest

from pytest_llmperf.cli.main import main
from pytest_llmperf.core.values import shown

TEST = """
def test_m(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
"""
PYTEST = (
    "--llm-backend=simulated",
    "--llm-isolation=none",
    "--llm-metrics=peak_memory",
    "-Wdefault",
)
OPTIONS = ("--pairs=2", "--more-pairs=0", "--min-effect=90%", "--must-see=99%")
GIT = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")


def git(folder, *arguments):
    done = subprocess.run(
        ["git", *GIT, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.fixture
def commit(tmp_path):
    """Commit a test file; gives the repository."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")

    def write(content, name="test_m.py"):
        (folder / name).write_text(content)
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "a commit", "--allow-empty")
        return folder

    return write


@pytest.fixture
def unchanged(commit):
    """A repository with two equal commits."""
    commit(TEST)
    return commit(TEST)


def ab(folder, *options, tests=()):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "GIT_"))}
    command = [sys.executable, "-m", "pytest_llmperf.cli", "ab", "--base=HEAD~1", *OPTIONS]
    return subprocess.run(
        [*command, *options, "--", *PYTEST, *tests],
        cwd=folder,
        env=inherited,
        capture_output=True,
        text=True,
        timeout=120,
    )


def errors(done):
    return [line for line in done.stderr.splitlines() if line.startswith("pytest-llmperf")]


@pytest.mark.parametrize("option", ["--json", "--markdown"])
@pytest.mark.parametrize(
    ("file", "problem"),
    [
        ("nosuch/verdict", "nosuch/verdict cannot be written: there is no folder nosuch"),
        ("folder", "folder is a folder, not a file to write"),
    ],
)
@pytest.mark.parametrize("command", [["ab", "--base-args=-x"], ["compare", "a", "b"]])
def test_a_target_that_cannot_be_written_is_said_before_anything_else(
    tmp_path, monkeypatch, capsys, command, option, file, problem
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert main([*command, f"{option}={file}"]) == 3
    assert capsys.readouterr().err == f"pytest-llmperf {command[0]}: {problem}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_target_that_fails_at_the_end_costs_no_verdict_and_it_goes_on_without(unchanged):
    done = ab(unchanged, "--json=/dev/full", "--markdown=mine.md", "--out=out")
    assert done.returncode == 3
    assert "1 pass" in done.stdout
    assert errors(done) == [
        "pytest-llmperf ab: /dev/full cannot be written: No space left on device"
    ]
    assert (unchanged / "mine.md").read_text() == (unchanged / "out" / "verdict.md").read_text()
    assert json.loads((unchanged / "out" / "verdict.json").read_text())["summary"] == "1 pass"
    # What it goes on with is shown before it runs.
    again = subprocess.run(
        [sys.executable, "-m", "pytest_llmperf.cli", "ab", "--resume=out"],
        cwd=unchanged,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert again.returncode == 0, again.stderr
    command = f"{sys.executable} -m pytest {' '.join(PYTEST)}"
    assert again.stderr.splitlines() == [
        f"note: base runs {command}",
        f"note: head runs {command}",
    ]


def test_the_folder_of_comparisons_is_ignored_by_git(unchanged):
    done = ab(unchanged, "--json=../verdict.json")
    assert done.returncode == 0, done.stderr
    assert git(unchanged, "status", "--porcelain") == ""
    (kept,) = (unchanged / ".llmperf-ab").glob("2*")
    assert (kept / "verdict.json").read_text() == (unchanged.parent / "verdict.json").read_text()


def test_two_that_begin_in_one_second_have_a_folder_each(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        assert main(["ab", "--base-python=/nosuch/python", "--head-args=-x"]) == 3
    folders = sorted((tmp_path / ".llmperf-ab").glob("2*"))
    assert len(folders) == 3
    assert all((folder / "plan.json").exists() for folder in folders)


@pytest.mark.parametrize("pairs", ["1001", "9" * 20, "9" * 5000])
@pytest.mark.parametrize("option", ["--pairs", "--more-pairs"])
def test_a_number_of_pairs_that_nobody_waits_for_is_one_line(capsys, option, pairs):
    assert main(["ab", "--base-args=-x", f"{option}={pairs}"]) == 3
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(f"argument {option}: {shown(pairs)} is more than 1,000")


def test_sides_without_a_common_test_are_found_after_the_first_pair(commit):
    commit(TEST)
    folder = commit(TEST.replace("test_m", "test_renamed"))
    done = ab(folder, "--out=out")
    assert done.returncode == 3
    assert errors(done) == [
        "pytest-llmperf ab: the sides have no test in common (base has "
        "test_m.py::test_m[smollm2-135m-simulated-none], head has "
        "test_m.py::test_renamed[smollm2-135m-simulated-none])"
    ]
    assert sorted(path.name for path in (folder / "out").glob("pair-*.json")) == [
        "pair-01-base.json",
        "pair-01-head.json",
    ]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def (\n", "SyntaxError: invalid syntax"),
        ("raise RuntimeError('no engine')\n", "RuntimeError: no engine"),
    ],
)
def test_a_module_that_cannot_be_collected_is_named_with_the_cause(commit, content, cause):
    commit(TEST)
    folder = commit(content + TEST)
    done = ab(folder, "--out=out")
    assert done.returncode == 3
    assert errors(done) == [
        f"pytest-llmperf ab: pair 1 head: exit code 2: test_m.py: {cause}; log: pair-01-head.log in out"
    ]


def test_a_conftest_that_fails_is_named_with_the_cause(commit):
    commit(TEST)
    folder = commit("import no_such_module\n", "conftest.py")
    (line,) = errors(ab(folder, "--out=out"))
    assert (
        "pair 1 head: exit code 4: E   ModuleNotFoundError: No module named 'no_such_module'"
        in line
    )


def test_a_judgement_by_stored_runs_in_addopts_is_switched_off(unchanged, commit):
    commit("[pytest]\naddopts = --llm-gate=history --llm-fail-if=tpot.p50:+5%\n", "pytest.ini")
    done = ab(commit(TEST), "--out=out")
    assert done.returncode == 0, done.stderr
    assert "1 pass" in done.stdout


@pytest.mark.parametrize("addopts", ["--benchmark-disable", "--benchmark-skip"])
def test_addopts_that_measure_nothing_are_named(unchanged, commit, addopts):
    commit(f"[pytest]\naddopts = {addopts}\n", "pytest.ini")
    done = ab(commit(TEST), "--out=out")
    assert done.returncode == 3
    (line,) = errors(done)
    assert addopts in line


def test_a_run_leaves_no_process_behind(commit):
    leaves = (
        "import subprocess\n\n"
        + TEST
        + (
            "    none = subprocess.DEVNULL\n"
            "    subprocess.Popen(['sleep', '60'], start_new_session=True, stdout=none, stderr=none)\n"
        )
    )
    commit(TEST)
    done = ab(commit(leaves), "--out=out")
    assert done.returncode == 0, done.stderr
    said = "pair 1 base and head: it left processes behind, which were ended: sleep"
    assert said in done.stderr.splitlines()
