"""What a person may type: options, ini lines, markers, arguments of calls."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_llmperf.session.options import OPTIONS

from .inputs import TEST, Ended, Input, accepted, command, never, pytest_step

# None of them is a value of any option.
NEVER = (
    "",
    " ",
    ",",
    "\udcff",
    "nan",
    "-1",
    "[" * 20000,
    "9" * 400,
    "1e400",
    "=",
    "%s%n",
    "\x1b[31m",
)
# Some options take these.
MAYBE = (
    "~nosuchuser/x",
    "a" * 300,
    "../..",
    "/dev/null",
    "0",
    "1e10",
    "10**30",
    "1_0",
    "٣",
    "x=",
    "{}",
    "true",
)
# They take any text.
FREE = {
    "llm-revision",
    "llm-accept",
    "llm-gate-branch",
    "llm-cache-dir",
    "llm-model",
    "llm-backend-arg",
}
OBJECTS = (
    "-1",
    "0",
    "1.5",
    "'4'",
    "None",
    "[]",
    "{}",
    "object()",
    "float('nan')",
    "float('inf')",
    "10**30",
    "2**63",
    "b'4'",
    "lambda: 4",
    "''",
    "'\\ud800'",
    "['a', 'b']",
    "True",
    "(1, 2)",
)
BY_NEED = ("precision", "max_time", "min_rounds")
CALLS = ("prompt", "input_len", "output_len", "batch_size", "rounds", *BY_NEED, "warmup", "slo")
VALID = {
    ("prompt", "None"),
    # It is a text.
    ("prompt", "'4'"),
    ("rounds", "None"),
    *((name, "None") for name in BY_NEED),
    ("max_time", "1.5"),
    ("warmup", "None"),
    ("slo", "None"),
    ("slo", "{}"),
    ("warmup", "0"),
}
MARKS = ("model", "backend", "quant")


def options() -> Iterator[Input]:
    """Yield each option with values that it cannot take."""
    for option in OPTIONS:
        if not option.metavar:
            continue
        for value in (*NEVER, *MAYBE):
            # No test of it gives an engine so odd a name.
            refused = (value in NEVER and option.name not in FREE) or not value.strip(" ,")
            yield Input(
                "option",
                f"--{option.name}={value[:30]!r}",
                [pytest_step(f"--{option.name}={value}")],
                wrong=_not_ignored if refused else never,
            )


def commands() -> Iterator[Input]:
    """Yield the commands with arguments that they cannot take."""
    values = {
        "compare": [
            "--min-effect=nan",
            "--must-see=",
            "nosuch",
            "/dev/null /dev/null",
            ". .",
            "--storage=/dev/null a b",
        ],
        "history": [
            "--storage=nosuch",
            "--storage=/dev/null",
            "--branch=\udcff",
            "--csv=nosuch/x.csv",
            "--last=-1",
        ],
        "tradeoff": [
            "nosuch.json",
            "/dev/null",
            ".",
            "--plot=nosuch/x.png /dev/null",
            "--plot=x.nosuch /dev/null",
        ],
        "fit": ["nosuch.json --size=16GiB", "/dev/null --size=x", ". --size=nan", ". --size=-1GiB"],
        "recover": ["--storage=nosuch", "--storage=/dev/null", "x"],
        "ab": [
            "--pairs=-1",
            f"--pairs={'9' * 30}",
            "--pairs=1.5",
            "--base=",
            "--base=--help",
            "--resume=nosuch",
            "--resume=/dev/null",
            "--out=/dev/null/x",
            "--json=nosuch/x.json --base=HEAD",
            "--base-args=' --base=HEAD",
        ],
        "": ["nosuch", "", "--nosuch"],
    }
    for name, lines in values.items():
        for line in lines:
            words = [name, *line.split(" ")] if name else line.split(" ")
            yield Input("command", " ".join(words)[:60], [command(*words)], wrong=accepted)


def ini_lines() -> Iterator[Input]:
    """Yield ini files with values that their options cannot take."""
    for option in OPTIONS:
        if not option.metavar:
            continue
        for value in ("", "-1", "nan", "\x1b[31m", "[" * 5000, "a\n  b"):
            refused = value in ("-1", "nan", "\x1b[31m") and option.name not in FREE
            yield Input(
                "ini line",
                f"{option.ini} = {value[:20]!r}",
                [_without(option.flag)],
                prepare=_Writes("pytest.ini", f"[pytest]\n{option.ini} = {value}\n"),
                wrong=_not_ignored if refused else never,
            )
    for value in ("[1]", "{a = 1}", "true", "1.5", "2026-01-01", "[[]]", '["", "\\u0000"]'):
        for name in ("llm_model", "llm_rounds", "llm_fail_if", "llm_backend_arg"):
            text = f"[tool.pytest.ini_options]\n{name} = {value}\n"
            yield Input(
                "ini line", f"{name} = {value}", [pytest_step()], _Writes("pyproject.toml", text)
            )
    for text in ("[pytest\n", "[pytest]\nllm_model\n", "\0", "[pytest]\nllm_nosuch = 1\n"):
        yield Input("ini line", repr(text), [pytest_step()], _Writes("pytest.ini", text))


def markers() -> Iterator[Input]:
    """Yield markers with arguments that they cannot take."""
    for name in MARKS:
        for value in OBJECTS:
            yield Input(
                "marker",
                f"llm({name}={value})",
                [pytest_step()],
                _Test(f"import pytest\n\n@pytest.mark.llm({name}={value})\n"),
                wrong=never if value in ("None", "[]", "{}") else accepted,
            )
    for call in ("llm(1)", "llm(nosuch=1)", "llm('phi-2')", "llm_nosuch"):
        yield Input(
            "marker",
            call,
            [pytest_step("--strict-markers")],
            _Test(f"import pytest\n\n@pytest.mark.{call}\n"),
            accepted,
        )


def calls() -> Iterator[Input]:
    """Yield calls of ``llm_benchmark`` with arguments that they cannot take."""
    for name in CALLS:
        for value in OBJECTS:
            # A fixed number of rounds would be refused beside them.
            rounds = "None" if name in BY_NEED else "2"
            arguments = {"output_len": "4", "rounds": rounds, "warmup": "0", name: value}
            if name != "prompt":
                arguments.setdefault("input_len", "4")
            text = ", ".join(f"{k}={v}" for k, v in arguments.items())
            yield Input(
                "call",
                f"{name}={value}",
                [pytest_step()],
                _Writes(
                    "test_x.py",
                    f"def test_x(llm, llm_benchmark):\n    llm_benchmark(llm, {text})\n",
                ),
                wrong=never if (name, value) in VALID else accepted,
            )
    for call in (
        "llm.generate(None)",
        "llm.generate(b'x')",
        "llm.generate('x', output_len=-1)",
        "llm.generate('x', output_len=10**30)",
        "llm.generate('\\ud800')",
        "llm.generate_ids([-1])",
        "llm.generate_ids([10**30])",
        "llm.generate_ids(['a'])",
        "llm.generate_ids([])",
        "llm.generate_batch_ids([])",
        "llm.generate_batch_ids('x')",
        "llm.score(None)",
        "llm.score([])",
        "llm.perplexity('')",
        "llm.perplexity(None)",
        "llm_benchmark()",
        "llm_benchmark(None)",
        "llm_benchmark(llm, 4)",
        "llm_benchmark(llm, nosuch=4)",
        "llm_benchmark.quality(None)",
        "llm_benchmark.quality(llm, nosuch=1)",
        "llm_benchmark(llm, prompt='x', input_len=4)",
        "llm_benchmark(llm, slo={'nosuch': 1})",
        "llm_benchmark(llm, slo={'ttft': 'x'})",
        "llm_benchmark(llm, slo={'ttft': float('nan')})",
        "llm_benchmark(llm, slo={1: 1})",
    ):
        yield Input(
            "call",
            call,
            [pytest_step()],
            _Writes("test_x.py", f"def test_x(llm, llm_benchmark):\n    {call}\n"),
            accepted,
        )


class _Writes:
    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text

    def __call__(self, folder: Path) -> None:
        (folder / self.name).write_bytes(os.fsencode(self.text))


class _Test(_Writes):
    def __init__(self, head: str) -> None:
        super().__init__("test_x.py", head + TEST.lstrip())


def _without(flag: str) -> tuple[str, Sequence[str]]:
    """Return a run of pytest that leaves an option to the ini file."""
    module, arguments = pytest_step()
    return module, [text for text in arguments if text.partition("=")[0] != flag]


def _not_ignored(folder: Path, steps: Sequence[Ended]) -> str:
    """Find it wrong that a run used another value without a word."""
    return "the run took no notice of it" if steps[0].code == 0 else ""
