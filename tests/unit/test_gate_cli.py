"""``pytest-llmperf compare``, and what all commands share."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmperf.cli.main import main

NODEID = "test_speed.py::test_x[m-vllm-none]"
QUIET = (1.0, 1.003, 0.997, 1.002, 0.998)


@pytest.fixture
def run(capsys):
    """Runs the command; gives its exit code and what it wrote."""

    def make(*arguments):
        code = main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return code, written.out, written.err

    return make


@pytest.fixture
def past(save, stored_json, storage, monkeypatch):
    """Five stored runs of one test, in the storage folder below the current one."""
    paths = [
        save(number, stored_json(number, ttft=0.1 * QUIET[number - 1], peak_memory=900.0))
        for number in range(1, 6)
    ]
    monkeypatch.chdir(storage.parent)
    return paths


@pytest.fixture
def new(tmp_path, stored_json):
    """A file with a new run: ``new(ttft=0.2)``."""

    def make(number=50, nodeid=NODEID, **values):
        path = tmp_path / f"new{number}.json"
        path.write_text(json.dumps(stored_json(number, nodeid, **values)))
        return path

    return make


def test_a_run_that_is_as_fast_as_the_stored_ones_is_0(run, past, new):
    code, out, err = run("compare", ".benchmarks", new(ttft=0.1, peak_memory=900.0))
    assert (code, err) == (0, "")
    assert out.splitlines()[0].endswith(": 2 pass")


def test_a_slower_run_is_1_and_its_metric_is_named(run, past, new):
    code, out, err = run("compare", ".benchmarks", new(ttft=0.12, peak_memory=900.0))
    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[lines.index(f"regression: {NODEID}") + 1].split()[:2] == ["ttft", "+20.0%"]
    assert lines[-1] == "LLM gate: FAILED, 1 regression"


@pytest.mark.parametrize(("strict", "code"), [((), 0), (("--strict",), 2)])
def test_too_few_runs_are_0_and_under_strict_2(run, past, new, strict, code):
    found, out, _ = run("compare", past[0], new(ttft=0.2), *strict)
    assert found == code
    assert "1 comparable run in the baseline; 3 are needed" in out


def test_a_regression_under_strict_is_1(run, past, new):
    assert run("compare", ".benchmarks", new(ttft=0.12), "--strict")[0] == 1


@pytest.mark.parametrize("baseline", ["000[1-5]*.json", "0001", "01cccc", "run1"])
def test_a_baseline_may_be_named_in_every_way(run, past, new, baseline, monkeypatch):
    candidate = new(ttft=0.1)
    if "*" in baseline:
        monkeypatch.chdir(past[0].parent)
    code, out, _ = run("compare", baseline, candidate, "--storage", past[0].parent.parent)
    assert code == 0
    assert out.startswith(f"{baseline} -> {candidate}: ")


def test_several_runs_of_a_candidate_are_judged_together(run, past, new, tmp_path):
    folder = tmp_path / "candidate"
    folder.mkdir()
    for number in (50, 51):
        new(number, ttft=0.12).rename(folder / f"{number}.json")
    code, out, _ = run("compare", ".benchmarks", folder)
    assert code == 1
    assert out.count("regression: ") == 1


def test_the_candidate_is_left_out_of_a_folder_that_holds_both(run, past, save, stored_json):
    slow = save(6, stored_json(6, ttft=0.12))
    code, out, _ = run("compare", ".benchmarks", slow.relative_to(slow.parents[2]), "--all")
    assert code == 1
    (row,) = (line for line in out.splitlines() if line.startswith("regression"))
    assert row.split()[-1] == "5"


def test_a_run_compared_with_itself_is_3(run, past):
    code, _, err = run("compare", past[0], past[0])
    assert code == 3
    assert err.splitlines() == [
        f"pytest-llmperf compare: {past[0]}: all 1 files are the candidate's"
    ]


def test_verdicts_are_written_where_it_was_asked(run, past, new, tmp_path):
    run(
        "compare",
        ".benchmarks",
        new(ttft=0.12, peak_memory=900.0),
        *("--json", tmp_path / "v.json"),
        *("--markdown", tmp_path / "v.md"),
    )
    verdict = json.loads((tmp_path / "v.json").read_text())
    assert verdict["summary"] == "1 regression, 1 pass"
    assert verdict["entries"][0]["verdict"] == "regression"
    assert (tmp_path / "v.md").read_text().startswith("<!-- pytest-llmperf verdict -->\n")


def test_a_report_that_cannot_be_written_is_3_and_no_regression(run, past, new, tmp_path):
    code, _, err = run(
        "compare", ".benchmarks", new(ttft=0.1), "--json", tmp_path / "none" / "v.json"
    )
    assert code == 3
    assert len(err.splitlines()) == 1


def test_entries_that_pass_are_shown_when_it_is_asked(run, past, new):
    candidate = new(ttft=0.1, peak_memory=900.0)
    assert NODEID not in run("compare", ".benchmarks", candidate)[1]
    assert NODEID in run("compare", ".benchmarks", candidate, "--all")[1]


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ((), 1),
        (("--min-effect=30%",), 0),
        (("--min-effect=0.3", "--must-see=40%"), 0),
        (("--must-see=40%",), 1),
    ],
)
def test_limits_of_the_command_line_change_the_verdict(run, past, new, limits, code):
    assert run("compare", ".benchmarks", new(ttft=0.12), *limits)[0] == code


def test_accepted_changes_are_read_beside_the_storage(run, past, new, tmp_path):
    change = {
        "nodeid": NODEID,
        "metric": "ttft",
        "since": "2026-01-01T03:00:00+00:00",  # The third run.
        "commit": "abc",
        "reason": "wanted",
    }
    content = json.dumps({"schema": 1, "accepted": [change]})
    (tmp_path / "llmperf-accepted.json").write_text(content)
    _, out, _ = run("compare", ".benchmarks", new(ttft=0.12), "--all")
    (row,) = (line for line in out.splitlines() if line.startswith("regression"))
    assert row.split()[-1] == "3"
    (tmp_path / "other.json").write_text('{"schema": 1, "accepted": []}')
    _, out, _ = run("compare", ".benchmarks", new(ttft=0.12), "--all", "--accepted", "other.json")
    (row,) = (line for line in out.splitlines() if line.startswith("regression"))
    assert row.split()[-1] == "5"


def test_a_file_of_accepted_changes_that_is_damaged_is_3(run, past, new, tmp_path):
    (tmp_path / "llmperf-accepted.json").write_text("{")
    code, out, err = run("compare", ".benchmarks", new(ttft=0.1))
    assert (code, out) == (3, "")
    assert err.startswith("pytest-llmperf compare: llmperf-accepted.json: cannot be read as a list")
    assert len(err.splitlines()) == 1


def test_files_that_cannot_be_read_are_named_and_do_not_decide(run, past, new):
    past[0].write_text("")
    code, out, _ = run("compare", ".benchmarks", new(ttft=0.1))
    assert code == 0
    assert f"failed: {past[0].relative_to(past[0].parents[2])}: is empty" in out.splitlines()


@pytest.mark.parametrize(
    ("content", "reason"),
    [("", "is empty"), ("{", "is not complete JSON"), ("{}", "is not a file of pytest-benchmark")],
)
def test_a_candidate_that_cannot_be_read_is_3_in_one_line(run, past, tmp_path, content, reason):
    path = tmp_path / "bad.json"
    path.write_text(content)
    code, out, err = run("compare", ".benchmarks", path)
    assert (code, out) == (3, "")
    assert err.startswith(f"pytest-llmperf compare: {path}: {reason}")
    assert len(err.splitlines()) == 1


def test_the_line_names_the_side_that_cannot_be_read(run, past, tmp_path):
    past[0].write_text("")
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    _, _, err = run("compare", ".benchmarks", bad)
    assert err.startswith(f"pytest-llmperf compare: {bad}: is not a file of pytest-benchmark")


@pytest.mark.parametrize("which", [0, 1])
def test_a_name_that_means_nothing_is_3_in_one_line(run, past, which):
    names = [".benchmarks", ".benchmarks"]
    names[which] = "nothing"
    code, out, err = run("compare", *names)
    assert (code, out) == (3, "")
    assert err.splitlines() == [
        "pytest-llmperf compare: 'nothing' does not match a file, folder, glob, run number, commit or "
        "run id in .benchmarks"
    ]


def test_a_name_that_is_too_long_for_a_file_is_3(run, past):
    code, _, err = run("compare", "x" * 5000, ".benchmarks")
    assert code == 3
    assert len(err.splitlines()) == 1


def test_no_test_in_common_is_3(run, past, new):
    code, out, err = run("compare", ".benchmarks", new(nodeid="test_b.py::test_b[m]", ttft=0.1))
    assert code == 3
    assert "new (no baseline): test_b.py::test_b[m]" in out
    assert err.splitlines() == [
        "pytest-llmperf compare: the candidate has no test in common with the baseline"
    ]


@pytest.fixture
def without(monkeypatch):
    """Make a package look as if it were not installed."""
    find_spec = importlib.util.find_spec

    def hide(hidden):
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *more: None if name == hidden else find_spec(name, *more),
        )

    return hide


@pytest.mark.parametrize("package", ["numpy", "scipy"])
@pytest.mark.parametrize(
    ("command", "needed"),
    [(["compare", "a", "b"], "numpy and scipy"), (["ab", "--base=HEAD"], "numpy, scipy and tqdm")],
)
def test_without_its_extra_the_gate_says_what_to_install(run, without, package, command, needed):
    without(package)
    code, out, err = run(*command)
    assert (code, out) == (3, "")
    assert err.splitlines() == [
        f"pytest-llmperf {command[0]}: judging needs {needed}: pip install 'pytest-llmperf[gate]'"
    ]


def test_only_ab_needs_a_progress_bar(run, without, past, new):
    without("tqdm")
    assert run("compare", ".benchmarks", new(ttft=0.1))[0] == 0
    assert run("ab", "--base=HEAD")[0] == 3


def test_without_the_extra_runs_can_be_recovered(run, without, storage):
    without("scipy")
    assert run("recover", "--storage", storage) == (0, f"nothing to recover in {storage}\n", "")


@pytest.mark.parametrize("command", [["compare", "a", "b"], ["recover"]])
def test_only_ab_takes_arguments_for_pytest(run, command):
    code, out, err = run(*command, "--", "-k", "x")
    assert (code, out) == (3, "")
    assert err.splitlines() == [f"pytest-llmperf {command[0]}: takes nothing after --"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare"],
        ["compare", "a"],
        ["compare", "a", "b", "c"],
        ["compare", "a", "b", "--min-effect=0"],
        ["compare", "a", "b", "--min-effect=150%"],
        ["compare", "a", "b", "--must-see=lots"],
        ["ab", "--pairs=1"],
        ["ab", "--pairs=x"],
        ["ab", "--more-pairs=-1"],
        ["ab", "stray"],
    ],
)
def test_a_command_line_that_means_nothing_is_3(run, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (3, "")
    assert "usage: pytest-llmperf" in err


@pytest.mark.parametrize("command", ["ab", "compare", "recover"])
def test_every_command_explains_itself(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert "usage: pytest-llmperf" in out
    assert "None" not in out


def test_a_reader_that_goes_away_changes_no_exit_code(past, new):
    candidate = new(ttft=0.12, peak_memory=900.0)
    command = [sys.executable, "-m", "pytest_llmperf.cli", "compare", ".benchmarks", str(candidate)]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_stored_run_cannot_control_a_terminal_or_a_page(run, past, tmp_path, stored_json):
    nodeid = "test_speed.py::test_x[\x1b]0;owned\x07m]"
    other = {"os": "\x1b]0;owned\x07Linux", "device": "cpu", "cpu": "\x1b[31mother"}
    for side in ("a", "b"):
        content = stored_json(1 if side == "a" else 2, nodeid, ttft=0.1)
        if side == "b":
            content["benchmarks"][0]["extra_info"]["llmperf"]["environment"].update(other)
        (tmp_path / f"{side}.json").write_text(json.dumps(content))
    page = tmp_path / "v.md"
    _, out, err = run("compare", tmp_path / "a.json", tmp_path / "b.json", "--markdown", page)
    assert r"\x1b]0;owned\x07m" in out
    assert "\x1b" not in out + err + page.read_text()


def test_a_name_cannot_control_a_terminal(run, past):
    code, _, err = run("compare", "no\x1b[31msuch", past[0])
    assert code == 3
    assert "\x1b" not in err


def at_revision(storage, path, name):
    """Give a stored run the commit of a repository's revision, in its file's name."""
    done = subprocess.run(
        ["git", "-C", storage.parent, "rev-parse", name], capture_output=True, text=True, check=True
    )
    target = path.with_name(f"{path.name[:5]}{done.stdout.strip()}_20260101_000000.json")
    return path.rename(target)


def commit(folder, message):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    command = ["git", *identity, "commit", "-q", "--allow-empty", "-m", message]
    subprocess.run(command, cwd=folder, check=True)


def test_a_run_number_needs_no_zeros(run, past):
    code, out, err = run("compare", "1", "5")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("1 -> 5: ")


def test_a_history_of_one_run_is_told_in_one_line(run, past):
    code, out, _ = run("compare", "0001", "0004")
    assert code == 0
    assert out.splitlines()[-1] == (
        "the baseline has 1 run, and times and memory need 3: name more (a folder, a glob), or measure "
        "two commits in turns with `pytest-llmperf ab`"
    )


def test_a_revision_of_git_names_the_run_of_its_commit(run, past, storage):
    subprocess.run(["git", "init", "-q"], cwd=storage.parent, check=True)
    for message in ("a", "b"):
        commit(storage.parent, message)
    at_revision(storage, past[0], "HEAD~1")
    at_revision(storage, past[4], "HEAD")
    code, out, err = run("compare", "HEAD~1", "HEAD")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("HEAD~1 -> HEAD: ")


def test_a_revision_without_a_stored_run_is_one_line(run, past, storage):
    subprocess.run(["git", "init", "-q"], cwd=storage.parent, check=True)
    commit(storage.parent, "a")
    code, out, err = run("compare", "HEAD", "0001")
    assert (code, out) == (3, "")
    assert err.startswith("pytest-llmperf compare: HEAD is commit ")
    assert err.endswith(", which has no stored run in .benchmarks\n")


def test_a_setting_that_changed_is_red_and_said_last(run, past, new):
    path = new(ttft=0.1, peak_memory=900.0, quantization={"mode": "fp8", "compute_dtype": "x"})
    code, out, _ = run("compare", ".benchmarks", path)
    assert code == 1
    assert out.splitlines()[-1].startswith(
        "FAILED: 2 entries are at a new level, because a setting changed: quantization: none / fp8; "
    )


@pytest.mark.parametrize("value", [5e-324, 1e-320, 1.7e308, 1e-300, 1e300])
def test_the_smallest_and_the_largest_numbers_have_a_verdict(
    run, past, new, save, stored_json, value
):
    for number in range(1, 6):
        if number % 2:
            save(number, stored_json(number, ttft=value, peak_memory=value))
    for sides in ((".benchmarks", new(ttft=value, peak_memory=value)), (past[0], past[1])):
        code, out, err = run("compare", *sides, "--json", "v.json", "--markdown", "v.md", "--all")
        assert code in (0, 1, 2, 3)
        assert "Traceback" not in out + err
        assert "inf" not in Path("v.json").read_text().lower()
    assert run("history")[0] == 0


@pytest.mark.parametrize("depth", [900, 5_000, 100_000])
def test_a_file_that_is_nested_too_deeply_is_left_out(run, past, new, stored_json, depth):
    backend = {"name": "vllm", "version": "1", "args": {"a": "@"}, "settings": {}}
    content = json.dumps(stored_json(1, ttft=0.1, backend=backend))
    past[0].write_text(content.replace('"@"', "[" * depth + "]" * depth))
    code, out, err = run("compare", ".benchmarks", new(ttft=0.1, peak_memory=900.0))
    assert (code, err) == (0, "")
    assert f"failed: {past[0].relative_to(Path.cwd())}: " in out
    assert run("history")[0] == 0
    assert run("compare", past[0], "0002")[0] == 3
