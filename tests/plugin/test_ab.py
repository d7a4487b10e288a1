"""``pytest-llmperf ab``: two sides of a git repository, measured in turns."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pytest_llmperf.ab import plan as plans
from pytest_llmperf.ab.sides import Side, prepared, with_commit
from pytest_llmperf.cli.main import main

CELL = "smollm2-135m-simulated-none"
BROKEN = f"broken: test_speed.py::test_y[{CELL}] fails or is skipped on the candidate only"
# Slower or broken by what stands in other files of the commit, its arguments being the same.
CONFTEST = """
from dataclasses import replace
from pathlib import Path

from pytest_llmperf.backends.simulated import Program

own = Program.from_args
factor = float(Path(__file__).with_name("factor.txt").read_text())

def from_args(args):
    program = own(args)
    return replace(program, ttft=program.ttft * factor, tpot=program.tpot * factor)

Program.from_args = from_args
"""
TESTS = """
from pathlib import Path

import pytest

def test_x(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=3, rounds=3, warmup=0)

def test_y(llm, llm_benchmark):
    feature = Path(__file__).with_name("feature.txt").read_text()
    assert "bug" not in feature
    if "no engine" in feature:
        pytest.skip(feature)
    llm_benchmark(llm, input_len=8, output_len=3, rounds=3, warmup=0)
    assert "late" not in feature
"""
PYTEST = (
    "--llm-backend=simulated",
    "--llm-isolation=none",
    "--llm-backend-arg=simulated.tpot=0.01",
    "--llm-metrics=ttft,e2e,peak_memory",
    "-pno:cacheprovider",
    "-Wdefault",
)
# A busy machine delays a token; twice the time is more than it does.
LIMITS = ("--min-effect=30%", "--must-see=99%")


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def environment():
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "GIT_"))},
        "COLUMNS": "200",
    }


@pytest.fixture(scope="module")
def make_repository(tmp_path_factory):
    """A repository of a project with two tests; its first commit has the tag ``fast``."""

    def make():
        folder = tmp_path_factory.mktemp("project")
        (folder / "conftest.py").write_text(CONFTEST)
        (folder / "test_speed.py").write_text(TESTS)
        (folder / "factor.txt").write_text("1.0")
        (folder / "feature.txt").write_text("works")
        (folder / ".gitignore").write_text("__pycache__\n")
        git(folder, "init", "-q")
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "first")
        git(folder, "tag", "fast")
        return folder

    return make


@pytest.fixture(scope="module")
def repository(make_repository):
    """Such a repository, with commits that are slower (``slow``) and broken (``broken``)."""
    folder = make_repository()
    for tag, file, content in (
        ("slow", "factor.txt", "2.0"),
        ("broken", "feature.txt", "bug"),
        ("broken-late", "feature.txt", "late"),
        ("skipped", "feature.txt", "no engine"),
    ):
        git(folder, "checkout", "-q", "fast")
        (folder / file).write_text(content)
        git(folder, "commit", "-qam", tag)
        git(folder, "tag", tag)
    git(folder, "checkout", "-q", "slow")
    return folder


@pytest.fixture(scope="module")
def ab():
    """Runs ``pytest-llmperf ab`` in a folder; arguments after ``--`` are those above."""

    def run(folder, *arguments, tests=("test_speed.py",)):
        resumes = any(argument.startswith("--resume") for argument in arguments)
        command = [sys.executable, "-m", "pytest_llmperf.cli", "ab", *arguments]
        return subprocess.run(
            command if resumes else [*command, "--", *PYTEST, *tests],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def errors(done):
    """Return the error messages: the lines that do not show progress."""
    return [line for line in done.stderr.splitlines() if line.startswith("pytest-llmperf")]


def progress(done):
    """The runs that were made, in their order."""
    lines = done.stderr.splitlines()
    return [line.partition(" (")[0] for line in lines if line.startswith("pair ")]


@pytest.fixture(scope="module")
def slower_commit(repository, ab):
    """The comparison that finds the slow commit."""
    arguments = ("--base=fast", "--pairs=2", "--more-pairs=2", "--out=out", *LIMITS)
    return ab(repository, *arguments, tests=("test_speed.py::test_x",))


@pytest.mark.timing
def test_a_commit_that_slows_is_found(slower_commit, repository):
    assert slower_commit.returncode == 1, slower_commit.stderr
    verdict = json.loads((repository / "out" / "verdict.json").read_text())
    found = {entry["metric"]: entry for entry in verdict["entries"]}
    assert {metric: entry["verdict"] for metric, entry in found.items()} == {
        "ttft": "regression",
        "e2e": "regression",
        "peak_memory": "pass",
    }
    assert found["ttft"]["effect"] == pytest.approx(1.0, abs=0.3)
    assert found["ttft"]["nodeid"] == f"test_speed.py::test_x[{CELL}]"
    assert verdict["summary"] == "2 regressions, 1 pass"


def test_pairs_alternate_and_suspects_have_more(slower_commit):
    assert progress(slower_commit) == [
        "pair 1 base and head",
        "pair 2 head and base",
        "pair 3 base and head",
        "pair 4 head and base",
    ]
    assert (
        "2 entries look worse; 2 more pairs for 1 of 1 tests" in slower_commit.stderr.splitlines()
    )


@pytest.mark.timing
def test_the_commits_are_named_in_the_report(slower_commit, repository):
    fast, slow = (git(repository, "rev-parse", "--short=10", tag) for tag in ("fast", "slow"))
    names = f"base ({fast}) -> head ({slow}): 2 regressions, 1 pass"
    assert names in slower_commit.stdout.splitlines()
    page = (repository / "out" / "verdict.md").read_text()
    assert page.startswith("<!-- pytest-llmperf verdict -->\n### LLM performance: regression\n")


def test_every_run_is_kept_with_its_log(slower_commit, repository):
    kept = {path.name for path in (repository / "out").iterdir()}
    runs = {
        f"pair-0{pair}-{side}.{end}"
        for pair in (1, 2, 3, 4)
        for side in ("base", "head")
        for end in ("json", "jsonl", "log")
    }
    suspects = {"suspects-base.txt", "suspects-head.txt"}
    assert kept == runs | suspects | {"plan.json", "verdict.json", "verdict.md"}


def test_all_runs_of_a_comparison_are_one_job(slower_commit, repository):
    jobs = set()
    for path in (repository / "out").glob("pair-*.json"):
        record = json.loads(path.read_text())["benchmarks"][0]["extra_info"]["llmperf"]
        jobs.add(record["run"]["job_id"])
    (job,) = jobs
    assert job.startswith("ab-")


@pytest.mark.usefixtures("slower_commit")
def test_the_worktrees_are_gone_afterwards(repository):
    assert len(git(repository, "worktree", "list").splitlines()) == 1
    assert git(repository, "rev-parse", "HEAD") == git(repository, "rev-parse", "slow")
    assert git(repository, "status", "--porcelain", "--untracked-files=no") == ""


def test_a_finished_comparison_can_be_judged_again_without_a_run(slower_commit, repository, ab):
    done = ab(repository, "--resume=out")
    assert done.returncode == 1
    assert progress(done) == []
    report = slower_commit.stdout.splitlines()[1:]
    assert done.stdout.splitlines()[1:] == report


@pytest.mark.timing
def test_two_sets_of_options_are_compared_in_the_folder_as_it_is(repository, ab):
    done = ab(
        repository,
        "--base-args=--llm-backend-arg=simulated.ttft=0.04",
        "--head-args=--llm-backend-arg=simulated.ttft=0.02",
        "--pairs=2",
        "--more-pairs=0",
        "--all",
        *LIMITS,
        tests=("test_speed.py::test_x",),
    )
    assert done.returncode == 0, done.stderr
    _, _, table = done.stdout.partition(f"\ntest_speed.py::test_x[{CELL}]\n")
    rows = [line.split() for line in table.split("\n\n")[0].splitlines()[2:]]
    assert {row[1]: row[0] for row in rows} == {
        "ttft": "improvement",
        "e2e": "improvement",
        "peak_memory": "pass",
    }
    assert any(
        line.startswith("note: base ") and line.endswith(": simulated.ttft: 0.04 / 0.02")
        for line in done.stdout.splitlines()
    )


@pytest.mark.timing
@pytest.mark.parametrize("verbosity", ["-v", "-q"])
def test_a_test_that_fails_on_head_alone_is_broken(repository, ab, verbosity):
    arguments = ("--base=fast", "--head=broken", "--pairs=2", "--more-pairs=0", *LIMITS)
    done = ab(repository, *arguments, tests=("test_speed.py", verbosity))
    assert done.returncode == 3, done.stderr
    lines = done.stdout.splitlines()
    assert BROKEN in lines
    assert len([line for line in lines if line.startswith("failed: pair ")]) == 2
    assert "3 pass, 1 broken" in done.stdout


@pytest.mark.timing
def test_a_test_that_fails_after_it_was_measured_is_broken(repository, ab):
    arguments = ("--base=fast", "--head=broken-late", "--pairs=2", "--more-pairs=0", *LIMITS)
    done = ab(repository, *arguments)
    assert done.returncode == 3, done.stderr
    assert BROKEN in done.stdout.splitlines()
    assert "6 pass, 1 broken" in done.stdout


def test_a_test_that_head_alone_skips_is_broken(repository, ab):
    arguments = ("--base=fast", "--head=skipped", "--pairs=2", "--more-pairs=0", *LIMITS)
    done = ab(repository, *arguments)
    assert done.returncode == 3, done.stderr
    assert BROKEN in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--base-args=nosuch.py"],
            "pair 1 base: exit code 4: ERROR: file or directory not found: nosuch.py; log: ",
        ),
        (["--base-args=-k nothing"], "pair 1 base: exit code 5: "),
        (["--base-args=--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_a_side_that_does_not_run_is_told_in_one_line(repository, ab, arguments, message):
    done = ab(repository, *arguments)
    assert done.returncode == 3
    (line,) = errors(done)
    assert message in line
    assert progress(done) == ["pair 1 base and head"]


@pytest.fixture
def plan_only(monkeypatch, capsys):
    """Run the command in this process, where it has to end before any side runs; give its output."""

    def run(folder, *arguments):
        monkeypatch.chdir(folder)
        assert main(["ab", *arguments]) == 3
        written = capsys.readouterr()
        assert written.out == ""
        return written.err

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [],
            "nothing differs between the sides: give --base, --base-python/--head-python or "
            "--base-args/--head-args",
        ),
        (["--head=fast"], "--head needs --base: which commit is it compared with?"),
        (["--base=nosuch"], "'nosuch' is not a commit of the repository in {folder}"),
        (["--resume=nothing"], "nothing holds no comparison (plan.json is missing)"),
        (["--base-args='"], "No closing quotation"),
    ],
)
def test_sides_that_cannot_be_are_told_before_anything_runs(
    repository, plan_only, arguments, message
):
    said = plan_only(repository, *arguments)
    assert said == f"pytest-llmperf ab: {message.format(folder=repository)}\n"


@pytest.mark.parametrize(
    "option", ["--base=fast", "--head-args=-x", "--pairs=2", "--more-pairs=0", "--out=x"]
)
def test_a_comparison_that_goes_on_takes_nothing_of_a_new_one(tmp_path, plan_only, option):
    assert plan_only(tmp_path, f"--resume={tmp_path}", option) == (
        "pytest-llmperf ab: --resume goes on as planned: it takes limits and reports only\n"
    )


def test_a_plan_has_three_pairs_and_five_more_unless_it_is_told(repository):
    plan = plans.new(repository, Side("base"), Side("head", args=("-x",)))
    assert (plan.first_pairs, plan.more_pairs) == (3, 5)
    fewer = plans.new(
        repository, Side("base"), Side("head"), base_revision="fast", first_pairs=2, more_pairs=0
    )
    assert (fewer.first_pairs, fewer.more_pairs) == (2, 0)
    assert fewer.base.commit == git(repository, "rev-parse", "fast")
    assert fewer.head.commit == git(repository, "rev-parse", "HEAD")


def test_outside_of_a_repository_there_is_no_commit(tmp_path, plan_only):
    said = plan_only(tmp_path, "--base=HEAD")
    assert (
        said
        == f"pytest-llmperf ab: 'HEAD' is not a commit: {tmp_path} is not in a git repository\n"
    )


def test_without_git_there_is_no_commit(tmp_path, repository, plan_only, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert plan_only(repository, "--base=fast") == (
        "pytest-llmperf ab: 'fast': git cannot be run (No such file or directory)\n"
    )


def test_a_comparison_is_not_overwritten(tmp_path, repository, plan_only):
    (tmp_path / "plan.json").write_text("{}")
    said = plan_only(repository, "--base=fast", f"--out={tmp_path}")
    assert said == (
        f"pytest-llmperf ab: {tmp_path} holds a comparison already: --resume it, or take another "
        "--out\n"
    )


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"schema": 1}', '{"schema": "x"}'])
def test_a_damaged_plan_is_refused(tmp_path, plan_only, content):
    (tmp_path / "plan.json").write_text(content)
    said = plan_only(tmp_path, f"--resume={tmp_path}")
    assert said.startswith(
        f"pytest-llmperf ab: {tmp_path / 'plan.json'}: is not a plan of pytest-llmperf ab ("
    )
    assert said.count("\n") == 1


def test_an_interpreter_that_is_not_there_is_told_in_one_line(repository, ab):
    done = ab(repository, "--head-python=/nosuch/python")
    assert done.returncode == 3
    assert errors(done) == [
        "pytest-llmperf ab: --head-python: '/nosuch/python' is not an interpreter that can be run"
    ]
    assert progress(done) == []


def test_a_commit_is_measured_in_the_folder_where_the_command_was_started(
    make_repository, tmp_path
):
    repository = make_repository()
    part = repository / "part"
    part.mkdir()
    (part / "test_speed.py").write_text(TESTS)
    git(repository, "add", "-A")
    git(repository, "commit", "-qm", "part")
    sides = (with_commit(Side("base"), "HEAD", part), Side("head"))
    with prepared(sides, part, "", tmp_path, "job") as (base, head):
        assert head.folder == part
        assert (base.folder / "test_speed.py").read_text() == TESTS
        assert base.folder.name == "part"


def test_a_setup_command_that_fails_ends_the_comparison(repository, ab):
    done = ab(repository, "--base=fast", "--setup=exit 7")
    assert done.returncode == 3
    (line,) = errors(done)
    assert line.startswith("pytest-llmperf ab: --setup failed on base with exit code 7; log: ")
    assert len(git(repository, "worktree", "list").splitlines()) == 1


@pytest.fixture
def interrupted(make_repository, wait_until):
    """A comparison that Ctrl-C has ended in its second pair; gives it and its repository."""
    folder = make_repository()
    # The second pair takes its time until it is ended.
    (folder / "test_speed.py").write_text(
        textwrap.dedent("""
            import time

            def test_x(llm, llm_benchmark, request):
                out = request.config.getoption("benchmark_json")
                if "pair-02" in out.name and not (out.parent / "go-on").exists():
                    (out.parent / "waiting").touch()
                    time.sleep(60)
                llm_benchmark(llm, input_len=8, output_len=3, rounds=3, warmup=0)
        """)
    )
    git(folder, "commit", "-qam", "waits")
    command = [sys.executable, "-m", "pytest_llmperf.cli", "ab", "--base=HEAD", "--pairs=2"]
    command += ["--head-args=--llm-rounds=2", "--more-pairs=0", "--out=out", *LIMITS, "--", *PYTEST]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # As on a terminal: a job started in the background would ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_until((folder / "out" / "waiting").exists, "the second pair", 60)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait(10)
    return folder, process.returncode, stderr


def test_an_interrupted_comparison_leaves_nothing_running_and_goes_on_where_it_was(interrupted, ab):
    folder, code, stderr = interrupted
    out = folder / "out"
    assert code == 130
    assert stderr.splitlines()[-1] == (
        "pytest-llmperf ab: interrupted; go on with: pytest-llmperf ab --resume out"
    )
    assert "Traceback" not in stderr
    assert processes_that_name(out) == []
    assert len(git(folder, "worktree", "list").splitlines()) == 1
    first = {path: path.read_bytes() for path in out.glob("pair-01-*")}
    assert {path.name for path in first} >= {"pair-01-base.json", "pair-01-head.json"}
    assert not list(out.glob("pair-02-*.json"))
    (out / "go-on").touch()
    done = ab(folder, "--resume=out")
    assert done.returncode == 0, done.stderr
    assert progress(done) == ["pair 2 head and base"]
    assert {path: path.read_bytes() for path in first} == first
    verdict = json.loads((out / "verdict.json").read_text())
    assert {entry["n"] for entry in verdict["entries"]} == {2}
    assert len(git(folder, "worktree", "list").splitlines()) == 1


def processes_that_name(path):
    """Processes with a path in their command line."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes()
        except OSError:  # It has ended meanwhile.
            continue
        if str(path).encode() in command:
            found.append(command)
    return found
