"""Rounds go on until medians are known: from the command line to the table and the stored record."""

import pytest

CELL = "smollm2-135m-simulated-none"
BY_NEED = """
import pytest

def test_x(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=3, warmup=0)
"""


@pytest.fixture
def measured(pytester, llm_pytest, records):
    """Run a test; return its record and the run."""

    def run(source, *options, **program):
        pytester.makepyfile(source)
        done = llm_pytest("--benchmark-autosave", *options, **program)
        done.assert_outcomes(passed=1)
        (record,) = records().values()
        return record, done

    return run


@pytest.mark.timing
def test_known_truth_comes_back_from_rounds_by_need(measured):
    record, _ = measured(BY_NEED, "--llm-max-time=8", ttft=0.1, tpot=0.05)
    medians = {key: record["metrics"][key]["p50"] for key in ("ttft", "tpot", "e2e")}
    assert medians == pytest.approx({"ttft": 0.1, "tpot": 0.05, "e2e": 0.2}, rel=0.01)
    assert record["workload"]["rounds"] >= 10


def test_rounds_end_when_their_medians_are_known_and_are_not_marked(measured):
    record, run = measured(
        BY_NEED, "--llm-precision=90%", "--llm-max-time=60", ttft=0.02, tpot=0.01
    )
    work = record["workload"]
    assert (work["precision"], work["max_time"]) == (0.9, 60)
    # Ten without noise (tests/unit/test_ending.py), and this machine may have some.
    assert work["rounds"] == record["metrics"]["ttft"]["n"] >= 10
    assert record["metrics"]["ttft"]["half_interval"] < 0.9
    assert "imprecise" not in record["metrics"]["ttft"]
    assert "half_interval" not in record["metrics"]["load_time"]
    assert "~" not in "\n".join(line for line in run.outlines if CELL in line)


def test_noisy_rounds_go_on(measured):
    record, _ = measured(
        BY_NEED, "--llm-precision=20%", "--llm-max-time=60", ttft=0.004, tpot=0.001, jitter=0.6
    )
    assert record["workload"]["rounds"] > 10
    assert record["metrics"]["ttft"]["half_interval"] <= 0.2


def test_rounds_end_when_their_time_is_spent_and_the_medians_are_marked(measured):
    record, run = measured(BY_NEED, "--llm-max-time=0.6", ttft=0.02, tpot=0.01, jitter=0.5)
    assert 3 <= record["workload"]["rounds"] <= 60
    assert record["metrics"]["ttft"]["imprecise"] is True
    (row,) = [line for line in run.outlines if line.startswith(CELL)]
    assert "~" in row
    run.stdout.fnmatch_lines(["*~: not known to 1 % (--llm-precision) when its time was spent*"])


def test_a_smallest_number_takes_the_time_that_it_takes(measured):
    options = ("--llm-max-time=0.001", "--llm-min-rounds=6")
    assert measured(BY_NEED, *options, jitter=0.5)[0]["workload"]["rounds"] == 6


def test_a_fixed_number_is_neither_changed_nor_marked(measured):
    record, run = measured(
        BY_NEED.replace("warmup=0", "warmup=0, rounds=7"), "--llm-precision=0.1%", jitter=0.5
    )
    assert record["workload"]["rounds"] == 7
    assert not {"precision", "max_time"} & record["workload"].keys()
    assert "~" not in "\n".join(line for line in run.outlines if CELL in line)


@pytest.mark.parametrize(
    "source",
    [
        BY_NEED.replace("warmup=0", "warmup=0, precision='80%', max_time=50, min_rounds=12"),
        BY_NEED.replace(
            "def test",
            "@pytest.mark.llm_rounds(precision=0.8, max_time=50, min_rounds=12)\ndef test",
        ),
    ],
    ids=["argument", "marker"],
)
def test_a_test_has_its_own_precision(measured, source):
    work = measured(source)[0]["workload"]
    assert (work["precision"], work["max_time"]) == (0.8, 50)
    assert work["rounds"] >= 12


def test_a_marker_fixes_the_number(measured):
    source = BY_NEED.replace("def test", "@pytest.mark.llm_rounds(rounds=4)\ndef test")
    assert measured(source)[0]["workload"]["rounds"] == 4


def test_the_ini_file_has_the_precision(pytester, measured):
    pytester.makeini("[pytest]\nllm_precision = 70%\nllm_max_time = 40\nllm_min_rounds = 11\n")
    work = measured(BY_NEED)[0]["workload"]
    assert (work["precision"], work["max_time"]) == (0.7, 40)
    assert work["rounds"] >= 11


def test_rounds_by_need_are_the_same_work(measured):
    by_need = measured(BY_NEED, "--llm-precision=80%")[0]["workload"]
    fixed = measured(BY_NEED, "--llm-rounds=3")[0]["workload"]
    assert (by_need["hash"], by_need["requests"]) == (fixed["hash"], fixed["requests"])


def test_a_percentile_gets_its_samples(measured):
    record, _ = measured(
        BY_NEED, "--llm-fail-if=ttft.p90:9s", "--llm-max-time=60", ttft=0.001, tpot=0.001
    )
    assert record["metrics"]["ttft"]["n"] >= 50


def test_a_percentile_without_the_time_for_its_samples_fails_with_their_number(
    pytester, llm_pytest
):
    pytester.makepyfile(BY_NEED)
    run = llm_pytest("--llm-fail-if=ttft.p99:9s", "--llm-max-time=0.5", ttft=0.05)
    run.assert_outcomes(failed=1)
    run.stdout.fnmatch_lines(
        [
            "*too few samples: ttft.p99 has * within --llm-max-time=0.5 and needs 500, which "
            "--llm-rounds=500 gives (--llm-fail-if)"
        ]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "precision=0",
            "precision must be a share between 0 and 100 %, such as '2%' or 0.02, not 0",
        ),
        (
            "max_time='long'",
            "max_time must be seconds, above 0 and at most 1,000,000,000, not 'long'",
        ),
        ("rounds=2, min_rounds=3", "rounds= fixes the number of rounds: leave min_rounds= out*"),
    ],
)
def test_a_wrong_argument_fails_the_test_in_one_line(pytester, llm_pytest, call, message):
    pytester.makepyfile(BY_NEED.replace("warmup=0", call))
    run = llm_pytest()
    run.assert_outcomes(failed=1)
    run.stdout.fnmatch_lines([f"E*ValueError: {message}"])


def test_a_wrong_marker_ends_the_run_before_a_model_loads(pytester, llm_pytest):
    pytester.makepyfile(
        BY_NEED.replace("def test", "@pytest.mark.llm_rounds(precision='2')\ndef test")
    )
    run = llm_pytest()
    assert run.ret == 4
    run.stderr.fnmatch_lines(
        ["ERROR: *test_x*: @pytest.mark.llm_rounds: precision must be a share*"]
    )


def test_a_run_that_measures_nothing_has_one_round(pytester, llm_pytest):
    pytester.makepyfile(BY_NEED)
    llm_pytest("--benchmark-disable").assert_outcomes(passed=1)
