"""Budgets: a test over one fails, and its measurement is kept all the same."""

import json

import pytest

# Imported here, so that the runs inside find it and do not import a copy of their own.
from pytest_llmperf.backends import simulated

CELL = "smollm2-135m-simulated-none"
TEST = f"test_speed.py::test_x[{CELL}]"


def errors(run):
    return [line for line in run.errlines if line]


def lines(run, beginning):
    """The lines of a failed test. (On CI pytest's short summary has whole messages once more.)"""
    failures = "\n".join(run.outlines).partition("short test summary info")[0]
    return [line for line in failures.splitlines() if line.startswith(beginning)]


@pytest.mark.parametrize(
    "limit",
    [
        "ttft.p50:10ms",
        "ttft.mean:0.01s",
        "ttft.min:10000us",
        "output_throughput.max:1000",
        "peak_memory.max:63MiB",
        "load_time.max:50ms",
    ],
)
@pytest.mark.usefixtures("one_test")
def test_a_test_over_its_budget_fails_and_its_measurement_is_kept(llm_pytest, records, limit):
    run = llm_pytest("--benchmark-autosave", f"--llm-fail-if={limit}", load_time=0.1)
    assert run.ret == 1
    run.assert_outcomes(failed=1)
    (line,) = lines(run, "over budget")
    assert line.startswith(f"over budget: {limit.partition(':')[0]} is ")
    assert line.endswith(" (--llm-fail-if)")
    assert "Traceback" not in run.stdout.str()
    ttft = records()[f"test_x[{CELL}]"]["metrics"]["ttft"]
    assert ttft["n"] == 3
    assert ttft["min"] == pytest.approx(0.02, rel=1)


@pytest.mark.parametrize(
    "limit",
    [
        "ttft.p50:200ms",
        "output_throughput.max:15",
        "peak_memory.max:64MiB",
        "load_time.max:60s",
        "goodput.mean:1000",
        "icl.p50:1us",
    ],
)
@pytest.mark.usefixtures("one_test")
def test_a_test_within_its_budget_passes(llm_pytest, limit):
    llm_pytest(f"--llm-fail-if={limit}").assert_outcomes(passed=1)


@pytest.mark.usefixtures("one_test")
def test_every_broken_budget_has_a_line(llm_pytest):
    run = llm_pytest(
        "--llm-fail-if=ttft.p50:10ms", "--llm-fail-if=e2e.p50:9s", "--llm-fail-if=tpot.p50:1ms"
    )
    run.assert_outcomes(failed=1)
    found = lines(run, "over budget")
    assert [line.split(" is ")[0] for line in found] == [
        "over budget: ttft.p50",
        "over budget: tpot.p50",
    ]
    assert ", the limit is 10 ms (--llm-fail-if)" in found[0]


@pytest.mark.usefixtures("one_test")
def test_the_ini_file_has_budgets_and_the_command_line_replaces_them(pytester, llm_pytest):
    pytester.makeini("[pytest]\nllm_fail_if =\n  ttft.p50:10ms\n  tpot.p50:1ms\n")
    run = llm_pytest()
    run.assert_outcomes(failed=1)
    assert len(lines(run, "over budget")) == 2
    llm_pytest("--llm-fail-if=ttft.p50:200ms").assert_outcomes(passed=1)


def test_load_time_of_its_own_test_has_a_budget(pytester, llm_pytest, records):
    pytester.makepyfile("def test_load(llm, llm_benchmark): llm_benchmark.load(llm)")
    limits = ["--llm-fail-if=load_time.p50:50ms", "--llm-fail-if=ttft.p99:1us"]
    run = llm_pytest("--benchmark-autosave", *limits, load_time=0.1)
    run.assert_outcomes(failed=1)
    (line,) = lines(run, "over budget")
    assert line.startswith("over budget: load_time.p50 is ")
    assert records()[f"test_load[{CELL}]"]["metrics"]["load_time"]["n"] == 1


@pytest.mark.usefixtures("one_test")
def test_nothing_is_judged_when_benchmarks_are_disabled(llm_pytest):
    limits = ["ttft.p50:10ms", "ttft.p99:1s", "ttft.p50:+5%"]
    run = llm_pytest("--benchmark-disable", *(f"--llm-fail-if={limit}" for limit in limits))
    run.assert_outcomes(passed=1)


def test_a_test_that_cannot_carry_a_percentile_fails_before_it_measures(pytester, llm_pytest):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=4, batch_size=4, rounds=3, warmup=0)
    """)
    # Its first request would end the engine.
    run = llm_pytest("--llm-fail-if=ttft.p95:1s", crash_at=0)
    assert run.ret == 1
    run.assert_outcomes(failed=1)
    assert lines(run, "too few samples") == [
        "too few samples: ttft.p95 would have 12 and needs 100, which --llm-rounds=25 gives "
        "(--llm-fail-if)"
    ]
    assert "ttft ms" not in run.stdout.str()


@pytest.mark.usefixtures("one_test")
def test_the_rounds_that_the_line_names_carry_it(llm_pytest):
    run = llm_pytest("--llm-fail-if=ttft.p90:10s", "--llm-rounds=49", ttft=0.001, tpot=0.0001)
    assert "would have 49 and needs 50, which --llm-rounds=50 gives" in run.stdout.str()
    run = llm_pytest("--llm-fail-if=ttft.p90:10s", "--llm-rounds=50", ttft=0.001, tpot=0.0001)
    run.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("ttft.p95", "'ttft.p95' is not of the form METRIC.STAT:LIMIT, e.g. ttft.p95:200ms"),
        (
            "tpot.p50:-5%",
            "'tpot.p50:-5%': lower is better for tpot, so a relative limit is +5%",
        ),
        (
            "peak_memory.max:4GB",
            "'peak_memory.max:4GB': a memory takes MiB or GiB (bare: MiB), not 'GB'",
        ),
    ],
)
@pytest.mark.usefixtures("one_test")
def test_a_mistake_ends_the_run_before_it_starts(llm_pytest, limit, message):
    run = llm_pytest(f"--llm-fail-if={limit}")
    assert run.ret == 4
    assert errors(run) == [f"ERROR: --llm-fail-if: {message}"]


@pytest.fixture
def speed(monkeypatch):
    """Make every engine of this process slower, its arguments (so its work) unchanged."""

    def slower(factor):
        monkeypatch.setattr(simulated, "_log_normal", lambda source, cv: factor)

    return slower


@pytest.fixture
def run_here(llm_pytest):
    """A run with the engine in this process, where ``speed`` reaches it."""
    return lambda *extra: llm_pytest("--llm-isolation=none", *extra)


RELATIVE = ("--llm-fail-if=ttft.p50:+100%", "--llm-fail-if=output_throughput.p50:-50%")


@pytest.mark.timing
@pytest.mark.usefixtures("one_test")
def test_a_relative_budget_compares_with_the_stored_runs(run_here, speed, stored_files):
    run_here("--benchmark-autosave").assert_outcomes(passed=1)
    run_here(*RELATIVE).assert_outcomes(passed=1)
    speed(2)  # Once for the process and once for the round: four times as slow.
    run = run_here("--benchmark-autosave", *RELATIVE)
    assert run.ret == 1
    run.assert_outcomes(failed=1)
    ttft, throughput = lines(run, "over budget")
    assert ttft.startswith("over budget: ttft.p50 is ")
    assert ttft.endswith(" ms +100 % (--llm-fail-if)")
    assert ", the baseline's " in ttft
    assert throughput.startswith("over budget: output_throughput.p50 is ")
    assert throughput.endswith(" tokens/s -50 % (--llm-fail-if)")
    assert len(stored_files()) == 2


@pytest.mark.timing
@pytest.mark.usefixtures("one_test")
def test_the_baseline_is_the_median_of_the_newest_runs(run_here, speed, stored_files):
    # Thirty slow runs and twenty fast ones after them: the slow ones are too old to count.
    run_here("--benchmark-autosave").assert_outcomes(passed=1)
    (first,) = stored_files()
    for i in range(49):
        file = first.with_name(f"{i + 2:04}_copy.json")
        slower = 100 if i < 30 else 1
        file.write_text(_changed(first, started_at=f"2020-01-01T00:{i:02}:00", slower=slower))
    run_here("--llm-fail-if=ttft.p50:+100%").assert_outcomes(passed=1)
    speed(2)  # Once for the process and once for the round: four times as slow.
    run = run_here("--llm-fail-if=ttft.p50:+100%")
    run.assert_outcomes(failed=1)
    for file in stored_files()[1:15]:
        file.write_text(_changed(first, started_at="2020-02-01", slower=100))
    run_here("--llm-fail-if=ttft.p50:+100%").assert_outcomes(passed=1)


def _changed(file, started_at, slower):
    run = json.loads(file.read_text())
    for entry in run["benchmarks"]:
        record = entry["extra_info"]["llmperf"]
        if "metrics" in record:
            record["run"]["started_at"] = started_at
            record["metrics"]["ttft"]["p50"] *= slower
    return json.dumps(run)


@pytest.mark.usefixtures("one_test")
def test_a_relative_budget_without_any_stored_run_ends_the_run(llm_pytest):
    run = llm_pytest("--llm-fail-if=ttft.p50:1s", "--llm-fail-if=tpot.p50:+5%")
    assert run.ret == 4
    assert errors(run) == [
        "ERROR: --llm-fail-if: 'tpot.p50:+5%' needs a baseline: no stored run in .benchmarks "
        "(save one with --benchmark-autosave)"
    ]
    llm_pytest("--llm-fail-if=tpot.p50:+5%", "--collect-only").stdout.fnmatch_lines([f"*{CELL}*"])


@pytest.mark.usefixtures("one_test")
def test_files_that_are_no_stored_run_are_named(pytester, llm_pytest):
    folder = pytester.mkdir(".benchmarks")
    (folder / "0001_damaged.json").write_text("{")
    run = llm_pytest("--llm-fail-if=tpot.p50:+5%")
    assert run.ret == 4
    (line,) = errors(run)
    assert "no stored run in .benchmarks (save one with --benchmark-autosave); left out: " in line
    assert "0001_damaged.json: is not complete JSON" in line


def test_a_run_without_a_test_of_ours_needs_no_baseline(pytester, one_test, llm_pytest):
    pytester.makeini("[pytest]\nllm_fail_if = tpot.p50:+5%\n")
    pytester.makepyfile(test_other="def test_ordinary(): pass")
    llm_pytest("-k", "ordinary").assert_outcomes(passed=1, deselected=1)
    pytester.runpytest_inprocess("test_other.py").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    "other", [["--llm-rounds=1"], ["--llm-output-len=3"], ["--llm-backend-arg=simulated.tpot=0.02"]]
)
@pytest.mark.usefixtures("one_test")
def test_a_test_that_the_baseline_lacks_passes_and_is_named(llm_pytest, other):
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
    run = llm_pytest("--llm-fail-if=e2e.p50:+400%", *other)
    run.assert_outcomes(passed=1)
    named = lines(run, "no baseline for ")
    if other == ["--llm-rounds=1"]:
        assert named == []  # Rounds repeat the work and are not part of it.
    else:
        (line,) = named
        assert line.startswith(f"no baseline for {TEST[:-1]}")
        assert line.endswith(" (e2e.p50; same work, same hardware)")


@pytest.mark.usefixtures("one_test")
def test_runs_on_other_hardware_are_no_baseline(llm_pytest, stored_files):
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
    (file,) = stored_files()
    run = json.loads(file.read_text())
    run["benchmarks"][0]["extra_info"]["llmperf"]["environment"]["cpu"] = "another"
    file.write_text(json.dumps(run))
    result = llm_pytest("--llm-fail-if=e2e.p50:+400%")
    result.assert_outcomes(passed=1)
    assert lines(result, "no baseline for ") == [
        f"no baseline for {TEST} (e2e.p50; same work, same hardware)"
    ]


@pytest.mark.usefixtures("one_test")
def test_what_the_gate_found_regressed_is_no_baseline(llm_pytest, stored_files):
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
    (file,) = stored_files()
    run = json.loads(file.read_text())
    run["llmperf_gate"] = {"regressions": [{"nodeid": TEST, "metric": "e2e"}]}
    file.write_text(json.dumps(run))
    result = llm_pytest("--llm-fail-if=e2e.p50:+400%", "--llm-fail-if=ttft.p50:+400%")
    result.assert_outcomes(passed=1)
    assert lines(result, "no baseline for ") == [
        f"no baseline for {TEST} (e2e.p50; same work, same hardware)"
    ]


def test_at_most_five_tests_without_a_baseline_are_named(pytester, llm_pytest):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize("i", range(8))
        def test_x(llm, llm_benchmark, i):
            llm_benchmark(llm, input_len=8, output_len=2, rounds=1, warmup=0)
    """)
    llm_pytest("--benchmark-autosave", "-k", "0").assert_outcomes(passed=1, deselected=7)
    run = llm_pytest("--llm-fail-if=e2e.p50:+400%")
    run.assert_outcomes(passed=8)
    named = lines(run, "no baseline for ")
    assert len(named) == 6
    assert named[-1] == "no baseline for 2 more"


@pytest.mark.timing
@pytest.mark.usefixtures("one_test")
def test_a_baseline_percentile_needs_samples_too(llm_pytest):
    quick = {"ttft": 0.001, "tpot": 0.0001}
    llm_pytest("--benchmark-autosave", "--llm-rounds=5", **quick).assert_outcomes(passed=1)
    budget = ("--llm-fail-if=ttft.p90:+900%", "--llm-rounds=50")
    run = llm_pytest("--benchmark-autosave", *budget, **quick)
    run.assert_outcomes(passed=1)
    assert len(lines(run, "no baseline for ")) == 1
    run = llm_pytest(*budget, **quick)
    assert lines(run, "no baseline for ") == []


UNUSED = "ERROR: --llm-fail-if: 'perplexity.mean:20' applied to no test: none has perplexity"


@pytest.mark.usefixtures("one_test")
def test_a_budget_that_applies_to_no_test_is_an_error(llm_pytest):
    run = llm_pytest("--llm-fail-if=perplexity.mean:20", "--llm-fail-if=ttft.p50:10s")
    assert run.ret == 4
    run.assert_outcomes(passed=1)
    assert [line for line in run.outlines if line.startswith("ERROR: ")] == [UNUSED]


@pytest.mark.parametrize(
    ("chosen", "code"), [([], 4), (["-k", "test_x"], 0), (["test_speed.py"], 0), (["."], 4)]
)
@pytest.mark.usefixtures("one_test")
def test_a_budget_of_the_ini_file_has_to_apply_where_the_whole_project_runs(
    pytester, llm_pytest, chosen, code
):
    pytester.makepyfile(test_more="def test_more(llm):\n    pass\n")
    pytester.makeini("[pytest]\nllm_fail_if = perplexity.mean:20\n")
    run = llm_pytest(*chosen)
    assert run.ret == code
    assert (UNUSED in run.outlines) == (code == 4)


@pytest.mark.usefixtures("one_test")
def test_a_time_without_a_unit_is_refused_with_the_line_to_write(llm_pytest):
    run = llm_pytest("--llm-fail-if=ttft.mean:200")
    assert run.ret == 4
    message = "'ttft.mean:200': a time takes s, ms or us; write ttft.mean:200ms or ttft.mean:200s"
    assert errors(run) == [f"ERROR: --llm-fail-if: {message}"]
