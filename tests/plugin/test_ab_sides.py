"""``pytest-llmperf ab``: each side runs its own tests, its own ini file and its own modules."""

import json
import os
import subprocess
import sys

import pytest

# A time per token that the ini file or a module of the commit says: twice as long on head.
TEST = """
def test_m(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
"""
INI = "[pytest]\naddopts = --llm-backend=simulated --llm-backend-arg=simulated.tpot={tpot}\n"
CONFTEST = """
from dataclasses import replace

from pytest_llmperf.backends.simulated import Program
from speed import TPOT

own = Program.from_args
Program.from_args = lambda args: replace(own(args), tpot=TPOT)
"""
PYTEST = ("--llm-backend=simulated", "--llm-isolation=none", "--llm-metrics=tpot", "-Wdefault")
OPTIONS = ("--pairs=2", "--more-pairs=0", "--out=out", "--min-effect=30%", "--must-see=99%")
GIT = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")


def git(folder, *arguments):
    subprocess.run(["git", *GIT, *arguments], cwd=folder, capture_output=True, check=True)


@pytest.fixture
def commit(tmp_path):
    """Write files into a repository and commit them; gives the repository."""
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q")

    def write(files):
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        git(folder, "add", "-A")
        git(folder, "commit", "-qm", "a commit")
        return folder

    return write


@pytest.fixture
def ini_twice_as_slow(commit):
    """A repository whose head is slower by its ini file only; gives it."""
    commit({"benchmarks/test_m.py": TEST, "pytest.ini": INI.format(tpot=0.01)})
    return commit({"pytest.ini": INI.format(tpot=0.02)})


@pytest.fixture
def module_twice_as_slow(commit):
    """A repository whose head is slower by a module in ``lib`` only; gives it."""
    benchmarks = {"benchmarks/test_m.py": TEST, "benchmarks/conftest.py": CONFTEST}
    commit({**benchmarks, "pytest.ini": "[pytest]\n", "lib/speed.py": "TPOT = 0.01\n"})
    return commit({"lib/speed.py": "TPOT = 0.02\n"})


def ab(folder, *arguments, options=OPTIONS, base="HEAD~1", **variables):
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "GIT_"))}
    command = [sys.executable, "-m", "pytest_llmperf.cli", "ab", f"--base={base}", *options]
    return subprocess.run(
        [*command, "--", *PYTEST, *arguments],
        cwd=folder,
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def errors(done):
    return [line for line in done.stderr.splitlines() if line.startswith("pytest-llmperf")]


def effect(folder):
    """The change that was found in the time per token."""
    (entry,) = json.loads((folder / "out" / "verdict.json").read_text())["entries"]
    return entry["verdict"], round(entry["effect"])


@pytest.mark.parametrize("arguments", [["{0}/benchmarks"], ["-c", "{0}/pytest.ini", "benchmarks"]])
def test_an_absolute_path_into_the_repository_means_each_sides_own_tree(
    ini_twice_as_slow, arguments
):
    done = ab(ini_twice_as_slow, *[text.format(ini_twice_as_slow) for text in arguments])
    assert done.returncode == 1, done.stderr
    assert effect(ini_twice_as_slow) == ("regression", 1)


def test_options_of_the_environment_mean_each_sides_own_tree(ini_twice_as_slow):
    options = f"-c {ini_twice_as_slow}/pytest.ini"
    done = ab(ini_twice_as_slow, "benchmarks", PYTEST_ADDOPTS=options)
    assert done.returncode == 1, done.stderr
    assert effect(ini_twice_as_slow) == ("regression", 1)


def test_the_folder_as_it_is_keeps_its_own_tree_beside_a_commit(ini_twice_as_slow):
    (ini_twice_as_slow / "pytest.ini").write_text(INI.format(tpot=0.03))
    options = (*OPTIONS, "--head=.")
    done = ab(ini_twice_as_slow, f"{ini_twice_as_slow}/benchmarks", options=options)
    assert done.returncode == 1, done.stderr
    assert effect(ini_twice_as_slow) == ("regression", 2)


@pytest.mark.parametrize("how", ["variable", "ini"])
def test_modules_are_those_of_each_side(module_twice_as_slow, how):
    lib = f"{module_twice_as_slow}/lib"
    paths = os.pathsep.join([os.environ["PYTHONPATH"], lib])
    if how == "variable":
        done = ab(module_twice_as_slow, "benchmarks", PYTHONPATH=paths)
    else:
        done = ab(module_twice_as_slow, "-o", f"pythonpath={lib} {lib}", "benchmarks")
    assert done.returncode == 1, done.stderr
    assert effect(module_twice_as_slow) == ("regression", 1)


def test_a_module_of_the_repository_in_both_sides_ends_the_comparison(commit):
    folder = commit({"benchmarks/test_m.py": TEST, "pytest.ini": "[pytest]\n"})
    lib = folder / "lib"
    insert = f"import sys\n\nsys.path.insert(0, {str(lib)!r})\n{CONFTEST}"
    commit({"benchmarks/conftest.py": insert, "lib/speed.py": "TPOT = 0.01\n"})
    commit({"lib/speed.py": "TPOT = 0.02\n"})
    done = ab(folder, "benchmarks")
    assert done.returncode == 3
    assert errors(done) == [
        f"pytest-llmperf ab: pair 1 base: it imports speed from {lib / 'speed.py'}, which is not "
        "base's own tree; log: pair-01-base.log in out"
    ]
    assert not list((folder / "out").glob("pair-*.json"))


def test_a_module_that_is_imported_while_a_test_runs_is_seen_as_well(commit):
    folder = commit({"pytest.ini": "[pytest]\n", "lib/speed.py": "TPOT = 0.01\n"})
    late = f"\n    import sys\n    sys.path.insert(0, {str(folder / 'lib')!r})\n    import speed\n"
    commit({"benchmarks/test_m.py": TEST + late})
    commit({"lib/speed.py": "TPOT = 0.02\n"})
    done = ab(folder, "benchmarks")
    assert done.returncode == 3
    (line,) = errors(done)
    assert f"it imports speed from {folder / 'lib' / 'speed.py'}" in line


def test_tests_of_the_repository_in_both_sides_end_the_comparison(commit):
    folder = commit({"pytest.ini": "[pytest]\n"})
    commit({"benchmarks/test_m.py": TEST})
    done = ab(folder, f"{folder}/benchmarks")
    assert done.returncode == 3
    assert errors(done) == [
        f"pytest-llmperf ab: pair 1 base: pytest's rootdir is {folder}, which is not base's own "
        "tree; log: pair-01-base.log in out"
    ]


def test_an_ini_file_that_git_does_not_have_ends_the_comparison(ini_twice_as_slow):
    (ini_twice_as_slow / "mine.ini").write_text("[pytest]\n")
    done = ab(ini_twice_as_slow, "-c", f"{ini_twice_as_slow}/mine.ini", "--rootdir=.")
    assert done.returncode == 3
    (line,) = errors(done)
    assert f"pair 1 base: pytest's ini file is {ini_twice_as_slow}/mine.ini" in line


def test_what_was_measured_of_another_tree_does_not_count_when_it_goes_on(ini_twice_as_slow):
    done = ab(ini_twice_as_slow, "benchmarks")
    assert done.returncode == 1, done.stderr
    report = ini_twice_as_slow / "out" / "pair-02-head.jsonl"
    report.write_text(report.read_text() + json.dumps({"foreign": "it imports x from /x"}) + "\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest_llmperf.cli", "ab", "--resume=out"],
        cwd=ini_twice_as_slow,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 3
    (line,) = errors(done)
    assert "pair 2 head: it imports x from /x, which is not head's own tree" in line


def test_an_environment_inside_of_the_repository_is_shared(commit):
    commit({"benchmarks/test_m.py": TEST, "pytest.ini": INI.format(tpot=0.01)})
    folder = commit({".gitignore": "venv\n"})
    packages = folder / "venv" / "lib" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "other_package.py").write_text("")
    paths = os.pathsep.join([os.environ["PYTHONPATH"], str(packages)])
    done = ab(folder, "-p", "other_package", "benchmarks", PYTHONPATH=paths)
    assert done.returncode == 0, done.stderr


def test_a_path_of_the_ini_file_that_git_does_not_have_is_that_of_the_repository(commit, tmp_path):
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "config.json").write_text('{"model_type": "llama"}')
    ini = INI + "llm_model = own=../acme\nllm_cache_dir = cache\n"
    commit({"benchmarks/test_m.py": TEST, "pytest.ini": ini.format(tpot=0.01)})
    folder = commit({"pytest.ini": ini.format(tpot=0.02)})
    (folder / "cache").mkdir()
    done = ab(folder, "benchmarks")
    assert done.returncode == 1, done.stderr
    assert "test_m[own-simulated-none]" in done.stdout


def test_a_path_of_the_command_line_that_git_does_not_have_is_that_of_the_repository(
    ini_twice_as_slow,
):
    (ini_twice_as_slow / "acme").mkdir()
    (ini_twice_as_slow / "acme" / "config.json").write_text('{"model_type": "llama"}')
    done = ab(ini_twice_as_slow, "benchmarks", "--llm-model=own=acme/")
    assert done.returncode == 1, done.stderr
    assert "test_m[own-simulated-none]" in done.stdout
