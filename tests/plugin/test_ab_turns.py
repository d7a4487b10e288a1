"""``pytest-llmperf ab`` with both sides loaded at once: their rounds alternate, and no side blocks."""

import itertools
import json
import os
import signal
import subprocess
import sys

import pytest

CELL = "smollm2-135m-simulated-none"
TESTS = """
import json
from pathlib import Path

import pytest

@pytest.mark.parametrize("output_len", [3, 5])
def test_x(llm, llm_benchmark, output_len, request):
    result = llm_benchmark(llm, input_len=8, output_len=output_len)
    side = request.config.getoption("benchmark_json").stem
    rounds = [round.requests[0] for round in result.measurement.rounds]
    times = [[request.submitted, request.times[-1]] for request in rounds]
    Path(f"{side}-{output_len}.times").write_text(json.dumps(times))
"""
SIMULATED = ("--llm-backend=simulated", "--llm-rounds=5", "-pno:cacheprovider", "-Wdefault")
# No pair is judged here.
LIMITS = ("--pairs=2", "--more-pairs=0", "--min-effect=99%", "--must-see=99%", "--out=out")


class Comparison:
    """A finished ``ab``: its lines and its runs."""

    def __init__(self, folder, code, stdout, stderr):
        self.folder, self.code, self.stdout, self.stderr = folder, code, stdout, stderr

    @property
    def verdict(self):
        return json.loads((self.folder / "out" / "verdict.json").read_text())

    def records(self, side, pair=1):
        """The records of a run by the sizes of their tests."""
        file = self.folder / "out" / f"pair-{pair:02}-{side}.json"
        found = {}
        for benchmark in json.loads(file.read_text())["benchmarks"]:
            record = benchmark["extra_info"].get("llmperf", {})
            if "workload" in record:
                found[record["workload"]["output_tokens"]] = record
        return found

    def in_turns(self, side, pair=1):
        """The share of the rounds that alternated, by the sizes of the tests."""
        records = self.records(side, pair).items()
        return {size: r["environment"]["conditions"].get("in_turns", 0) for size, r in records}

    def times(self, side, size, pair=1):
        """When each round began and ended, by the clock that all processes have in common."""
        return json.loads((self.folder / f"pair-{pair:02}-{side}-{size}.times").read_text())


def start(folder, *arguments, tests=TESTS, pytest_args=SIMULATED):
    (folder / "test_m.py").write_text(tests)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "GIT_"))}
    if cache := os.environ.get("PYTEST_LLMPERF_CACHE"):
        environment["PYTEST_LLMPERF_CACHE"] = cache
    command = [sys.executable, "-m", "pytest_llmperf.cli", "ab", *arguments]
    command += [] if any(a.startswith("--resume") for a in arguments) else ["--", *pytest_args]
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**environment, "COLUMNS": "200", "COMPARISON": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def ab(folder, *arguments, **options):
    process = start(folder, *LIMITS, *arguments, **options)
    try:
        stdout, stderr = process.communicate(timeout=180)
    finally:
        process.kill()
        process.wait(10)
    return Comparison(folder, process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def slower(tmp_path_factory):
    """Head has 10 % more time per token; rounds by need."""
    arguments = ("--llm-precision=1%", "--llm-max-time=3", *SIMULATED[2:])
    return ab(
        tmp_path_factory.mktemp("slower"),
        "--head-args=--llm-backend-arg=simulated.tpot=0.011",
        pytest_args=(
            "--llm-backend=simulated",
            "--llm-backend-arg=simulated.tpot=0.01",
            *arguments,
        ),
    )


@pytest.mark.timing
def test_the_programmed_slowdown_comes_back(slower):
    assert slower.code == 0, slower.stderr
    found = [e["effect"] for e in slower.verdict["entries"] if e["metric"] == "tpot"]
    assert found == [pytest.approx(0.1, abs=0.01)] * 2


def test_no_round_overlaps_one_of_the_other_side_and_their_order_alternates(slower):
    for pair, begins in ((1, "base"), (2, "head")):
        for size in (3, 5):
            other = {"base": "head", "head": "base"}
            rounds = sorted(
                (*times, side) for side in other for times in slower.times(side, size, pair)
            )
            assert all(end < begin for (_, end, _), (begin, _, _) in itertools.pairwise(rounds))
            sides = [side for _, _, side in rounds]
            firsts, seconds = sides[::2], sides[1::2]
            assert firsts == [
                begins if number % 2 == 0 else other[begins] for number in range(len(firsts))
            ]
            assert seconds == [other[side] for side in firsts]


def test_both_sides_have_the_same_number_of_rounds_by_need(slower):
    for pair in (1, 2):
        base, head = (slower.records(side, pair) for side in ("base", "head"))
        for size in (3, 5):
            assert base[size]["workload"]["rounds"] == head[size]["workload"]["rounds"]


def test_the_verdict_says_that_rounds_alternated(slower):
    assert slower.verdict["settings"]["in_turns"] == [8, 8]
    assert slower.verdict["settings"]["one_by_one"] == []
    line = "note: rounds of both sides alternated in 8 of 8 measurements"
    assert line in slower.stdout.splitlines()
    assert slower.in_turns("base") == slower.in_turns("head") == {3: 1, 5: 1}


def test_a_finished_comparison_is_judged_again_as_it_was(slower):
    process = start(slower.folder, "--resume=out")
    stdout, stderr = process.communicate(timeout=60)
    assert "pair" not in stderr.replace("--pairs", "")
    assert stdout.splitlines() == slower.stdout.splitlines()


def test_without_turns_one_side_runs_after_the_other(tmp_path):
    done = ab(tmp_path, "--no-in-turns", "--head-args=--llm-warmup=2")
    assert done.code == 0, done.stderr
    assert done.verdict["settings"]["in_turns"] == [0, 8]
    assert "alternated" not in done.stdout
    names = [line.partition(" (")[0] for line in done.stderr.splitlines() if "to go" in line]
    assert names == ["pair 1 base", "pair 1 head", "pair 2 head", "pair 2 base"]
    _, end = done.times("base", 5)[-1]
    begin, _ = done.times("head", 3)[0]
    assert end < begin


def test_another_number_of_rounds_leaves_the_rest_alone(tmp_path):
    done = ab(tmp_path, "--head-args=--llm-rounds=8")
    assert done.code == 0, done.stderr
    assert done.in_turns("base") == {3: 1, 5: 1}
    assert done.in_turns("head") == {3: 5 / 8, 5: 5 / 8}


@pytest.mark.parametrize(
    "fault",
    [
        "simulated.hang_at=5 --llm-round-timeout=2",
        "simulated.crash_at=5",
        "simulated.stop_at=1",
    ],
)
def test_a_side_that_fails_in_a_round_does_not_keep_the_other_one(tmp_path, fault):
    done = ab(tmp_path, f"--head-args=--llm-backend-arg={fault}")
    assert done.code == 3, done.stderr
    for pair in (1, 2):
        rounds = {size: r["workload"]["rounds"] for size, r in done.records("base", pair).items()}
        assert rounds == {3: 5, 5: 5}
    assert sum(line.startswith("failed: pair 1 head: ") for line in done.stderr.splitlines()) >= 1


def test_a_side_that_fails_to_load_does_not_keep_the_other_one(tmp_path):
    done = ab(tmp_path, "--head-args=--llm-backend-arg=simulated.load_time=60 --llm-timeout=1")
    assert done.code == 3, done.stderr
    for pair in (1, 2):
        assert done.in_turns("base", pair) == {3: 0, 5: 0}
    assert "no answer for 1 s (--llm-timeout)" in (done.folder / "out/pair-01-head.log").read_text()


@pytest.mark.parametrize("side", ["base", "head"])
def test_a_test_that_one_side_has_not_is_measured_alone(tmp_path, side):
    done = ab(tmp_path, f"--{side}-args=-k none-5")
    assert done.code == 0, done.stderr
    (other,) = {"base", "head"} - {side}
    for pair in (1, 2):
        assert done.in_turns(side, pair) == {5: 1}
        assert done.in_turns(other, pair) == {3: 0, 5: 1}


def test_a_release_without_turns_runs_after_the_other_side(tmp_path):
    # A package that only says that it is one: the interpreter of head finds it first.
    (tmp_path / "old" / "pytest_llmperf").mkdir(parents=True)
    (tmp_path / "old" / "pytest_llmperf" / "__init__.py").touch()
    python = tmp_path / "old" / "python"
    python.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] && export PYTHONPATH={tmp_path}/old\nexec {sys.executable} "$@"\n'
    )
    python.chmod(0o755)
    done = ab(tmp_path, f"--head-python={python}")
    assert done.code == 0, done.stderr
    reason = "head's pytest-llmperf cannot take turns"
    assert done.verdict["settings"]["one_by_one"] == [reason]
    assert f"note: one side after the other: {reason}" in done.stdout.splitlines()
    assert done.in_turns("head") == {3: 0, 5: 0}


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_an_end_while_a_side_waits_for_the_other_one_leaves_nothing_running(
    tmp_path, wait_until, is_comparison_running, ending
):
    hang = "import time\nfrom pathlib import Path\n" + TESTS.replace(
        "    result = ",
        "    side = request.config.getoption('benchmark_json')\n"
        "    if 'head' in side.name and not Path('go-on').exists():\n"
        "        Path('waiting').touch()\n"
        "        time.sleep(60)\n"
        "    result = ",
    )
    process = start(tmp_path, *LIMITS, "--head-args=--llm-warmup=2", tests=hang)
    wait_until((tmp_path / "waiting").exists, "the first test of head", 60)
    process.send_signal(ending)
    process.communicate(timeout=60)
    wait_until(lambda: not is_comparison_running(tmp_path), "the end of both sides", 30)
    (tmp_path / "go-on").touch()
    process = start(tmp_path, "--resume=out", tests=hang)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert "rounds of both sides alternated in 8 of 8 measurements" in stdout


def test_a_temporary_folder_that_is_no_place_for_a_socket_is_named(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    done = ab(tmp_path, "--head-args=--llm-warmup=2")
    assert done.code == 0, done.stderr
    (reason,) = done.verdict["settings"]["one_by_one"]
    assert reason == "no socket can be made in the temporary folder: AF_UNIX path too long"


def test_a_spent_budget_is_named_and_the_rest_can_be_measured_later(tmp_path):
    done = ab(tmp_path, "--budget=0min", "--head-args=--llm-warmup=2")
    assert done.code == 3, done.stderr
    line = "--budget: 1 of 2 pairs; one more would have taken too long"
    assert line in done.stderr.splitlines()
    assert f"note: {line}" in done.stdout.splitlines()
    process = start(tmp_path, "--resume=out")
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert "--budget" not in stdout
