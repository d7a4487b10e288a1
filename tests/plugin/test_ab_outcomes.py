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


@pytest.fixture(scope="module")
def ab(tmp_path_factory):
    """Compare files as they are before and after: ``ab(before, after, *pytest arguments)``.

    Gives the finished process and the tests that the verdict calls broken.
    """

    def run(before, after, *arguments):
        folder = tmp_path_factory.mktemp("project")

        def git(*words):
            subprocess.run(["git", *GIT, *words], cwd=folder, capture_output=True, check=True)

        git("init", "-q")
        for files in (before, after):
            for path, content in files.items():
                (folder / path).parent.mkdir(exist_ok=True)
                (folder / path).write_text(content)
            git("add", "-A")
            git("commit", "-qm", "a commit")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "GIT_"))}
        command = [sys.executable, "-m", "pytest_llmperf.cli", "ab", "--base=HEAD~1", *OPTIONS]
        done = subprocess.run(
            [*command, "--", *PYTEST, *arguments],
            cwd=folder,
            env=inherited,
            capture_output=True,
            text=True,
            timeout=120,
        )
        verdict = folder / "out" / "verdict.json"
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
    done, broken = ab({path: file_with()}, {path: file_with(SKIP)}, *arguments)
    assert done.returncode == 3, done.stderr
    assert broken == [f"{path}::test_m[{CELL}-2]"]


FAILS, XFAILS, MODULE = "my bench/test_fails.py", "bench/test_xfails.py", "bench/test_module.py"


@pytest.fixture(scope="module")
def three_kinds(ab):
    """A comparison whose head has a test that fails, one that is expected to, and a skipped module."""
    importorskip = 'import pytest\n\npytest.importorskip("no_such_engine")\n'
    return ab(
        dict.fromkeys((FAILS, XFAILS, MODULE), file_with()),
        {FAILS: file_with(FAIL), XFAILS: file_with(XFAIL), MODULE: importorskip + file_with()},
        "-s",
    )


def test_a_test_that_fails_is_named(three_kinds):
    done, broken = three_kinds
    named = f"failed: pair 1 head: {FAILS}::test_m[{CELL}-2] failed; log: pair-01-head.log"
    assert named in done.stderr.splitlines()
    assert done.returncode == 3
    assert [test for test in broken if test.startswith(FAILS)] == [f"{FAILS}::test_m[{CELL}-2]"]


def test_a_test_that_head_expects_to_fail_is_broken(three_kinds):
    done, broken = three_kinds
    assert done.returncode == 3, done.stderr
    assert [test for test in broken if test.startswith(XFAILS)] == [f"{XFAILS}::test_m[{CELL}-2]"]


def test_a_module_that_head_skips_is_broken(three_kinds):
    done, broken = three_kinds
    assert done.returncode == 3, done.stderr
    assert [test for test in broken if test.startswith(MODULE)] == [MODULE]
    assert len(broken) == 3


@pytest.fixture(scope="module")
def skipped_in_order(ab):
    """A comparison of sides that skip the same test; head skips a new one besides."""
    new = "\n\ndef test_new():\n    pytest.skip('on a GPU only')\n"
    path = "bench/test_m.py"
    return ab({path: file_with(SKIP)}, {path: file_with(SKIP) + new})


def test_a_new_test_that_is_skipped_is_not_broken(skipped_in_order):
    done, broken = skipped_in_order
    assert done.returncode == 0, done.stderr
    assert broken == []


def test_a_test_that_base_skips_as_well_is_not_broken(skipped_in_order):
    done, broken = skipped_in_order
    assert done.returncode == 0, done.stderr
    assert broken == []
