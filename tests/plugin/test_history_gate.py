"""--llm-gate=history: a run is judged against the stored ones before it ends."""

import datetime
import importlib.util
import json
import re
import shutil
from dataclasses import replace

import pytest

# Imported here, so that the runs inside find them and do not import copies of their own.
from pytest_llmperf.backends.simulated import Program
from pytest_llmperf.gate import history as _history  # noqa: F401
from pytest_llmperf.report import verdicts as _verdicts  # noqa: F401

pytestmark = pytest.mark.timing
CELL = "smollm2-135m-simulated-none"
NODEID = f"test_speed.py::test_x[{CELL}]"
TIMES = {"ttft": 0.03, "tpot": 0.01}
ONE_TEST = """
def test_x(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=5, rounds=3, warmup=0)
"""
NEXT_TEST = """
def test_next(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=2, rounds=1, warmup=0)
"""
# A busy machine delays a token; 15 % are more than it does.
INI = "[pytest]\nllm_min_effect = 8%\n"


@pytest.fixture(scope="module")
def four_runs(tmp_path_factory, run_in):
    """A storage folder with four runs of one test, an hour apart and long ago."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "test_speed.py").write_text(ONE_TEST)
    (folder / "pytest.ini").write_text(INI)
    for _ in range(4):
        assert run_in(folder, "--benchmark-autosave", "--llm-isolation=none", **TIMES) == 0
    for hour, file in enumerate(sorted(folder.glob(".benchmarks/*/*.json"))):
        run = json.loads(file.read_text())
        run["benchmarks"][0]["extra_info"]["llmperf"]["run"]["started_at"] = (
            f"2026-01-01T0{hour}:00:00+00:00"
        )
        file.write_text(json.dumps(run))
    return folder / ".benchmarks"


@pytest.fixture
def history(pytester, four_runs):
    """The test and its four stored runs; gives the runs' files."""
    pytester.makepyfile(test_speed=ONE_TEST)
    pytester.makeini(INI)
    shutil.copytree(four_runs, pytester.path / ".benchmarks")
    return sorted(pytester.path.glob(".benchmarks/*/*.json"))


@pytest.fixture
def gated(llm_pytest):
    """A run under the gate."""

    def run(*extra):
        return llm_pytest("--llm-gate=history", "--llm-isolation=none", *extra, **TIMES)

    return run


@pytest.fixture
def set_speed(monkeypatch):
    """Make the engine slower or faster from now on, its arguments being what they were."""
    from_args = Program.from_args

    def change(factor):
        def changed(args):
            program = from_args(args)
            return replace(program, ttft=program.ttft * factor, tpot=program.tpot * factor)

        monkeypatch.setattr(Program, "from_args", staticmethod(changed))

    return change


def gate_lines(run):
    """Return the lines below the gate's heading, up to pytest's last line."""
    lines = run.outlines
    start = next(i for i, line in enumerate(lines) if " LLM gate " in line)
    end = next(i for i, line in enumerate(lines) if i > start and line.startswith("="))
    return lines[start + 1 : end]


def changes(run, verdict, nodeid=NODEID):
    """Return the metrics of the one test with a verdict; those that others follow, with their runs."""
    lines = gate_lines(run)
    start = lines.index(f"{verdict}: {nodeid}") + 1
    block = []
    for line in lines[start:]:
        if not line.startswith("    "):
            break
        block.append(line.strip())
    causes = [line for line in block if not line.startswith("so also ")]
    followers = [part for line in block if line not in causes for part in line[8:].split(", ")]
    runs = {line.split()[0]: int(re.search(r"(\d+) baseline run", line)[1]) for line in causes}
    return runs, {part.split()[0] for part in followers}


def undecided(run):
    """Return the metrics of inconclusive entries, and the reasons."""
    found = [
        re.fullmatch(rf"inconclusive: {re.escape(NODEID)} \((.*?)\): (.*)", line)
        for line in gate_lines(run)
        if line.startswith("inconclusive: ")
    ]
    return {part.split()[0]: match[2] for match in found for part in match[1].split(", ")}


def last_line(run):
    return run.outlines[-1]


def errors(run):
    return [line for line in run.errlines if line]


def saved(files):
    return json.loads(files()[-1].read_text())


def test_a_run_that_is_as_fast_as_the_stored_ones_passes(history, gated):
    run = gated()
    assert run.ret == 0
    run.assert_outcomes(passed=1)
    assert gate_lines(run)[0].endswith(".benchmarks -> this run: 5 pass")


def test_a_slower_run_fails_and_its_metrics_are_named(history, gated, set_speed):
    set_speed(1.15)
    run = gated()
    assert run.ret == 1
    # Its tests are as good as ever.
    run.assert_outcomes(passed=1)
    assert changes(run, "regression") == ({"ttft": 4, "tpot": 4}, {"e2e", "output_throughput"})
    assert "1 of 5 entries pass" in gate_lines(run)[-1]
    assert last_line(run) == "LLM gate: FAILED, 4 regressions"


def test_a_faster_run_passes_and_is_named(history, gated, set_speed):
    set_speed(0.8)
    run = gated()
    assert run.ret == 0
    assert changes(run, "improvement") == ({"ttft": 4, "tpot": 4}, {"e2e", "output_throughput"})
    assert last_line(run) == "LLM gate: passed, 5 entries"


def test_the_verdict_stands_in_the_saved_file(history, gated, set_speed, stored_files):
    assert gated("--benchmark-autosave").ret == 0
    assert saved(stored_files)["llmperf_gate"] == {"summary": "5 pass", "regressions": []}
    set_speed(1.15)
    assert gated("--benchmark-autosave").ret == 1
    verdict = saved(stored_files)["llmperf_gate"]
    assert verdict["summary"] == "4 regressions, 1 pass"
    assert {(entry["nodeid"], entry["metric"]) for entry in verdict["regressions"]} == {
        (NODEID, metric) for metric in ("ttft", "tpot", "e2e", "output_throughput")
    }


def test_a_run_that_follows_a_slow_one_is_judged_against_the_fast_ones(history, gated, set_speed):
    set_speed(1.15)
    for _ in range(2):
        run = gated("--benchmark-autosave")
        assert run.ret == 1
        assert changes(run, "regression")[0]["ttft"] == 4


def test_without_the_gate_no_verdict_is_stored(history, llm_pytest, stored_files):
    llm_pytest("--benchmark-autosave", "--llm-isolation=none", **TIMES)
    assert "llmperf_gate" not in saved(stored_files)


def test_an_accepted_change_is_the_level_from_then_on(
    pytester, history, gated, set_speed, stored_files
):
    set_speed(1.3)
    run = gated("--benchmark-autosave", "--llm-accept=safer sampling")
    assert run.ret == 0
    assert any(
        line.startswith(f"note: accepted as the new level (safer sampling): {NODEID} ttft +")
        for line in gate_lines(run)
    )
    assert saved(stored_files)["llmperf_gate"]["regressions"] == []
    content = json.loads((pytester.path / "llmperf-accepted.json").read_text())
    started = saved(stored_files)["benchmarks"][0]["extra_info"]["llmperf"]["run"]["started_at"]
    assert {entry["metric"] for entry in content["accepted"]} == {
        "ttft",
        "tpot",
        "e2e",
        "output_throughput",
    }
    for entry in content["accepted"]:
        assert entry["nodeid"] == NODEID
        assert (entry["since"], entry["reason"]) == (started, "safer sampling")
    for n in (1, 2):
        run = gated("--benchmark-autosave")
        assert run.ret == 0
        assert undecided(run)["ttft"].startswith(f"{n} comparable run")
    run = gated("--benchmark-autosave")
    assert run.ret == 0
    assert gate_lines(run)[0].endswith(".benchmarks -> this run: 5 pass")


def test_a_run_without_regressions_accepts_nothing(pytester, history, gated):
    assert gated("--benchmark-autosave", "--llm-accept=just in case").ret == 0
    assert not (pytester.path / "llmperf-accepted.json").exists()


def test_a_run_that_is_not_stored_cannot_be_accepted(history, gated):
    run = gated("--llm-accept=wanted")
    assert run.ret == 4
    message = "--llm-accept: the run has to be stored to be the new level (--benchmark-autosave)"
    assert errors(run) == [f"ERROR: {message}"]


@pytest.mark.usefixtures("one_test")
def test_accepting_needs_a_gate(llm_pytest):
    run = llm_pytest("--llm-accept=wanted")
    assert run.ret == 4
    assert errors(run) == ["ERROR: --llm-accept: there is no verdict without --llm-gate=history"]


def test_accepting_needs_a_reason(history, gated):
    run = gated("--llm-accept= ")
    assert run.ret == 4
    assert errors(run) == [
        "ERROR: --llm-accept: give the reason, for those who read the file later"
    ]


@pytest.mark.usefixtures("one_test")
def test_without_a_stored_run_nothing_is_measured(gated):
    run = gated()
    assert run.ret == 4
    (line,) = errors(run)
    assert line.startswith("ERROR: --llm-gate: no stored run in ")
    assert line.endswith(
        ".benchmarks, and this one is not stored either; store it as the first (--benchmark-autosave)"
    )
    assert "LLM performance" not in run.stdout.str()


@pytest.mark.usefixtures("one_test")
def test_an_ini_file_that_asks_for_the_gate_is_told_the_same(pytester):
    pytester.makeini("[pytest]\nllm_gate = history\nllm_backend = simulated\n")
    run = pytester.runpytest_inprocess("-W", "default")
    assert run.ret == 4
    assert "Traceback" not in run.stdout.str()
    assert "no stored run in" in "\n".join(run.errlines)


@pytest.mark.usefixtures("one_test")
def test_a_run_that_only_collects_needs_no_stored_run(gated):
    assert gated("--collect-only").ret == 0


@pytest.mark.usefixtures("one_test")
def test_a_run_that_is_told_not_to_measure_is_not_green(gated):
    run = gated("--benchmark-disable")
    assert run.ret == 4
    assert "ERROR: --llm-gate: nothing was measured: --benchmark-disable is set" in gate_lines(run)


ORDINARY = """
def test_other(benchmark):
    benchmark(abs, 1)
"""


QUALITY = """
def test_quality(llm, llm_benchmark):
    llm_benchmark.quality(llm)
"""


@pytest.fixture
def set_nll(monkeypatch):
    """Make the engine predict the text worse from now on, its arguments being what they were."""
    from_args = Program.from_args

    def change(nll):
        monkeypatch.setattr(
            Program, "from_args", staticmethod(lambda args: replace(from_args(args), nll=nll))
        )

    return change


def test_quality_that_stays_passes_a_strict_gate_and_a_worse_one_fails(
    pytester, gated, llm_pytest, set_nll
):
    pytester.makepyfile(test_scored=QUALITY)
    set_nll(1.0)
    assert llm_pytest("--benchmark-autosave", "--llm-isolation=none", **TIMES).ret == 0
    run = gated("--llm-gate-strict")
    assert run.ret == 0
    assert gate_lines(run)[0].endswith(".benchmarks -> this run: 1 pass")
    set_nll(1.02)
    run = gated("--llm-gate-strict")
    assert run.ret == 1
    scored = f"test_scored.py::test_quality[{CELL}]"
    assert changes(run, "regression", scored) == ({"perplexity": 1}, set())


@pytest.mark.parametrize("save", [(), ("--benchmark-autosave",)])
@pytest.mark.parametrize("tests", ["ours deselected", "none of ours"])
def test_a_run_of_ordinary_benchmarks_is_not_judged(pytester, history, llm_pytest, save, tests):
    # By the ini file: a command line that asks for the gate and deselects every test is not green.
    pytester.makeini(f"{INI}llm_gate = history\n")
    ours = ONE_TEST if tests == "ours deselected" else ""
    (pytester.path / "test_speed.py").write_text(ours + ORDINARY)
    run = llm_pytest("-k", "other", *save)
    run.assert_outcomes(passed=1, deselected=1 if ours else 0)
    assert run.ret == 0
    message = "no test with llm_benchmark was to be measured, so nothing was judged"
    assert not ours or message in gate_lines(run)


def test_the_gate_of_the_command_line_without_any_test_of_ours_is_not_red(pytester, history, gated):
    (pytester.path / "test_speed.py").write_text(ORDINARY)
    run = gated("-k", "other")
    assert run.ret == 0
    message = "no test with llm_benchmark was to be measured, so nothing was judged"
    assert message in gate_lines(run)


def test_the_gate_of_the_command_line_is_red_where_it_deselects_every_test(
    pytester, history, gated
):
    (pytester.path / "test_speed.py").write_text(ONE_TEST + ORDINARY)
    run = gated("-k", "other")
    run.assert_outcomes(passed=1, deselected=1)
    assert run.ret == 4
    line = "ERROR: --llm-gate: nothing was measured: every test of this plugin was deselected (1)"
    assert line in gate_lines(run)


@pytest.mark.parametrize("save", [(), ("--benchmark-autosave",)])
def test_tests_of_ours_that_measure_nothing_are_not_green(pytester, history, gated, save):
    skipped = ONE_TEST.replace(
        "    llm_bench", "    import pytest\n    pytest.skip()\n    llm_bench"
    )
    (pytester.path / "test_speed.py").write_text(skipped + ORDINARY)
    run = gated(*save)
    run.assert_outcomes(passed=1, skipped=1)
    assert run.ret == 4


def test_a_storage_that_fails_while_the_run_is_saved_does_not_cost_the_run(
    history, gated, stored_files, monkeypatch
):
    def fails(paths):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("pytest_llmperf.store.stored.read_runs", fails)
    run = gated("--benchmark-autosave")
    assert run.ret == 4
    assert len(stored_files()) == 5
    (line,) = [line for line in gate_lines(run) if line.startswith("the gate itself failed")]
    assert line == "the gate itself failed (OSError: [Errno 5] Input/output error)"


def test_accepted_changes_that_are_damaged_during_the_run_do_not_cost_it(
    pytester, history, gated, stored_files
):
    damage = "    open('llmperf-accepted.json', 'w').write('{')\n"
    (pytester.path / "test_speed.py").write_text(ONE_TEST + damage)
    run = gated("--benchmark-autosave")
    assert run.ret == 4
    assert len(stored_files()) == 5
    (line,) = gate_lines(run)
    assert line.startswith("the gate itself failed (AcceptedError: ")


@pytest.mark.parametrize("package", ["numpy", "scipy"])
def test_without_the_extra_nothing_is_measured(history, gated, monkeypatch, package):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == package else find_spec(name, *more),
    )
    run = gated()
    assert run.ret == 4
    assert errors(run) == [
        "ERROR: --llm-gate needs numpy and scipy: pip install 'pytest-llmperf[gate]'"
    ]


def test_a_damaged_file_of_accepted_changes_is_told_at_once(pytester, history, gated):
    (pytester.path / "llmperf-accepted.json").write_text("{")
    run = gated()
    assert run.ret == 4
    (line,) = errors(run)
    assert line.startswith("ERROR: --llm-gate: ")
    assert "llmperf-accepted.json: cannot be read as a list of accepted changes" in line


def test_a_stored_file_that_cannot_be_read_is_named(pytester, history, gated):
    history[0].write_text("")
    run = gated()
    assert run.ret == 0
    name = str(history[0].relative_to(pytester.path))
    assert any(
        line.startswith("failed: ") and line.endswith(f"{name}: is empty")
        for line in gate_lines(run)
    )


def test_the_stored_runs_are_those_of_pytest_benchmarks_storage(pytester, history, gated):
    (pytester.path / ".benchmarks").rename(pytester.path / "elsewhere")
    run = gated("--benchmark-storage=file://./elsewhere")
    assert run.ret == 0
    assert gate_lines(run)[0].endswith(" -> this run: 5 pass")


def test_a_run_is_saved_even_where_a_damaged_one_lies_in_the_storage(history, gated, stored_files):
    run = json.loads(history[0].read_text())
    run["benchmarks"][0]["extra_info"]["llmperf"]["run"]["started_at"] = None
    history[0].write_text(json.dumps(run))
    assert gated("--benchmark-autosave").ret == 0
    assert len(stored_files()) == 5


def test_no_test_in_common_with_the_stored_runs_is_an_error(pytester, history, gated):
    (pytester.path / "test_speed.py").write_text(NEXT_TEST)
    run = gated()
    assert run.ret == 4
    lines = gate_lines(run)
    assert f"new (no baseline): test_speed.py::test_next[{CELL}]" in lines
    assert lines[-1] == "no test of this run has a baseline, so nothing was judged"


def test_a_new_test_is_named_and_does_not_decide(pytester, history, gated):
    (pytester.path / "test_speed.py").write_text(ONE_TEST + NEXT_TEST)
    run = gated()
    assert run.ret == 0
    assert f"new (no baseline): test_speed.py::test_next[{CELL}]" in gate_lines(run)


def test_another_engine_argument_is_not_comparable(history, gated):
    run = gated("--llm-backend-arg=simulated.seed=1")
    assert run.ret == 1
    lines = gate_lines(run)
    assert lines[0].endswith(".benchmarks -> this run: 5 not comparable")
    assert any(line.endswith(": simulated.seed: none / 1") for line in lines)


def test_two_stored_runs_are_too_few(history, gated, set_speed):
    for file in history[2:]:
        file.unlink()
    set_speed(1.15)
    run = gated()
    assert run.ret == 0
    assert "2 comparable runs in the baseline; 3 are needed" in "\n".join(gate_lines(run))


@pytest.mark.parametrize("given", ["option", "ini"])
def test_a_strict_gate_fails_where_it_cannot_decide(pytester, history, gated, given):
    for file in history[2:]:
        file.unlink()
    if given == "ini":
        pytester.makeini(INI + "llm_gate_strict = true\n")
    run = gated(*(["--llm-gate-strict"] if given == "option" else []))
    assert run.ret == 1
    run.assert_outcomes(passed=1)


def test_a_strict_gate_lets_a_good_run_pass(history, gated):
    assert gated("--llm-gate-strict").ret == 0


def test_runs_of_another_branch_are_no_baseline(history, gated):
    for file in history:
        file.write_text(file.read_text().replace('"branch": "(unknown)"', '"branch": "main"'))
    assert gated("--llm-gate-branch=main").ret == 0
    run = gated("--llm-gate-branch=other")
    assert run.ret == 4
    assert errors(run) == [
        "ERROR: --llm-gate-branch: no stored run is of branch 'other'; stored: 4 of main"
    ]


def test_a_failed_test_fails_the_run_and_the_others_are_judged(pytester, history, gated):
    (pytester.path / "test_speed.py").write_text(ONE_TEST + "\n\ndef test_y():\n    assert False\n")
    run = gated()
    assert run.ret == 1
    run.assert_outcomes(passed=1, failed=1)
    assert gate_lines(run)[0].endswith(".benchmarks -> this run: 5 pass")


LIMITS = [
    ("", "llm_min_effect = 20%\n", {"*": 0.2}, 0),
    ("", "llm_min_effect =\n  20%\n  ttft:8%\n", {"*": 0.2, "ttft": 0.08}, 1),
    (
        "",
        "llm_min_effect =\n  ttft:20%\n  tpot:20%\n  e2e:20%\n  output_throughput:20%\n",
        {"ttft": 0.2, "tpot": 0.2, "e2e": 0.2, "output_throughput": 0.2},
        0,
    ),
    ("@pytest.mark.llm_gate(min_effect=0.2)", "", {"*": 0.2}, 0),
    (
        "@pytest.mark.llm_gate(min_effect={'*': 0.2, 'ttft': '8%'})",
        "",
        {"*": 0.2, "ttft": 0.08},
        1,
    ),
    ("@pytest.mark.llm_gate(min_effect=0.2)", "llm_min_effect = ttft:8%\n", {"*": 0.2}, 0),
    (
        "@pytest.mark.llm_gate(min_effect={'ttft': 0.2})",
        "llm_min_effect = 8%\n",
        {"*": 0.08, "ttft": 0.2},
        1,
    ),
]


@pytest.mark.parametrize(("marker", "ini", "recorded", "code"), LIMITS)
def test_limits_of_markers_and_ini_reach_the_record_and_the_verdict(
    pytester, history, gated, set_speed, records, marker, ini, recorded, code
):
    pytester.makeini(f"[pytest]\n{ini}")
    (pytester.path / "test_speed.py").write_text(f"import pytest\n\n{marker}{ONE_TEST}")
    set_speed(1.15)
    assert gated("--benchmark-autosave").ret == code
    assert records()[f"test_x[{CELL}]"]["gate"]["min_effect"] == recorded


def test_limits_of_the_command_line_go_before_those_of_the_ini_file(history, gated, set_speed):
    set_speed(1.15)
    assert gated("--llm-min-effect=20%").ret == 0


def test_a_must_see_that_the_runs_cannot_promise_leaves_a_run_undecided(
    history, gated, records, set_speed
):
    set_speed(1.035)
    run = gated("--benchmark-autosave", "--llm-min-effect=4%", "--llm-must-see=4%")
    assert run.ret == 0
    assert undecided(run)
    assert records()[f"test_x[{CELL}]"]["gate"]["must_see"] == {"*": 0.04}


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("llm_gate(0.05)", "@pytest.mark.llm_gate takes min_effect= and must_see= only"),
        ("llm_gate(least=0.05)", "@pytest.mark.llm_gate takes min_effect= and must_see= only"),
        ("llm_gate(min_effect={'speed': 0.05})", "unknown metric 'speed'; known: "),
        ("llm_gate(min_effect=5)", "'5' is not a share between 0 and 100 %"),
        ("llm_gate(must_see='x')", "'x' is not a share between 0 and 100 %"),
    ],
)
def test_a_marker_that_means_nothing_ends_the_run_in_one_line(
    pytester, history, gated, marker, message
):
    (pytester.path / "test_speed.py").write_text(
        f"import pytest\n\n@pytest.mark.{marker}{ONE_TEST}"
    )
    run = gated()
    assert run.ret == 4
    errors = [line for line in run.stderr.lines if "ERROR" in line]
    assert len(errors) == 1
    assert message in errors[0]


@pytest.mark.usefixtures("one_test")
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--llm-gate=pairs", "--llm-gate: unknown gate 'pairs'; known: history"),
        ("--llm-min-effect=0", "--llm-min-effect: '0' is not a share between 0 and 100 %"),
        ("--llm-min-effect=speed:5%", "--llm-min-effect: unknown metric 'speed'; known: "),
        ("--llm-must-see=ttft:", "--llm-must-see: '' is not a share between 0 and 100 %"),
    ],
)
def test_an_option_that_means_nothing_is_told_before_anything_runs(llm_pytest, option, message):
    run = llm_pytest(option)
    assert run.ret == 4
    (line,) = errors(run)
    assert line.startswith(f"ERROR: {message}")


NEW_LEVEL = (
    "FAILED: 5 entries are at a new level, because a setting changed: simulated.seed: none / 1; "
    "measure the change with `pytest-llmperf ab`, and accept it with --llm-accept"
)
SEED = "--llm-backend-arg=simulated.seed=1"


def test_a_setting_that_changes_is_red_until_it_is_accepted(pytester, history, gated, stored_files):
    for _ in range(2):
        run = gated("--benchmark-autosave", SEED)
        assert run.ret == 1
        run.assert_outcomes(passed=1)
        assert gate_lines(run)[-1] == NEW_LEVEL
    assert len(saved(stored_files)["llmperf_gate"]["regressions"]) == 5
    run = gated("--benchmark-autosave", SEED, "--llm-accept=another seed")
    assert run.ret == 0
    accepted = "note: accepted as the new level (another seed): "
    assert f"{accepted}{NODEID} tpot (simulated.seed: none / 1)" in gate_lines(run)
    run = gated("--benchmark-autosave", SEED)
    assert run.ret == 0
    assert "1 comparable run in the baseline; 3 are needed" in "\n".join(gate_lines(run))


def test_a_setting_that_is_changed_back_is_judged_by_its_own_runs(history, gated):
    assert gated("--benchmark-autosave", SEED).ret == 1
    lines = gate_lines(gated("--benchmark-autosave"))
    assert "not comparable" not in lines[0]
    assert not any(line.startswith("FAILED: ") for line in lines)


def test_a_setting_of_the_ini_file_is_one_that_changed(pytester, history, gated):
    pytester.makeini(f"{INI}llm_dtype = float16\n")
    run = gated()
    assert run.ret == 1
    assert "at a new level, because a setting changed: type: " in gate_lines(run)[-1]


def test_the_number_of_engine_threads_is_a_setting(history, gated):
    for file in history:
        assert '"threads": ' in file.read_text()
    run = gated("--llm-threads=7")
    assert run.ret == 1
    assert "engine threads: 1 / 7" in gate_lines(run)[-1]


def test_a_new_test_beside_one_that_did_not_change_is_not_red(pytester, history, gated):
    pytester.makepyfile(test_more=NEXT_TEST.replace("output_len=2", "output_len=3"))
    lines = gate_lines(gated())
    assert not any(line.startswith("FAILED: ") for line in lines)
    assert any(line.startswith("new (no baseline): test_more.py") for line in lines)


@pytest.mark.usefixtures("one_test")
def test_the_first_run_is_stored_and_the_second_is_judged(pytester, gated, stored_files):
    run = gated("--benchmark-autosave")
    assert run.ret == 0
    first = "first run: stored as the baseline of the next ones, nothing was judged"
    assert gate_lines(run)[-1] == first
    assert len(stored_files()) == 1
    run = gated("--benchmark-autosave")
    assert run.ret == 0
    assert "1 comparable run in the baseline; 3 are needed" in "\n".join(gate_lines(run))


@pytest.mark.usefixtures("one_test")
def test_a_strict_gate_has_not_decided_on_a_first_run(gated):
    assert gated("--benchmark-autosave", "--llm-gate-strict").ret == 1


def test_stored_runs_that_are_all_damaged_are_no_first_run(history, gated):
    for file in history:
        file.write_text("{")
    run = gated("--benchmark-autosave")
    assert run.ret == 4
    assert gate_lines(run)[-1] == "no test of this run has a baseline, so nothing was judged"


def test_ordinary_benchmarks_in_the_storage_leave_a_first_run_to_be_stored(
    pytester, llm_pytest, gated
):
    pytester.makepyfile(test_other=ORDINARY)
    assert llm_pytest("--benchmark-autosave").ret == 0
    pytester.makepyfile(test_speed=ONE_TEST)
    run = gated("--benchmark-autosave")
    assert run.ret == 0
    lines = gate_lines(run)
    assert any(line.startswith("first run: ") for line in lines)
    assert not any(line.startswith("failed: ") for line in lines)


def test_tests_that_were_renamed_are_no_first_run(pytester, history, gated):
    (pytester.path / "test_speed.py").write_text(NEXT_TEST)
    assert gated("--benchmark-autosave").ret == 4


@pytest.mark.parametrize("chosen", [["-k", "next"], ["test_more.py"], ["test_more.py::test_next"]])
def test_what_the_command_line_leaves_out_is_not_missing(pytester, history, gated, chosen):
    pytester.makepyfile(test_more=NEXT_TEST)
    gated("--benchmark-autosave")
    run = gated(*chosen)
    assert not [line for line in gate_lines(run) if line.startswith("missing ")]
    note = "note: 1 test of the baseline left out by this command line (paths, -k, -m)"
    assert note in gate_lines(run)


def test_a_test_that_is_gone_is_missing_where_its_folder_was_chosen(pytester, history, gated):
    pytester.makepyfile(test_more=NEXT_TEST)
    gated("--benchmark-autosave")
    (pytester.path / "test_speed.py").write_text(ONE_TEST.replace("test_x", "test_other"))
    run = gated(".")
    assert f"missing (in the baseline only): {NODEID}" in gate_lines(run)


def test_accepting_without_any_change_says_so(pytester, history, gated):
    run = gated("--benchmark-autosave", "--llm-accept=just in case")
    assert run.ret == 0
    nothing = "note: --llm-accept: nothing to accept: no regression, improvement or new level"
    assert nothing in gate_lines(run)


def test_accepting_with_a_clock_behind_the_stored_runs_is_refused(history, gated):
    ahead = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=30)
    start_at(history[0], ahead)
    run = gated("--benchmark-autosave", "--llm-accept=wanted")
    assert run.ret == 4
    (line,) = errors(run)
    assert line.startswith("ERROR: --llm-accept: ")
    assert f" starts at {ahead.isoformat(timespec='seconds')}, and this run at " in line
    assert "one of the clocks is wrong" in line


def start_at(file, time):
    run = json.loads(file.read_text())
    record = run["benchmarks"][0]["extra_info"]["llmperf"]
    record["run"]["started_at"] = time.isoformat(timespec="seconds")
    file.write_text(json.dumps(run))


def test_a_stored_run_of_the_future_is_left_out_and_named(pytester, history, gated):
    start_at(history[0], datetime.datetime(2046, 1, 1, tzinfo=datetime.UTC))
    run = gated()
    assert "not comparable" not in gate_lines(run)[0]
    start = "its start, 2046-01-01T00:00:00+00:00, is ahead of this machine's clock"
    assert any(start in line for line in gate_lines(run))


def test_a_level_that_was_accepted_in_the_future_disarms_nothing(
    pytester, history, gated, set_speed
):
    change = {
        "nodeid": NODEID,
        "metric": "tpot",
        "since": "2046-01-01T00:00:00+00:00",
        "commit": "c",
        "reason": "wanted",
    }
    content = json.dumps({"schema": 1, "accepted": [change]})
    (pytester.path / "llmperf-accepted.json").write_text(content)
    set_speed(1.3)
    run = gated()
    assert run.ret == 1
    assert "tpot" in changes(run, "regression")[0]
    said = f"llmperf-accepted.json: {NODEID} tpot is accepted since 2046-01-01T00:00:00+00:00"
    assert any(said in line for line in gate_lines(run))


def test_runs_of_a_detached_head_are_named_where_a_branch_is_asked_for(history, gated):
    for file in history:
        file.write_text(file.read_text().replace('"(unknown)"', '"(detached head)"'))
    run = gated("--llm-gate-branch=main")
    assert run.ret == 4
    assert errors(run) == [
        "ERROR: --llm-gate-branch: no stored run is of branch 'main'; stored: 4 without a branch (git "
        "had a detached head, and no CI variable named one: set PYTEST_LLMPERF_BRANCH)"
    ]


@pytest.mark.usefixtures("one_test")
def test_the_runs_of_a_ci_job_on_a_detached_head_are_of_its_branch(gated, monkeypatch):
    monkeypatch.setenv("CI_COMMIT_BRANCH", "main")
    for job in ("1", "2", "3"):
        monkeypatch.setenv("CI_JOB_ID", job)
        assert gated("--benchmark-autosave", "--llm-gate-branch=main").ret == 0
    monkeypatch.setenv("CI_JOB_ID", "4")
    run = gated("--llm-gate-branch=main")
    assert run.ret == 0
    assert ".benchmarks, branch main -> this run: " in gate_lines(run)[0]
    assert not any(line.startswith("new ") for line in gate_lines(run))
