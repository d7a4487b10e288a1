"""A run that was asked to judge and measured nothing is red, with the reason in one line."""

import sys

import pytest

MEASURES = """
def test_x(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=4, rounds=2, warmup=0)
"""
SPEAKS = """
def test_text(llm):
    assert llm.generate_ids([1], 2)
"""
ORDINARY = "\ndef test_other(): pass\n"
OWN_BENCHMARK = """
import pytest

@pytest.fixture
def benchmark():
    return "a stopwatch"
"""
ASKS = {
    "require": ["--llm-require"],
    "gate": ["--llm-gate=history"],
    "budget": ["--llm-fail-if=tpot.p50:1us"],
}
WAYS = {
    "xdist": (
        ["-n", "2"],
        "pytest-xdist is active: LLM tests share one machine, run them without -n",
    ),
    "no pytest-benchmark": (
        ["-p", "no:benchmark"],
        "llm_benchmark needs pytest-benchmark (-p no:benchmark is set)",
    ),
    "disabled": (["--benchmark-disable"], "--benchmark-disable is set"),
    "skipped": (["--benchmark-skip"], "--benchmark-skip is set"),
    "deselected": (["-k", "other"], "every test of this plugin was deselected (1)"),
    "excluded": (
        ["--llm-model=mistral-7b"],
        "the test is for model phi-2, the run for --llm-model=mistral-7b",
    ),
}


@pytest.fixture
def run_with(llm_pytest, llm_pytest_process):
    """Run pytest with some options: pytest-xdist has a process of its own, other runs need none."""

    def run(*options):
        return (llm_pytest_process if "-n" in options else llm_pytest)(*options)

    return run


def errors(run):
    """Return the lines that say that nothing was measured."""
    return [line for line in run.outlines if line.startswith("ERROR: ")]


@pytest.mark.parametrize("asked", ASKS)
@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_has_to_judge_and_measures_nothing_is_red(pytester, run_with, asked, way):
    of_model = "import pytest\n@pytest.mark.llm(model='phi-2')"
    pytester.makepyfile(f"{of_model}{MEASURES}{ORDINARY}")
    (pytester.mkdir(".benchmarks") / "0001_earlier.json").write_text("{}")
    options, reason = WAYS[way]
    run = run_with(*ASKS[asked], *options)
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    flag = ASKS[asked][0].partition("=")[0]
    assert errors(run) == [f"ERROR: {flag}: nothing was measured: {reason}"]
    assert "passed" in run.parseoutcomes()


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_nobody_asked_to_judge_stays_as_it_is(pytester, run_with, way):
    of_model = "import pytest\n@pytest.mark.llm(model='phi-2')"
    pytester.makepyfile(f"{of_model}{MEASURES}{ORDINARY}")
    run = run_with(*WAYS[way][0])
    assert run.ret == 0
    assert errors(run) == []


@pytest.mark.parametrize("options", [(), ("-n", "2"), ("--benchmark-skip",)])
def test_a_suite_without_tests_of_ours_stays_as_it_is(pytester, run_with, options):
    pytester.makepyfile(ORDINARY)
    pytester.makeini("[pytest]\nllm_gate = history\nllm_require = true\nllm_fail_if = ttft.p50:1s")
    run = run_with("--llm-require", *options)
    assert run.ret == 0
    assert errors(run) == []


@pytest.mark.parametrize("option", ["--collect-only", "--setup-plan"])
def test_a_run_that_only_looks_is_not_judged(one_test, llm_pytest, option):
    assert llm_pytest("--llm-require", "--llm-fail-if=ttft.p50:1s", option).ret == 0


@pytest.mark.parametrize("options", [("-n", "2"), ("--benchmark-disable",)])
def test_an_ini_file_asks_as_well(pytester, one_test, run_with, options):
    pytester.makeini("[pytest]\nllm_require = true\nllm_fail_if = ttft.p50:1s")
    run = run_with(*options)
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = errors(run)
    assert line.startswith("ERROR: --llm-require, --llm-fail-if: nothing was measured: ")


def test_an_ini_file_does_not_ask_a_run_that_selects_other_tests(pytester, llm_pytest):
    pytester.makepyfile(MEASURES + ORDINARY)
    pytester.makeini("[pytest]\nllm_require = true\nllm_fail_if = ttft.p50:1s")
    run = llm_pytest("-k", "other")
    assert run.ret == 0
    assert errors(run) == []


def test_tests_that_skip_themselves_are_red_with_their_reason(pytester, llm_pytest):
    skips = "import pytest\npytestmark = pytest.mark.skip(reason='the card is busy')\n"
    pytester.makepyfile(skips + MEASURES)
    run = llm_pytest("--llm-fail-if=ttft.p50:1s")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    assert errors(run) == ["ERROR: --llm-fail-if: nothing was measured: the card is busy"]


def test_a_required_engine_that_no_test_meets_is_red_without_measurements_too(pytester, llm_pytest):
    skips = "import pytest\npytestmark = pytest.mark.skip(reason='the card is busy')\n"
    pytester.makepyfile(test_text=skips + SPEAKS)
    run = llm_pytest("--llm-require")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    assert errors(run) == ["ERROR: --llm-require: nothing was measured: the card is busy"]
    pytester.makepyfile(test_text=SPEAKS)
    assert llm_pytest("--llm-require").ret == 0


def test_one_measurement_is_enough(pytester, llm_pytest):
    skipped = "import pytest\n@pytest.mark.skip\ndef test_y(llm, llm_benchmark): pass\n"
    pytester.makepyfile(skipped + MEASURES)
    run = llm_pytest("--llm-require", "--llm-fail-if=ttft.p50:10s")
    assert run.ret == 0
    assert errors(run) == []


def test_a_failed_run_keeps_its_exit_code(pytester, llm_pytest):
    pytester.makepyfile(MEASURES + "\ndef test_bad(): assert False\n")
    assert llm_pytest("--llm-require", "--benchmark-disable").ret == pytest.ExitCode.TESTS_FAILED


def test_plugins_that_are_loaded_by_their_modules_measure(
    pytester, one_test, arguments, monkeypatch
):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    plugins = ["-p", "pytest_benchmark.plugin", "-p", "pytest_llmperf.plugin"]
    run = pytester.runpytest_subprocess(*plugins, *arguments("--llm-require"), timeout=60)
    assert run.ret == 0
    assert run.parseoutcomes() == {"passed": 1}


def test_another_benchmark_fixture_skips_with_its_name(pytester, one_test, llm_pytest):
    pytester.makeconftest(OWN_BENCHMARK)
    run = llm_pytest("-rs", "--llm-require")
    run.assert_outcomes(skipped=1)
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = errors(run)
    assert line.startswith(
        "ERROR: --llm-require: nothing was measured: llm_benchmark needs pytest-"
    )
    assert "pytest-benchmark's own benchmark fixture, not that of conftest" in line


FORKED = """
import os
import pytest

def pytest_addoption(parser):
    parser.addoption("--forked", action="store_true", default=False)

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    # As pytest-forked: the reports come from a child, and what it measures stays there.
    from _pytest.runner import runtestprotocol
    import pickle

    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        data = [item.config.hook.pytest_report_to_serializable(config=item.config, report=r)
                for r in reports]
        os.write(writing, pickle.dumps(data))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pickle.loads(pipe.read())
    os.waitpid(child, 0)
    for part in data:
        report = item.config.hook.pytest_report_from_serializable(config=item.config, data=part)
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""


def test_forked_tests_are_skipped_with_the_reason(pytester, one_test, llm_pytest_process, journals):
    pytester.makeconftest(FORKED)
    run = llm_pytest_process("--forked", "-rs", "--llm-require")
    run.assert_outcomes(skipped=1)
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    assert errors(run) == [
        "ERROR: --llm-require: nothing was measured: pytest-forked is active: what a test measures "
        "would be lost with its process, run LLM tests without --forked"
    ]
    assert journals() == []


def test_a_test_in_another_process_fails(pytester, one_test, llm_pytest_process, journals):
    pytester.makeconftest(FORKED)
    run = llm_pytest_process()
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    assert (
        "this test runs in another process than pytest, which would lose what it measures: run LLM "
        "tests in pytest's own process" in run.stdout.str()
    )
    assert journals() == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--benchmark-disable", "--benchmark-disable is set"),
        ("--benchmark-skip", "--benchmark-skip is set"),
        ("-n 2", "pytest-xdist is active: LLM tests share one machine, run them without -n"),
    ],
)
def test_ab_says_why_its_runs_measure_nothing(pytester, one_test, options, reason):
    pytester.makeini(f"[pytest]\naddopts = {options} --llm-gate=history --llm-backend=simulated")
    command = [sys.executable, "-m", "pytest_llmperf.cli", "ab", "--pairs=2"]
    run = pytester.run(*command, "--head-args=--llm-rounds=2", timeout=60)
    assert run.ret == 3
    (line,) = [line for line in run.errlines if "exit code" in line]
    assert f"exit code 4: ERROR: pytest-llmperf ab: nothing was measured: {reason}; log: " in line


def test_ab_measures_where_the_project_asks_for_the_gate(pytester, one_test):
    pytester.makeini(
        "[pytest]\naddopts = --llm-gate=history --llm-fail-if=ttft.p50:1us --llm-backend=simulated"
    )
    command = [sys.executable, "-m", "pytest_llmperf.cli", "ab", "--pairs=2", "--more-pairs=0"]
    run = pytester.run(*command, "--head-args=--llm-rounds=3", timeout=60)
    assert "exit code" not in run.stderr.str()
    assert "failed" not in run.stderr.str()
    assert run.ret == 0
    assert (pytester.path / ".llmperf-ab/.gitignore").is_file()
