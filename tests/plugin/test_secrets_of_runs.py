"""Secrets among the arguments are written to no file of a run or a comparison, and change no work."""

import json
import os
import subprocess
import sys

import pytest

from pytest_llmperf.ab import plan as plans
from pytest_llmperf.ab.sides import Side
from pytest_llmperf.cli.main import main
from pytest_llmperf.gate.comparable import noted_differences
from pytest_llmperf.gate.limits import LimitSettings
from pytest_llmperf.store.stored import read_run

SECRETS = ("hf_SECRET_A", "hf_SECRET_B")
ENGINE = """
from pytest_llmperf.backends.simulated import Program

own = Program.from_args
Program.from_args = lambda args: own({k: v for k, v in args.items() if k not in ("token", "extra")})
"""


def stored_with(run, pytester, *arguments):
    assert run("--benchmark-autosave", "--llm-isolation=none", *arguments).ret == 0
    return sorted(pytester.path.glob(".benchmarks/*/*.json"))[-1]


@pytest.fixture
def two_runs(pytester, llm_pytest_process, one_test):
    """The files of two runs that differ by a token only."""
    pytester.makeconftest(ENGINE)
    files = []
    for secret in SECRETS:
        nested = json.dumps({"api_key": secret, "n": 1})
        files.append(
            stored_with(
                llm_pytest_process,
                pytester,
                f"--llm-backend-arg=simulated.token={secret}",
                f"--llm-backend-arg=simulated.extra={nested}",
            )
        )
    return files


def test_a_stored_run_has_no_secret(two_runs):
    for file in two_runs:
        assert "SECRET" not in file.read_text()
        (test,) = read_run(file).tests.values()
        assert test.subject["simulated.extra"] == {"n": 1}
    record = json.loads(two_runs[0].read_text())["benchmarks"][0]["extra_info"]["llmperf"]
    assert record["backend"]["args"] == {"token": "***", "extra": {"api_key": "***", "n": 1}}


def test_another_token_is_the_same_work(two_runs):
    ((first,), (second,)) = (read_run(file).tests.values() for file in two_runs)
    assert first.workload["hash"] == second.workload["hash"]
    assert noted_differences(first, second) == []


def test_a_secret_that_an_earlier_release_stored_is_not_shown(two_runs):
    (first,) = read_run(two_runs[0]).tests.values()
    text = two_runs[1].read_text()
    two_runs[1].write_text(text.replace('"token": "***"', '"token": "hf_SECRET_B"'))
    (second,) = read_run(two_runs[1]).tests.values()
    assert noted_differences(first, second) == []


def test_a_mistake_in_an_argument_does_not_show_its_secret(llm_pytest, one_test):
    result = llm_pytest("--llm-backend-arg=token=hf_SECRET")
    assert result.ret == 4
    result.stderr.no_fnmatch_line("*SECRET*")


@pytest.fixture
def plan(tmp_path):
    """A plan with secrets everywhere, stored in the folder ``out``."""
    head = Side("head", args=("--llm-backend-arg=vllm.hf_token=SECRET",))
    made = plans.new(
        tmp_path,
        Side("base"),
        head,
        pytest_args=("-q", "--api-key", "SECRET"),
        setup="pip install --index-url https://user:SECRET@index x",
    )
    made.begin(tmp_path / "out")
    return made


def test_a_plan_holds_no_secret_and_no_setup_command(plan, tmp_path):
    text = (tmp_path / "out" / "plan.json").read_text()
    assert "SECRET" not in text
    assert "pip" not in text
    assert plan.names == ("base (as it is)", "head (--llm-backend-arg=vllm.hf_token=***)")


def test_secrets_are_given_again_when_it_goes_on(plan, tmp_path):
    withheld = plans.Withheld(setup=plan.setup, head_args=plan.head.args)
    resumed = plans.resumed(tmp_path / "out", plan.pytest_args, LimitSettings(), withheld)
    assert resumed == plan


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--setup=x", "--head-args=--llm-backend-arg=vllm.hf_token=X"],
            "plan.json holds no secrets: give the pytest arguments again",
        ),
        (
            ["--head-args=--llm-backend-arg=vllm.hf_token=X", "--", "-q", "--api-key", "X"],
            "plan.json holds no secrets: give --setup again",
        ),
        (
            ["--setup=x", "--", "-q", "--api-key", "X"],
            "plan.json holds no secrets: give --head-args again",
        ),
        (
            ["--setup=x", "--head-args=-x", "--", "-q", "--api-key", "X"],
            "--resume goes on with --head-args that it began with",
        ),
        (
            ["--base-args=-x"],
            "--resume goes on as planned: it takes limits and reports only",
        ),
    ],
)
def test_what_is_missing_is_named(plan, tmp_path, capsys, arguments, message):
    assert main(["ab", f"--resume={tmp_path / 'out'}", *arguments]) == 3
    assert capsys.readouterr().err == f"pytest-llmperf ab: {message}\n"


def test_a_comparison_publishes_no_secret(tmp_path):
    (tmp_path / "conftest.py").write_text(ENGINE)
    (tmp_path / "test_m.py").write_text(
        "def test_m(llm, llm_benchmark):\n"
        "    llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)\n"
    )
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    sides = [
        f"--{side}-args=--llm-backend-arg=simulated.token={secret}"
        for side, secret in zip(("base", "head"), SECRETS, strict=True)
    ]
    options = ["--pairs=2", "--more-pairs=0", "--min-effect=90%", "--must-see=99%", "--out=out"]
    setup = "--setup=true https://user:SECRET@index"
    engine = ["--llm-backend=simulated", "--llm-isolation=none", "-Wdefault"]
    command = [sys.executable, "-m", "pytest_llmperf.cli", "ab", *sides, *options, setup, "--"]
    done = subprocess.run(
        [*command, *engine],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "SECRET" not in done.stdout + done.stderr
    for file in (tmp_path / "out").iterdir():
        assert "SECRET" not in file.read_text(), file
