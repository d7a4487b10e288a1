"""Test the gate on real commits: some slow an engine by a known amount, and some do nothing.

    python tools/gate_end_to_end.py [simulated|transformers] [--same 10] [--keep FOLDER]

Clones this repository, commits a slowdown of the engine's own file, and lets ``pytest-llmperf ab``
compare the commits on ``tools/gate_suite.py``:

- a decode step that is 5 % slower everywhere has to be found;
- one that is 10 % slower in a single test (a batch of 4) has to be found in that test only;
- ``--same`` comparisons of a commit with itself have to show no regression.

The simulated engine is given noise (1 % between rounds and 1 % between processes), and is slowed by its
programmed time; transformers by a sleep after each step, whose length is 5 or 10 % of a step as measured
just before. Prints a line per comparison; exits with 1 if one of them is not as it has to be.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SUITE = "tools/gate_suite.py"
ONE_TEST = "test_batch[smollm2-135m-{engine}-none-4]"
NOISE = ["--llm-backend-arg=simulated.jitter=0.01", "--llm-backend-arg=simulated.run_jitter=0.01"]


@dataclass(frozen=True)
class Slowdown:
    """A change of an engine's file: a text and its replacement."""

    file: str
    find: str
    replace: str
    """May contain {factor} and {pause}."""


EVERYWHERE = {
    "simulated": Slowdown(
        "pytest_llmperf/backends/simulated.py",
        "        step = program.tpot * ",
        "        step = {factor} * program.tpot * ",
    ),
    "transformers": Slowdown(
        "pytest_llmperf/backends/transformers.py",
        "        self.times.append(time.perf_counter())\n",
        "        time.sleep({pause})\n        self.times.append(time.perf_counter())\n",
    ),
}
IN_ONE_TEST = {
    "simulated": Slowdown(
        "pytest_llmperf/backends/simulated.py",
        "        step = program.tpot * ",
        "        step = ({factor} if len(requests) == 4 else 1) * program.tpot * ",
    ),
    "transformers": Slowdown(
        "pytest_llmperf/backends/transformers.py",
        "        self.times.append(time.perf_counter())\n",
        "        time.sleep({pause} if len(value) == 4 else 0)\n"
        "        self.times.append(time.perf_counter())\n",
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "engine", nargs="?", default="simulated", choices=["simulated", "transformers"]
    )
    parser.add_argument("--same", type=int, default=10, help="comparisons of a commit with itself")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep every run there")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="llmperf-end-to-end-"))
    try:
        bench = Bench(options.engine, place / "clone", (options.keep or place / "runs").resolve())
        results = [bench.everywhere(), bench.one_test()]
        results += [bench.same(number) for number in range(1, options.same + 1)]
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(f"{sum(results)} of {len(results)} comparisons as they have to be")
    return 0 if all(results) else 1


class Bench:
    """A clone of the repository to commit to, with its comparisons."""

    def __init__(self, engine: str, clone: Path, runs: Path) -> None:
        self.engine, self.clone, self.runs = engine, clone, runs
        runs.mkdir(parents=True, exist_ok=True)
        git(REPOSITORY, "clone", "--quiet", str(REPOSITORY), str(clone))
        git(clone, "config", "user.email", "gate@localhost")
        git(clone, "config", "user.name", "gate")
        self.base = git(clone, "rev-parse", "HEAD")
        self.steps = step_times(engine)

    def everywhere(self) -> bool:
        entries = self.compare("everywhere", self.commit(EVERYWHERE[self.engine], 0.05, ""))
        return say("5 % everywhere", any(metric == "tpot" for _, metric in entries), entries)

    def one_test(self) -> bool:
        slow = ONE_TEST.format(engine=self.engine)
        entries = self.compare("one-test", self.commit(IN_ONE_TEST[self.engine], 0.10, slow))
        tests = {nodeid.rpartition("::")[2] for nodeid, _ in entries}
        return say("10 % in one test", tests == {slow}, entries)

    def same(self, number: int) -> bool:
        entries = self.compare(f"same-{number}", self.base)
        return say(f"nothing differs, {number}", not entries, entries)

    def commit(self, change: Slowdown, share: float, test: str) -> str:
        """Commit a slowdown of a decode step by a share on the base; return the commit's id."""
        git(self.clone, "checkout", "--quiet", "--detach", self.base)
        path = self.clone / change.file
        text = path.read_text("utf-8")
        if text.count(change.find) != 1:
            sys.exit(f"{change.file} has changed: {change.find.strip()!r} is not in it once")
        steps = [seconds for name, seconds in self.steps.items() if test in name]
        pause = share * sum(steps) / len(steps)
        new = change.replace.format(factor=1 + share, pause=f"{pause:.6f}")
        path.write_text(text.replace(change.find, new), encoding="utf-8")
        git(self.clone, "commit", "--quiet", "--all", "--message", f"slower by {share:.0%}")
        return git(self.clone, "rev-parse", "HEAD")

    def compare(self, name: str, head: str) -> set[tuple[str, str]]:
        """Compare with the base; return (test, metric) of the regressed entries."""
        out = self.runs / name
        command = [sys.executable, "-m", "pytest_llmperf.cli", "ab", f"--base={self.base}"]
        command += [f"--head={head}", f"--out={out}", "--", SUITE, *arguments(self.engine)]
        log = self.runs / f"{name}.txt"
        with log.open("w") as output:
            done = subprocess.run(
                command, cwd=self.clone, stdout=output, stderr=subprocess.STDOUT, check=False
            )
        if done.returncode not in (0, 1):
            sys.exit(f"{name} ended with {done.returncode}:\n{log.read_text()[-2000:]}")
        entries = json.loads((out / "verdict.json").read_text())["entries"]
        return {(c["nodeid"], c["metric"]) for c in entries if c["verdict"] == "regression"}


def arguments(engine: str) -> list[str]:
    # Half of the suite: a process of a real engine takes long.
    real = ["--llm-rounds=5", "--llm-warmup=1", "-k", "8-16 or batch"]
    own = NOISE if engine == "simulated" else real
    return [f"--llm-backend={engine}", *own, "-p", "no:cacheprovider"]


def step_times(engine: str) -> dict[str, float]:
    """Return the seconds of a decode step by test."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run.json"
        command = [sys.executable, "-m", "pytest", SUITE, "-q", *arguments(engine)]
        subprocess.run(
            [*command, f"--benchmark-json={out}"],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        entries = json.loads(out.read_text())["benchmarks"]
    records = [e["extra_info"]["llmperf"] for e in entries]
    return {r["nodeid"]: r["metrics"]["tpot"]["p50"] for r in records if "metrics" in r}


def say(name: str, as_it_has_to_be: bool, entries: set[tuple[str, str]]) -> bool:
    short = sorted(f"{re.sub(r'.*::', '', nodeid)} {metric}" for nodeid, metric in entries)
    found = ", ".join(short) or "no regression"
    print(f"{'ok ' if as_it_has_to_be else 'NOT'} {name}: {found}", flush=True)
    return as_it_has_to_be


def git(folder: Path, *words: str) -> str:
    command: Sequence[str] = ["git", "-C", str(folder), *words]
    if words[0] == "clone":
        command = ["git", *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
