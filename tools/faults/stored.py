"""Files that somebody or something has spoilt: runs, journals, acceptances, plans, models."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from . import processes
from .inputs import ENGINE, TEST, Ended, Input, command, pytest_step

NASTY: tuple[Any, ...] = (
    None,
    True,
    "",
    "x",
    "\x1b[31mred",
    "\ud800",
    -1,
    0,
    1e308,
    5e-324,
    float("nan"),
    float("inf"),
    10**400,
    [],
    {},
    [[]],
    {"": None},
    "../../x",
    "/etc/passwd",
    "a" * 5000,
    [1, "a"],
    -0.0,
)
# An engine whose code became slower: its arguments are what they were. Both run in pytest's process.
CONFTEST = """
from dataclasses import replace
from pytest_llmperf.backends.simulated import Program

def pytest_addoption(parser):
    parser.addoption("--slower", type=float, default=1.0)

def pytest_configure(config):
    from_args, factor = Program.from_args, config.getoption("slower")
    def slower(args):
        program = from_args(args)
        return replace(program, tpot=program.tpot * factor)
    Program.from_args = staticmethod(slower)
"""
ACCEPTED = "llmperf-accepted.json"
METRICS = ("--llm-metrics=tpot", "--llm-isolation=none")
SLOWER = "--slower=5"
GATE = ("--llm-gate=history", *METRICS)


class Templates:
    """Real files of real runs, made once, which the inputs spoil."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "test_x.py").write_text(TEST)
        (folder / "conftest.py").write_text(CONFTEST)
        for _ in range(4):
            self._pytest("--benchmark-autosave", *METRICS)
        self.runs = sorted(folder.glob(".benchmarks/*/*.json"))
        self._accept()
        self.accepted = (folder / ACCEPTED).read_bytes()
        (folder / ACCEPTED).unlink()
        for _ in range(2):
            self._pytest("--benchmark-autosave", SLOWER, *METRICS)
        self.at_both_levels = sorted(folder.glob(".benchmarks/*/*.json"))
        self.journal = self._journal()
        self.plan = self._plan()

    def storage(self, folder: Path, runs: Sequence[Path] = ()) -> Path:
        """Copy runs into a storage, the fast ones if none are given, and the slowing conftest."""
        shutil.copy(self.folder / "conftest.py", folder)
        storage = folder / ".benchmarks" / self.runs[0].parent.name
        storage.mkdir(parents=True)
        for path in runs or self.runs:
            shutil.copy(path, storage)
        return storage

    def _pytest(self, *arguments: str, codes: Sequence[int] = (0,)) -> None:
        done = processes.run("pytest", [ENGINE, "-q", "-Wdefault", *arguments], self.folder)
        if done.code not in codes:
            sys.exit(f"the template's run fails:\n{done.output}")

    def _accept(self) -> None:
        """Accept a regression; on a busy machine the gate may not be sure that it is one."""
        for _ in range(5):
            self._pytest("--benchmark-autosave", SLOWER, *GATE, "--llm-accept=wanted")
            if (self.folder / ACCEPTED).exists():
                return
            max(self.folder.glob(".benchmarks/*/*.json")).unlink()
        sys.exit("the template's runs are too unsteady for the gate: the machine is too busy")

    def _journal(self) -> bytes:
        (self.folder / "test_y.py").write_text(
            TEST.replace("test_x", "test_a")
            + "\n\ndef test_z(llm):\n    import os\n    os.kill(os.getpid(), 9)\n"
        )
        self._pytest("test_y.py", codes=(-9,))
        (self.folder / "test_y.py").unlink()
        (path,) = self.folder.glob(".benchmarks/.llmperf/*.jsonl")
        text = path.read_bytes()
        path.unlink()
        return text

    def _plan(self) -> Path:
        project = self.folder / "project"
        project.mkdir()
        shutil.copy(self.folder / "test_x.py", project)
        git(project, "init", "-q")
        git(project, "add", "-A")
        for message in ("base", "head"):
            git(project, "commit", "-qm", message, "--allow-empty")
        options = [
            "--pairs=2",
            "--more-pairs=0",
            "--min-effect=90%",
            "--must-see=99%",
            "--out=../out",
        ]
        arguments = ["ab", "--base=HEAD~1", *options, "--", ENGINE, "-Wdefault"]
        done = processes.run("pytest_llmperf.cli", arguments, project)
        if done.code:
            sys.exit(f"the template's comparison fails:\n{done.output}")
        return self.folder


def git(folder: Path, *arguments: str) -> None:
    """Run git with an author."""
    author = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *author, *arguments], cwd=folder, check=True, capture_output=True)


def spoilt(text: bytes, chance: random.Random) -> tuple[str, bytes]:
    """Return what was done to a JSON text, and what it is now."""
    how = chance.choice(["value"] * 6 + ["drop", "drop", "cut", "bytes", "deep", "empty", "other"])
    if how in ("value", "drop"):
        data = json.loads(text)
        path = _somewhere(data, chance)
        holder = data
        for key in path[:-1]:
            holder = holder[key]
        where = "/".join(map(str, path))[-60:]
        if how == "drop":
            del holder[path[-1]]
            return f"without {where}", json.dumps(data).encode()
        value = chance.choice(NASTY)
        holder[path[-1]] = value
        return f"{where} = {value!r:.30}", _dumped(data)
    if how == "cut":
        end = chance.randrange(1, len(text))
        return f"cut at {end} of {len(text)}", text[:end]
    if how == "bytes":
        changed = bytearray(text)
        for _ in range(5):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        return "five other bytes", bytes(changed)
    return how, {"deep": b"[" * 200000, "empty": b"", "other": b'{"a": 1}'}[how]


def odd_files(path: Path) -> dict[str, Callable[[], object]]:
    """Return what may stand where a file should."""
    return {
        "a FIFO": lambda: os.mkfifo(path),
        "a folder": lambda: path.mkdir(),
        "a dangling link": lambda: path.symlink_to("/nosuch"),
        "a link to itself": lambda: path.symlink_to(path.name),
        "/dev/zero": lambda: path.symlink_to("/dev/zero"),
        "/dev/stdin": lambda: path.symlink_to("/dev/stdin"),
    }


def runs(made: Templates, chance: random.Random, count: int) -> Iterator[Input]:
    """Yield storages with a spoilt run among good ones, and all that reads them."""
    name = "0005_spoilt.json"
    for number in range(count):
        what, text = spoilt(made.runs[-1].read_bytes(), chance)
        yield _with_run(made, what, lambda p, t=text: p.write_bytes(t), number, name)
    for what in odd_files(Path(name)):
        for number in (0, 3):
            yield _with_run(made, what, lambda p, w=what: odd_files(p)[w](), number, name)


def _with_run(
    made: Templates, what: str, write: Callable[[Path], object], number: int, name: str
) -> Input:
    folder = f".benchmarks/{made.runs[0].parent.name}"
    spoilt, good = f"{folder}/{name}", f"{folder}/{made.runs[0].name}"
    step = [
        command("compare", good, spoilt),
        command("compare", spoilt, good),
        command("history"),
        pytest_step(*GATE, SLOWER),
        command("tradeoff", spoilt),
        command("fit", spoilt, "--size=16GiB"),
        pytest_step("--llm-fail-if=tpot.p50:+20%", *METRICS, SLOWER),
    ][number % 7]

    def prepare(folder: Path) -> None:
        write(made.storage(folder) / name)

    def wrong(folder: Path, steps: Sequence[Ended]) -> str:
        # Five times as slow as the good runs, whatever the spoilt one says.
        slower = SLOWER in step[1]
        return "a regression passed" if slower and steps[0].code == 0 else ""

    return Input("stored run", f"{what}; {' '.join(step[1])[-40:]}", [step], prepare, wrong)


def journals(made: Templates, chance: random.Random, count: int) -> Iterator[Input]:
    """Yield storages with a spoilt journal, an ordinary run, and ``recover``."""
    header, *entries = made.journal.splitlines(keepends=True)
    for _ in range(count):
        if chance.random() < 0.6:
            what, text = spoilt(header, chance)
            text = text.rstrip(b"\n") + b"\n" + b"".join(entries)
        else:
            what, text = spoilt(entries[0], chance)
            text = header + text.rstrip(b"\n") + b"\n" + b"".join(entries[1:])
        yield _with_journal(made, what, lambda p, t=text: p.write_bytes(t))
    for what in odd_files(Path("a.jsonl")):
        yield _with_journal(made, what, lambda p, w=what: odd_files(p)[w]())


def _with_journal(made: Templates, what: str, write: Callable[[Path], object]) -> Input:
    work = Path("a/b/c")

    def prepare(folder: Path) -> None:
        (folder / work / ".benchmarks/.llmperf").mkdir(parents=True)
        shutil.copy(folder / "test_x.py", folder / work)
        write(folder / work / ".benchmarks/.llmperf/spoilt.jsonl")

    def wrong(folder: Path, steps: Sequence[Ended]) -> str:
        if steps[0].code:
            return "an ordinary run fails"
        storage = folder / work / ".benchmarks"
        if len(list(storage.glob("*/*.json"))) > 2 or not list(storage.glob("*/0001*.json")):
            return "the ordinary run is not stored once"
        for place in (*folder.rglob("*recovered*"), *Path("/").glob("*recovered*")):
            if storage not in place.parents:
                return f"{place} was written"
        return ""

    steps = [pytest_step("--benchmark-autosave"), command("recover")]
    return Input("journal", what, steps, prepare, wrong, project=work)


def acceptances(made: Templates, chance: random.Random, count: int) -> Iterator[Input]:
    """Yield spoilt files of accepted changes beside a regression."""
    spoilt_files: list[tuple[str, Callable[[Path], object]]] = []
    for _ in range(count):
        what, text = spoilt(made.accepted, chance)
        spoilt_files.append((what, lambda p, t=text: p.write_bytes(t)))
    for what in odd_files(Path(ACCEPTED)):
        spoilt_files.append((what, lambda p, w=what: odd_files(p)[w]()))
    for what, write in spoilt_files:

        def prepare(folder: Path, write: Callable[[Path], object] = write) -> None:
            made.storage(folder, made.at_both_levels)
            write(folder / ACCEPTED)

        def wrong(folder: Path, steps: Sequence[Ended]) -> str:
            return "a regression passed" if steps[0].code == 0 else ""

        yield Input(
            "accepted",
            what,
            [pytest_step(*GATE, "--slower=20")],
            prepare,
            wrong,
        )


def plans(made: Templates, chance: random.Random, count: int) -> Iterator[Input]:
    """Yield comparisons with a spoilt plan, to go on with."""
    text = (made.plan / "out" / "plan.json").read_bytes()
    for _ in range(count):
        what, changed = spoilt(text, chance)

        def prepare(folder: Path, changed: bytes = changed) -> None:
            shutil.copytree(made.plan / "project", folder / "project")
            shutil.copytree(made.plan / "out", folder / "out")
            here = changed.replace(os.fsencode(made.plan), os.fsencode(folder))
            (folder / "out" / "plan.json").write_bytes(here)

        steps = [command("ab", "--resume=../out")]
        yield Input("plan", what, steps, prepare, project=Path("project"))


def headers(chance: random.Random, count: int) -> Iterator[Input]:
    """Yield GGUF files whose header is spoilt."""
    good = _gguf_header()
    special = {
        "a string of 2^63 bytes": _header(2, _text(b"x") + struct.pack("<IQ", 8, 2**63)),
        "a key of 2^63 bytes": _header(1, struct.pack("<Q", 2**63)),
        "all ff": b"GGUF" + b"\xff" * 1000,
        "2,000 nested arrays": _header(
            1, _text(b"x") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 2000
        ),
        "an array of 2^40": _header(1, _text(b"x") + struct.pack("<IIQ", 9, 4, 2**40)),
        "2^60 keys": _header(2**60, b""),
        "empty": b"",
        "GGUF alone": b"GGUF",
        "version 0": b"GGUF" + bytes(20),
    }
    for what, text in special.items():
        yield _with_model(what, "m.gguf", text)
    for _ in range(count - len(special)):
        changed = bytearray(good)
        for _ in range(chance.randrange(1, 5)):
            changed[chance.randrange(4, len(changed))] = chance.choice([0, 1, 9, 127, 255])
        end = chance.choice([len(changed), len(changed), chance.randrange(len(changed))])
        yield _with_model("other bytes", "m.gguf", bytes(changed[:end]))


def configs(chance: random.Random, count: int) -> Iterator[Input]:
    """Yield model folders whose config.json is spoilt."""
    good = json.dumps(
        {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 1000,
            "max_position_embeddings": 128,
            "torch_dtype": "bfloat16",
            "rope_parameters": {"rope_theta": 10000.0},
        }
    ).encode()
    for _ in range(count):
        what, text = spoilt(good, chance)
        yield _with_model(what, "m/config.json", text)


def _with_model(what: str, name: str, text: bytes) -> Input:
    def prepare(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text)

    kind = "GGUF header" if name.endswith("gguf") else "config.json"
    model = f"--llm-model=./{name.partition('/')[0]}"
    step = pytest_step(model)
    if kind == "GGUF header":
        # No engine loads it: the header is read while pytest collects.
        step = ("pytest", ["-q", "-Wdefault", "--collect-only", "--llm-backend=llama-cpp", model])
    return Input(kind, what, [step], prepare)


def _text(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def _header(keys: int, body: bytes) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, 0, keys) + body + bytes(64)


def _gguf_header() -> bytes:
    strings = {b"general.architecture": b"llama", b"general.name": b"m"}
    numbers = {
        b"general.file_type": 3,
        b"llama.block_count": 2,
        b"llama.embedding_length": 64,
        b"llama.feed_forward_length": 128,
        b"llama.attention.head_count": 4,
        b"llama.attention.head_count_kv": 2,
        b"llama.context_length": 128,
    }
    body = b"".join(_text(k) + struct.pack("<I", 8) + _text(v) for k, v in strings.items())
    body += b"".join(_text(k) + struct.pack("<II", 4, v) for k, v in numbers.items())
    words = b"".join(_text(b"w%d" % i) for i in range(8))
    body += _text(b"tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 8) + words
    return _header(len(strings) + len(numbers) + 1, body)


def _somewhere(data: Any, chance: random.Random) -> list[Any]:
    """Return the path of a value, deep or shallow with equal chance."""
    path: list[Any] = []
    while isinstance(data, (dict, list)) and data and (not path or chance.random() < 0.75):
        key = chance.choice(list(data)) if isinstance(data, dict) else chance.randrange(len(data))
        path.append(key)
        data = data[key]
    return path


def _dumped(data: Any) -> bytes:
    return json.dumps(data).encode()
