"""Kill engines, pytest and ``ab`` at random moments, and count what is lost.

    python tools/try_kills.py [--kills 60] [--seed 1] [--only engine|pytest|ab] [--keep]

A third of the kills hits the engine of a run, a third pytest, a third ``ab`` or a process of its own.
The moments are uniform over the length of an undisturbed run; the signals are those that a machine or a
person sends (SIGKILL, SIGTERM, SIGHUP, Ctrl-C). The simulated engine is measured: this package is under
test, not an engine.

After each kill:

- a test whose ``llm_benchmark`` had returned is in the storage, or comes into it by ``pytest-llmperf
  recover``, once;
- ``ab --resume`` comes to the end;
- no process, worktree or temporary folder is left, nothing hangs, nobody saw a traceback.

Prints one line per fault, and the counts; exits with 1 if one of them is not 0. Takes about eight
minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from faults import processes

TESTS = 6
SUITE = f"""
import os
import pytest

@pytest.mark.parametrize("length", range(2, {TESTS + 2}))
def test_m(llm, llm_benchmark, length):
    llm_benchmark(llm, input_len=length, output_len=20, rounds=5, warmup=1)
    if path := os.environ.get("FINISHED"):
        with open(path, "a") as file:
            file.write(f"test_m[smollm2-135m-simulated-none-{{length}}]\\n")
"""
ENGINE = "--llm-backend=simulated"
PYTEST = (ENGINE, "-Wdefault", "--benchmark-autosave")
AB = ("--pairs=2", "--more-pairs=0", "--min-effect=90%", "--must-see=99%")
COLUMNS = ("lost", "twice", "processes left", "files left", "hangs", "tracebacks", "not resumed")
KILL, TERM, HUP, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT


class Case:
    """A kill in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.faults: Counter[str] = Counter()
        self.notes: list[str] = []
        (folder / "test_m.py").write_text(SUITE)

    def fault(self, kind: str, note: str, count: int = 1) -> None:
        """Count a fault."""
        if count:
            self.faults[kind] += count
            self.notes.append(f"{kind}: {note}")

    def look(self, done: processes.Ended, who: str) -> None:
        """Count a program that hung or showed a traceback."""
        self.fault("hangs", f"{who} did not end", done.code is None)
        self.fault("tracebacks", f"{who}: {done.output[-2000:]}", done.has_traceback)

    def look_for_processes(self) -> None:
        """Count the processes that are left."""
        found = processes.left(self.folder)
        self.fault("processes left", "; ".join(found.values())[:400], len(found))

    def look_for_files(self) -> None:
        """Count what is left in the temporary folder."""
        names = sorted(p.name for p in (self.folder / "tmp").iterdir() if not _is_probe(p))
        names = [name for name in names if not name.startswith("pytest-of-")]
        self.fault("files left", ", ".join(names), len(names))


def main() -> int:
    """Kill, count, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--keep", action="store_true", help="keep the folders of kills with a fault"
    )
    parser.add_argument("--only", choices=["engine", "pytest", "ab"])
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        length = _length_of_a_run(Path(folder))
    total: Counter[str] = Counter()
    kills: Counter[str] = Counter()
    kinds = [(name, act) for name, act in KINDS if options.only in (None, name)]
    for number in range(options.kills):
        name, act = kinds[number % len(kinds)]
        case = Case(Path(tempfile.mkdtemp(prefix="kill-")))
        act(case, chance, length)
        kills[name] += 1
        total.update(case.faults)
        for note in case.notes:
            print(f"{number} {name} {case.folder}: {note}", flush=True)
        if not (options.keep and case.faults):
            shutil.rmtree(case.folder, ignore_errors=True)
    print(", ".join(f"{count} of {name}" for name, count in kills.items()), "killed")
    for column in COLUMNS:
        print(f"{column:16} {total[column]}")
    return 1 if total else 0


def kill_engine(case: Case, chance: random.Random, length: float) -> None:
    """Kill the engine's process while the run goes on."""
    process, output = _started(case)
    _sleep(chance, length)
    victims = _engines(case.folder)
    for victim in victims:
        _send(victim, KILL)
    done = processes.ended(process, output, 120)
    case.look(done, "pytest")
    finished = _finished(case.folder)
    case.fault(
        "lost", f"{TESTS - len(finished)} tests did not measure", max(0, TESTS - len(finished) - 1)
    )
    _check_stored(case, finished)


def kill_pytest(case: Case, chance: random.Random, length: float) -> None:
    """End pytest, as the machine or a person does."""
    process, output = _started(case)
    number = chance.choice([KILL, KILL, TERM, INT, HUP])
    _sleep(chance, length)
    if number == INT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    done = processes.ended(process, output, 60)
    case.look(done, f"pytest after {number.name}")
    _check_stored(case, _finished(case.folder))


def kill_ab(case: Case, chance: random.Random, length: float) -> None:
    """End ``ab``, its pytest, or its engine; then resume."""
    _make_repository(case.folder)
    arguments = [
        "ab",
        "--base=HEAD~1",
        f"--out={case.folder / 'out'}",
        *AB,
        "--",
        ENGINE,
        "-Wdefault",
    ]
    output = case.folder / "ab.txt"
    process = processes.start(
        "pytest_llmperf.cli", arguments, case.folder / "project", output, **_mark(case)
    )
    victim = chance.choice(["ab", "ab", "ab", "pytest", "engine"])
    number = chance.choice([KILL, KILL, TERM, INT, HUP]) if victim == "ab" else KILL
    _sleep(chance, 4 * length + 2)
    if victim == "engine":
        for engine in _engines(case.folder):
            _send(engine, KILL)
    elif victim == "pytest":
        for child in _pytests(case.folder):
            _send(child, KILL)
    elif number == INT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    done = processes.ended(process, output, 180)
    who = f"ab after {number.name} to {victim}"
    case.look(done, who)
    case.look_for_processes()
    if (case.folder / "out" / "plan.json").exists():
        resume = ["ab", f"--resume={case.folder / 'out'}"]
        resumed = processes.start(
            "pytest_llmperf.cli", resume, case.folder / "project", output, **_mark(case)
        )
        done = processes.ended(resumed, output, 180)
        case.look(done, f"{who}, resumed")
        case.fault(
            "not resumed", f"{who}: exit code {done.code}: {done.output[-600:]}", done.code != 0
        )
        case.look_for_processes()
    elif number == KILL:
        # Killed before it had a plan: the next comparison clears up.
        done = processes.run(
            "pytest_llmperf.cli", arguments, case.folder / "project", 180, **_mark(case)
        )
        case.look(done, f"{who}, again")
    worktrees = _git(case.folder / "project", "worktree", "list").splitlines()[1:]
    case.fault("files left", f"{who}: {worktrees}", len(worktrees))
    case.look_for_files()


KINDS: list[tuple[str, Callable[[Case, random.Random, float], None]]] = [
    ("engine", kill_engine),
    ("pytest", kill_pytest),
    ("ab", kill_ab),
]


def _is_probe(path: Path) -> bool:
    """Return whether a file is Python's own, by which tempfile tries out a folder for an instant."""
    return path.is_file() and path.read_bytes() in (b"", b"blat") and len(path.name) == 8


def _length_of_a_run(folder: Path) -> float:
    (folder / "test_m.py").write_text(SUITE)
    begin = time.monotonic()
    done = processes.run("pytest", PYTEST, folder)
    if done.code:
        sys.exit(f"an undisturbed run fails:\n{done.output}")
    return time.monotonic() - begin


def _started(case: Case) -> tuple[subprocess.Popen[bytes], Path]:
    output = case.folder / "output.txt"
    more = {"FINISHED": str(case.folder / "finished.txt")}
    return processes.start("pytest", PYTEST, case.folder, output, **more), output


def _mark(case: Case) -> dict[str, str]:
    # The folder of the case, not the repository in it, has the mark and the temporary files.
    temporary = case.folder / "tmp"
    temporary.mkdir(exist_ok=True)
    return {processes.MARK: str(case.folder), "TMPDIR": str(temporary)}


def _sleep(chance: random.Random, length: float) -> None:
    time.sleep(chance.uniform(0, length))


def _send(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return


def _engines(folder: Path) -> list[int]:
    """Return the workers' processes: execnet starts them with this program text."""
    return [pid for pid, line in processes.living(folder).items() if "exec(eval(sys.stdin" in line]


def _pytests(folder: Path) -> list[int]:
    return [
        pid
        for pid, line in processes.living(folder).items()
        if "pytest_llmperf/session/child.py" in line or "-m pytest" in line
    ]


def _finished(folder: Path) -> list[str]:
    try:
        return (folder / "finished.txt").read_text().split("\n")[:-1]
    except FileNotFoundError:
        return []


def _check_stored(case: Case, finished: list[str]) -> None:
    """Compare what was measured with what is stored after ``recover``."""
    case.look_for_processes()
    if (case.folder / ".benchmarks").exists():
        done = processes.run("pytest_llmperf.cli", ["recover"], case.folder)
        case.look(done, "recover")
    stored = Counter(_stored(case.folder))
    missing = [name for name in finished if not stored[name]]
    case.fault("lost", f"{missing} are not stored", len(missing))
    twice = [name for name, count in stored.items() if count > 1]
    case.fault("twice", f"{twice} are stored twice", len(twice))
    left = list(case.folder.glob(".benchmarks/.llmperf/*"))
    case.fault(
        "files left",
        f"{[p.name for p in left if p.suffix == '.jsonl']}",
        sum(p.suffix == ".jsonl" for p in left),
    )
    case.look_for_files()


def _stored(folder: Path) -> Iterator[str]:
    for path in folder.glob(".benchmarks/*/*.json"):
        for entry in json.loads(path.read_text())["benchmarks"]:
            if "schema" in entry["extra_info"].get("llmperf", {}):
                yield entry["name"]


def _make_repository(folder: Path) -> None:
    project = folder / "project"
    project.mkdir()
    shutil.move(folder / "test_m.py", project)
    _git(project, "init", "-q")
    _git(project, "add", "-A")
    for message in ("base", "head"):
        _git(project, "commit", "-qm", message, "--allow-empty")


def _git(folder: Path, *arguments: str) -> str:
    author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", *author, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
