"""``pytest-llmperf ab``: what happened to a test is what pytest reports, however it is shown."""

import json
import os
import subprocess
import sys

import pytest

TEST = """
import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_m(llm, llm_benchmark, n):
    print("a line")
    {before}
    llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
"""
SKIP = 'n == 2 and pytest.skip("an engine is missing")'
FAIL = 'assert n == 1, "no engine"'
XFAIL = 'n == 2 and pytest.xfail("not yet")'
CELL = "smollm2-135m-simulated-none"
PYTEST = ("--llm-backend=simulated", "--llm-isolation=none", "--llm-metrics=tpot", "-Wdefault")
OPTIONS = ("--pairs=2", "--more-pairs=0", "--out=out", "--min-effect=90%", "--must-see=99%")
GIT = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")


@pytest.fixture
def ab(tmp_path):
    """Compare a test file as it is before and after: ``ab(path, before, after, *pytest arguments)``.

    Gives the finished process and the tests that the verdict calls broken.
    """

    def run(path, before, after, *arguments):
        def git(*words):
            subprocess.run(["git", *GIT, *words], cwd=tmp_path, capture_output=True, check=True)

        git("init", "-q")
        (tmp_path / path).parent.mkdir(parents=True)
        for content in (before, after):
            (tmp_path / path).write_text(content)
            git("add", "-A")
            git("commit", "-qm", "a commit")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "GIT_"))}
        command = [sys.executable, "-m", "pytest_llmperf.cli", "ab", "--base=HEAD~1", *OPTIONS]
        done = subprocess.run(
            [*command, "--", *PYTEST, *arguments],
            cwd=tmp_path,
            env=inherited,
            capture_output=True,
            text=True,
            timeout=120,
        )
        verdict = tmp_path / "out" / "verdict.json"
        return done, json.loads(verdict.read_text())["broken"] if verdict.exists() else None

    return run


def file_with(before="pass"):
    return TEST.format(before=before)


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("my bench/test_m.py", []),
        ("bench/test_m.py", ["-s"]),
        ("bench/test_m.py", ["-o", "log_cli=true", "--log-cli-level=DEBUG"]),
    ],
)
def test_what_head_skips_is_broken_however_it_is_shown(ab, path, arguments):
    done, broken = ab(path, file_with(), file_with(SKIP), *arguments)
    assert done.returncode == 3, done.stderr
    assert broken == [f"{path}::test_m[{CELL}-2]"]


def test_a_test_that_fails_is_named(ab):
    path = "my bench/test_m.py"
    done, broken = ab(path, file_with(), file_with(FAIL), "-s")
    named = f"failed: pair 1 head: {path}::test_m[{CELL}-2] failed; log: pair-01-head.log"
    assert named in done.stderr.splitlines()
    assert done.returncode == 3
    assert broken == [f"{path}::test_m[{CELL}-2]"]


def test_a_test_that_head_expects_to_fail_is_broken(ab):
    done, broken = ab("bench/test_m.py", file_with(), file_with(XFAIL))
    assert done.returncode == 3, done.stderr
    assert broken == [f"bench/test_m.py::test_m[{CELL}-2]"]


def test_a_module_that_head_skips_is_broken(ab, tmp_path):
    skipped = 'import pytest\n\npytest.importorskip("no_such_engine")\n' + file_with()
    (tmp_path / "test_other.py").write_text(file_with())
    done, broken = ab("bench/test_m.py", file_with(), skipped)
    assert done.returncode == 3, done.stderr
    assert broken == ["bench/test_m.py"]


def test_a_new_test_that_is_skipped_is_not_broken(ab):
    more = "\n\ndef test_new():\n    pytest.skip('on a GPU only')\n"
    done, broken = ab("bench/test_m.py", file_with(), file_with() + more)
    assert done.returncode == 0, done.stderr
    assert broken == []


def test_a_test_that_base_skips_as_well_is_not_broken(ab):
    done, broken = ab("bench/test_m.py", file_with(SKIP), file_with(SKIP) + "\n")
    assert done.returncode == 0, done.stderr
    assert broken == []
