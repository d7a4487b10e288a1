"""``pytest-llmperf ab`` that is killed: nothing runs on, and the next one clears up."""

import os
import signal
import subprocess
import sys

import pytest

TEST = """
import time

def test_m(llm, llm_benchmark, request):
    llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
    out = request.config.getoption("benchmark_json").parent
    if not (out / "go-on").exists():
        (out / "waiting").touch()
        time.sleep(60)
"""
PYTEST = ("--llm-backend=simulated", "--llm-metrics=tpot", "-Wdefault")
OPTIONS = ("--pairs=2", "--more-pairs=0", "--min-effect=90%", "--must-see=99%")
GIT = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")


def git(folder, *arguments):
    done = subprocess.run(
        ["git", *GIT, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


class Comparison:
    """A repository with two equal commits, its temporary folder, and ``ab`` in it."""

    def __init__(self, folder, is_running):
        self._is_running = is_running
        self.repository = folder / "project"
        self.temporary = folder / "tmp"
        self.out = folder / "out"
        self.repository.mkdir()
        self.temporary.mkdir()
        (self.repository / "test_m.py").write_text(TEST)
        git(self.repository, "init", "-q")
        git(self.repository, "add", "-A")
        git(self.repository, "commit", "-qm", "base")
        git(self.repository, "commit", "-qm", "head", "--allow-empty")

    def start(self, *arguments):
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "GIT_"))}
        environment = {**inherited, "TMPDIR": str(self.temporary), "COMPARISON": str(self.out)}
        return subprocess.Popen(
            [sys.executable, "-m", "pytest_llmperf.cli", "ab", *arguments],
            cwd=self.repository,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # As on a terminal.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )

    def start_new(self, *options, out=None):
        out = out or self.out
        return self.start("--base=HEAD~1", f"--out={out}", *OPTIONS, *options, "--", *PYTEST)

    def is_running(self):
        return self._is_running(self.out)

    def left(self):
        """The worktrees that are registered and the temporary folders that stand."""
        worktrees = git(self.repository, "worktree", "list").splitlines()[1:]
        return len(worktrees), len(list(self.temporary.glob("llmperf-ab-*")))


@pytest.fixture
def comparison(tmp_path, is_comparison_running):
    made = Comparison(tmp_path, is_comparison_running)
    yield made
    (made.out / "go-on").parent.mkdir(exist_ok=True)
    (made.out / "go-on").touch()


def finished(process):
    _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr


def test_a_killed_comparison_leaves_nothing_running_and_the_next_one_clears_up(
    comparison, wait_until
):
    process = comparison.start_new()
    wait_until((comparison.out / "waiting").exists, "the first test", 30)
    process.kill()
    finished(process)
    wait_until(lambda: not comparison.is_running(), "the end of its children", 5)
    assert comparison.left() == (2, 1)
    (comparison.out / "go-on").touch()
    code, stderr = finished(comparison.start(f"--resume={comparison.out}"))
    assert code == 0, stderr
    assert comparison.left() == (0, 0)


def test_a_setup_command_ends_with_the_comparison_as_well(comparison, wait_until):
    process = comparison.start_new(f"--setup=touch {comparison.temporary}/setup; sleep 60; true")
    wait_until((comparison.temporary / "setup").exists, "the setup", 30)
    process.kill()
    finished(process)
    wait_until(lambda: not comparison.is_running(), "the end of its children", 5)


def test_a_closed_terminal_ends_it_as_ctrl_c_does(comparison, wait_until):
    process = comparison.start_new()
    wait_until((comparison.out / "waiting").exists, "the first test", 30)
    process.send_signal(signal.SIGHUP)
    code, stderr = finished(process)
    assert code == 130
    assert stderr.splitlines()[-1] == (
        f"pytest-llmperf ab: interrupted; go on with: pytest-llmperf ab --resume {comparison.out}"
    )
    assert not comparison.is_running()
    assert comparison.left() == (0, 0)


def test_a_comparison_that_goes_on_is_left_alone(comparison, wait_until, tmp_path):
    process = comparison.start_new()
    wait_until((comparison.out / "waiting").exists, "the first test", 30)
    code, stderr = finished(comparison.start(f"--resume={comparison.out}"))
    assert code == 3
    *notes, line = stderr.splitlines()
    assert line == f"pytest-llmperf ab: {comparison.out}: another pytest-llmperf ab measures there"
    assert [note.partition(" runs ")[0] for note in notes] == ["note: base", "note: head"]
    beside = comparison.start_new("--base-python=/nosuch", out=tmp_path / "beside")
    assert finished(beside)[0] == 3
    assert comparison.left() == (2, 1)
    process.send_signal(signal.SIGTERM)
    assert finished(process)[0] == 130
    assert comparison.left() == (0, 0)
