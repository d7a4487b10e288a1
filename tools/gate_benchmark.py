"""Measure the gate's false alarms and its power on real processes, not on a noise model.

    python tools/gate_benchmark.py record FILE [--processes 60] [-- pytest arguments]
    python tools/gate_benchmark.py collect FILE RUN.json...
    python tools/gate_benchmark.py evaluate FILE... [--suites 1000]

``record`` runs the same suite in that many fresh processes, one after the other (A/A: nothing differs
between them), and keeps every sample; ``collect`` makes the same file from runs that are stored already,
such as those of an ``ab`` in which nothing differed. ``evaluate`` deals the recorded processes into
thousands of comparisons, whose pairs are always neighbors in time, and judges them with the gate's code:
first unchanged (every regression is a false alarm), then with one entry of the candidate slowed by 3, 5
and 10 %. For comparison: pytest-benchmark's ``--benchmark-compare-fail=mean:5%`` on the same data.
Also prints the variation within and between processes, because all other figures depend on those two.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pytest_llmperf.gate import history, pairs
from pytest_llmperf.gate.limits import FIRST_PAIRS, MORE_PAIRS, MUST_SEE, LimitSettings
from pytest_llmperf.gate.verdict import Judgement, Verdict
from pytest_llmperf.metrics.definitions import METRICS
from pytest_llmperf.metrics.samples import Metric
from pytest_llmperf.store.stored import Observation, StoredRun, TestRecord

SUITE = Path(__file__).resolve().parent / "gate_suite.py"
EFFECTS = (0.03, 0.05, 0.10)
STOCK_LIMIT = 0.05
HISTORY_JOBS, RESTARTS = 10, 3
Entry = tuple[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    to_record = commands.add_parser("record")
    to_record.add_argument("file", type=Path)
    to_record.add_argument("--processes", type=int, default=60)
    to_collect = commands.add_parser("collect")
    to_collect.add_argument("file", type=Path)
    to_collect.add_argument("runs", type=Path, nargs="+")
    to_evaluate = commands.add_parser("evaluate")
    to_evaluate.add_argument("files", type=Path, nargs="+")
    to_evaluate.add_argument("--suites", type=int, default=1000)
    to_evaluate.add_argument("--metric", default="", help="slow entries of this metric only")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options = parser.parse_args(sys.argv[1:split])
    if options.command == "record":
        record(options.file, options.processes, sys.argv[split + 1 :])
    elif options.command == "collect":
        collect(options.file, options.runs)
    else:
        for file in options.files:
            evaluate(file, options.suites, options.metric)


def record(file: Path, processes: int, pytest_args: Sequence[str]) -> None:
    """Run processes and keep their samples; go on with those that are on disk already."""
    found: list[dict[str, Any]] = []
    if file.exists():
        found = json.loads(file.read_text())["processes"]
    environment: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(len(found), processes):
            out = Path(folder) / f"{number}.json"
            command = [
                sys.executable,
                "-m",
                "pytest",
                str(SUITE),
                f"--rootdir={SUITE.parent}",
                "-q",
            ]
            command += ["-p", "no:cacheprovider", f"--benchmark-json={out}", *pytest_args]
            log = Path(folder) / "log"
            with log.open("w") as output:
                done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
            if done.returncode:
                print(log.read_text()[-2000:])
                sys.exit(f"process {number + 1} ended with {done.returncode}")
            process, environment = read_process(out)
            found.append(process)
            save(file, found, environment)
            print(f"process {number + 1} of {processes}", flush=True)


def collect(file: Path, runs: Sequence[Path]) -> None:
    """Write a recording of stored runs, in the order in which they are given."""
    read = [read_process(run) for run in runs]
    save(file, [process for process, _ in read], read[-1][1])
    print(f"{len(read)} processes: {file}")


def save(file: Path, processes: Sequence[dict[str, Any]], environment: dict[str, Any]) -> None:
    data = {"schema": 1, "environment": environment, "processes": processes}
    file.write_text(json.dumps(data) + "\n")


def read_process(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the samples of one run by test and metric, to five digits, and its environment."""
    tests: dict[str, dict[str, list[float]]] = {}
    chosen: dict[str, list[str]] = {}
    records = []
    for entry in json.loads(file.read_text())["benchmarks"]:
        ours = entry["extra_info"]["llmperf"]
        if "parent" in ours:
            chosen.setdefault(ours["parent"].rpartition("::")[2], []).append(ours["metric"])
        else:
            records.append(ours)
    for ours in records:
        name = ours["nodeid"].rpartition("::")[2]
        tests[name] = {
            key: [float(f"{s:.5g}") for s in ours["metrics"][key]["samples"]]
            for key in chosen.get(name, ["load_time"])
        }
    last = records[-1]
    environment = {
        key: last["environment"].get(key)
        for key in ("cpu", "cores", "device", "threads", "packages", "accelerators")
    }
    conditions = {
        ours["nodeid"].rpartition("::")[2]: {
            key: ours["environment"].get(key) for key in ("conditions", "canary")
        }
        for ours in records
    }
    sizes = {
        ours["nodeid"].rpartition("::")[2]: ours["workload"].get("batch_size", 1)
        for ours in records
    }
    process = {
        "started_at": last["run"]["started_at"],
        "tests": tests,
        "batch_sizes": sizes,
        "conditions": conditions,
    }
    return process, environment


@dataclass(frozen=True)
class Recording:
    """Processes of one suite, in the order in which they ran."""

    runs: tuple[StoredRun, ...]
    samples: tuple[dict[Entry, list[float]], ...]
    """Samples of each run by entry."""
    entries: tuple[Entry, ...]
    """The entries with noise."""


def load(file: Path) -> Recording:
    data = json.loads(file.read_text())
    runs, samples = [], []
    for number, process in enumerate(data["processes"]):
        tests, own = {}, {}
        for name, metrics in process["tests"].items():
            observations = {}
            for key, values in metrics.items():
                metric = Metric(METRICS[key], tuple(values))
                observations[key] = Observation(
                    metric.p50, metric.unit, metric.definition.better, metric.definition.kind
                )
                own[name, key] = values
            workload = {"batch_size": process.get("batch_sizes", {}).get(name, 1)}
            conditions = (process["conditions"].get(name) or {}).get("conditions") or {}
            environment = {"conditions": conditions}
            tests[name] = TestRecord(name, name, {}, workload, environment, observations, {})
        runs.append(
            StoredRun(
                Path(str(number)),
                f"run{number}",
                f"job{number}",
                f"{number:06}",
                "",
                "",
                False,
                tests,
                frozenset(),
            )
        )
        samples.append(own)
    # Only what every process has: runs for suspects hold fewer tests.
    common = set(samples[0]).intersection(*samples)
    entries = tuple(c for c in samples[0] if c in common and METRICS[c[1]].kind == "timing")
    return Recording(tuple(runs), tuple(samples), entries)


def evaluate(file: Path, suites: int, metric: str = "") -> None:
    recording = load(file)
    slowed = [entry for entry in recording.entries if metric in ("", entry[1])]
    tests = {test for test, _ in recording.entries}
    print(
        f"\n{file.name}: {len(recording.runs)} processes, {len(tests)} tests, "
        f"{len(recording.entries)} timing entries"
    )
    print(
        tabulate(variation(recording), ["metric", "within", "between", "pairs"], tablefmt="github")
    )
    rows = []
    for name, rule in (
        ("ab, 3 + 5 pairs", ab_rule),
        (f"history, {HISTORY_JOBS} jobs, {RESTARTS} restarts", history_rule),
        ("stock mean:5%, one run against one", stock_rule),
    ):
        if len(recording.runs) >= LEAST_PROCESSES[rule]:
            rows.append([name, *figures(recording, rule, suites, slowed)])
    headers = ["rule", "clean suites red", *(f"{e:.0%} found" for e in EFFECTS)]
    headers += ["must-see passed", "found at its detectable size"]
    print()
    print(tabulate(rows, headers, tablefmt="github", disable_numparse=True))


def variation(recording: Recording) -> list[list[str]]:
    """Return coefficients of variation by metric, each the median over the tests.

    They are those of the rounds of a process, of the medians of processes, and of the ratio of
    neighbors (divided by the square root of 2, so that it compares with the others).
    """
    found = []
    for key in dict.fromkeys(metric for _, metric in recording.entries):
        within, between, neighbours = [], [], []
        for entry in (c for c in recording.entries if c[1] == key):
            own = [math.log(run.tests[entry[0]].metrics[key].value) for run in recording.runs]
            between.append(statistics.stdev(own))
            ratios = [b - a for a, b in zip(own[::2], own[1::2], strict=False)]
            neighbours.append(statistics.stdev(ratios) / math.sqrt(2))
            rounds = [s[entry] for s in recording.samples if len(s[entry]) > 1]
            if rounds:
                within.append(
                    statistics.median(statistics.stdev(r) / statistics.fmean(r) for r in rounds)
                )
        row = [within, between, neighbours]
        found.append([key, *(f"{statistics.median(v):.2%}" if v else "" for v in row)])
    return found


@dataclass(frozen=True)
class Answer:
    """A rule's answer to one comparison."""

    regressed: set[Entry]
    passed: set[Entry]
    detectable: dict[Entry, float]
    """Smallest regressions that could have been detected; empty if the rule does not report them."""


Rule = Callable[[Recording, random.Random, Entry | None, float], Answer]
"""Takes a recording, a random source, the slowed entry (None for none) and its slowdown."""


def figures(recording: Recording, rule: Rule, suites: int, slowed: Sequence[Entry]) -> list[str]:
    source = random.Random(1)
    red = sum(bool(rule(recording, source, None, 0.0).regressed) for _ in range(suites))
    found = [with_error(red, suites)]
    must_see = MUST_SEE["history" if rule is history_rule else "pairs"]
    passed = 0
    for effect in EFFECTS:
        hits = 0
        for _ in range(suites):
            entry = source.choice(slowed)
            answer = rule(recording, source, entry, effect)
            hits += entry in answer.regressed
            passed += effect == must_see and entry in answer.passed
        found.append(with_error(hits, suites))
    if rule is stock_rule:
        return [*found, "", ""]
    return [*found, with_error(passed, suites), at_detectable(recording, rule, suites, slowed)]


def at_detectable(recording: Recording, rule: Rule, suites: int, slowed: Sequence[Entry]) -> str:
    """Return the share of slowdowns by exactly the detectable regression that are found.

    The detectable regression is that of a clean comparison of the same processes.
    """
    hits = total = 0
    for seed in range(suites):
        entry = random.Random(seed).choice(slowed)
        size = rule(recording, random.Random(seed), None, 0.0).detectable.get(entry)
        if size is not None and size < 1:
            total += 1
            hits += entry in rule(recording, random.Random(seed), entry, size).regressed
    return with_error(hits, total) if total else ""


def with_error(count: int, total: int) -> str:
    """Return a share with the error of dealing; that of the recording (one afternoon) is larger."""
    share = count / total
    return f"{share:.1%} +- {math.sqrt(share * (1 - share) / total):.1%}"


def ab_rule(
    recording: Recording, source: random.Random, slowed: Entry | None, effect: float
) -> Answer:
    """Deal a comparison in pairs, as ``pytest-llmperf ab`` measures it, and judge it."""
    starts = range(0, len(recording.runs) - 1, 2)
    chosen = source.sample(starts, FIRST_PAIRS + MORE_PAIRS)
    dealt = []
    for number, start in enumerate(chosen, 1):
        two = [recording.runs[start], recording.runs[start + 1]]
        source.shuffle(two)
        dealt.append(pairs.Pair(number, two[0], slow(two[1], slowed, effect)))
    first = dealt[:FIRST_PAIRS]
    tests = {test for test, _ in pairs.suspects(first, LimitSettings())}
    more = [
        pairs.Pair(p.number, only(p.baseline, tests), only(p.candidate, tests))
        for p in dealt[FIRST_PAIRS:]
        if tests
    ]
    return answer_of(pairs.judge(first + more, LimitSettings()))


def history_rule(
    recording: Recording, source: random.Random, slowed: Entry | None, effect: float
) -> Answer:
    """Judge a new job against past jobs; a job is a few neighboring processes."""
    jobs = [
        [replace(run, job_id=f"job{start}") for run in recording.runs[start : start + RESTARTS]]
        for start in range(0, len(recording.runs) - RESTARTS + 1, RESTARTS)
    ]
    chosen = source.sample(jobs, HISTORY_JOBS + 1)
    past = [run for job in chosen[:-1] for run in job]
    new = [slow(run, slowed, effect) for run in chosen[-1]]
    return answer_of(history.judge(past, new, LimitSettings()))


def stock_rule(
    recording: Recording, source: random.Random, slowed: Entry | None, effect: float
) -> Answer:
    """Compare the means over the rounds of two processes, as pytest-benchmark does."""
    a, b = source.sample(recording.samples, 2)
    found = set()
    for entry in recording.entries:
        before, after = lower_mean(entry, a[entry]), lower_mean(entry, b[entry])
        after *= 1 + effect if entry == slowed else 1
        if after > before * (1 + STOCK_LIMIT):
            found.add(entry)
    return Answer(found, set(recording.entries) - found, {})


def lower_mean(entry: Entry, values: Sequence[float]) -> float:
    if METRICS[entry[1]].better == "lower":
        return statistics.fmean(values)
    return statistics.fmean(1 / v for v in values)


def slow(run: StoredRun, entry: Entry | None, effect: float) -> StoredRun:
    """Return the run with one entry worse by a factor."""
    if entry is None:
        return run
    test = run.tests[entry[0]]
    observed = test.metrics[entry[1]]
    factor = 1 + effect if observed.better == "lower" else 1 / (1 + effect)
    metrics = {**test.metrics, entry[1]: replace(observed, value=observed.value * factor)}
    return replace(run, tests={**run.tests, entry[0]: replace(test, metrics=metrics)})


def only(run: StoredRun, tests: set[str]) -> StoredRun:
    return replace(run, tests={name: test for name, test in run.tests.items() if name in tests})


def answer_of(judgement: Judgement) -> Answer:
    """Return the answer on timing entries only: an exact one has no noise to resample."""
    timing = [entry for entry in judgement.entries if METRICS[entry.metric].kind == "timing"]
    by_verdict = {
        verdict: {(c.nodeid, c.metric) for c in timing if c.verdict is verdict}
        for verdict in Verdict
    }
    return Answer(
        by_verdict[Verdict.REGRESSION],
        by_verdict[Verdict.PASS],
        {(c.nodeid, c.metric): c.detectable for c in timing if c.detectable is not None},
    )


LEAST_PROCESSES = {
    ab_rule: 2 * (FIRST_PAIRS + MORE_PAIRS),
    history_rule: (HISTORY_JOBS + 1) * RESTARTS,
    stock_rule: 2,
}


if __name__ == "__main__":
    main()
