"""Engines that misbehave: a backend of another package that does what its argument names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .inputs import FAST, Ended, Input

TINY = Path(__file__).resolve().parents[2] / "tests" / "plugin" / "tiny_engine.py"
# By the method that does it, before or instead of what it should do.
ACTS: dict[str, tuple[str, ...]] = {
    "ready": (
        "raise RuntimeError('one\\ntwo')",
        "raise SystemExit(0)",
        "raise KeyboardInterrupt",
        "time.sleep(3600)",
        "return 7",
        "raise GeneratorExit",
        "print('hello')",
        "os._exit(0)",
        "raise RecursionError",
    ),
    "load": (
        "return None",
        "return {'device': 'cpu'}",
        "raise SystemExit('bye')",
        "raise BaseException('b')",
        "raise Odd",
        "raise RuntimeError('')",
        "raise RuntimeError('\\x1b[2J\\x07red')",
        "os._exit(0)",
        "os._exit(7)",
        "os.abort()",
        "os.kill(os.getpid(), 40)",
        "os.kill(os.getpid(), 15)",
        "time.sleep(3600)",
        "return info(vocabulary=0)",
        "return info(vocabulary=-3)",
        "return info(vocabulary='many')",
        "return info(device=None)",
        "return info(settings={'x': object()})",
        "return info(settings={'x': Odd()})",
        "return info(memory={'model_memory': math.nan})",
        "return info(memory={'model_memory': -5.0})",
        "return info(memory={'model_memory': 'big'})",
        "return info(memory={'nosuch': 1.0})",
        "return info(settings={'x': '\\ud800'})",
        "return info(settings={'x': 10**5000})",
        "return info(architecture={'layers': 1})",
        "return info(device='\\x1b[31mcpu')",
        "os.closerange(3, 200)",
        "bytearray(1 << 62)",
        "return (lambda f: f(f))(lambda f: f(f))",
    ),
    "generate": (
        "return None",
        "return 7",
        "return []",
        "return (x for x in ())",
        "return [None] * len(requests)",
        "raise SystemExit(2)",
        "raise KeyboardInterrupt",
        "raise Odd",
        "os._exit(0)",
        "os.kill(os.getpid(), 9)",
        "time.sleep(3600)",
        "return changed(traces, times=())",
        "return changed(traces, counts=())",
        "return changed(traces, counts=(0,) * 4)",
        "return changed(traces, times=(1.0,) * 4)",
        "return changed(traces, times=None)",
        "return changed(traces, submitted=math.inf)",
        "return changed(traces, input_tokens=-1)",
        "return changed(traces, input_tokens='4')",
        "return changed(traces, token_ids=('a',) * 4)",
        "return changed(traces, token_ids=(10**30,) * 4)",
        "return changed(traces, token_ids=(-1,) * 4)",
        "return traces * 2",
    ),
    "peak_memory": ("return math.nan", "return -1.0", "return 'big'", "return None", "raise Odd"),
    "joules": ("return math.nan", "return -1.0", "return 'much'", "raise Odd"),
}
# What it says then is odd and true: the run may be green.
HARMLESS = {
    "print('hello')",
    "return info(device='\\x1b[31mcpu')",
    "os.closerange(3, 200)",
    "raise Odd",
    "return 'much'",
    # Settings only describe: what is not plain data in them is stored as text.
    "return info(settings={'x': object()})",
    "return info(settings={'x': Odd()})",
    "return info(settings={'x': '\\ud800'})",
    "return info(settings={'x': 10**5000})",
}
CODE = """
import math
import os

ACT = {act!r}
METHOD = {method!r}


class Odd(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


def info(**more):
    fields = dict(device="cpu", dtype="float32", vocabulary=1000, has_tokenizer=True)
    return EngineInfo(**fields | {{"memory": {{"model_memory": 1.0}}}} | more)


def changed(traces, **fields):
    return [replace(trace, **fields) for trace in traces]


class EvilBackend(TinyBackend):
    name = "evil"
    distributions = ()
    {decorator}
    def {method}({arguments}):
        {before}{act}
        return {honest}
"""
FORMS = {
    "ready": ("@classmethod", "cls, spec, cache, packages", "super().ready(spec, cache, packages)"),
    "load": ("", "self, spec", "super().load(spec)"),
    "generate": ("", "self, requests", "traces"),
    "peak_memory": ("", "self", "super().peak_memory()"),
    "joules": ("", "self", "super().joules()"),
}
TEST = """
import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_x(llm, llm_benchmark, n):
    llm_benchmark(llm, input_len=4, output_len=4, rounds=3, warmup=1)
"""


def engines() -> Iterator[Input]:
    """Yield runs of an engine that misbehaves and, after it, of one that does not."""
    for method, acts in ACTS.items():
        for act in acts:
            yield Input(
                "engine", f"{method}: {act}", [_step()], _Installs(method, act), _Wrong(act)
            )


def _step() -> tuple[str, Sequence[str]]:
    _, *rest = FAST
    return "pytest", [
        "--llm-backend=evil,simulated",
        "--tb=short",
        *rest,
        "--llm-timeout=4",
        "--llm-round-timeout=4",
    ]


class _Installs:
    def __init__(self, method: str, act: str) -> None:
        self.method, self.act = method, act

    def __call__(self, folder: Path) -> None:
        decorator, arguments, honest = FORMS[self.method]
        # After the floor's requests, which are for one token each.
        before = ""
        if self.method == "generate":
            before = "traces = super().generate(requests)\n        if requests[0].output_len == 4: "
        code = CODE.format(
            act=self.act,
            method=self.method,
            decorator=decorator,
            arguments=arguments,
            honest=honest,
            before=before,
        )
        code = code.replace(f"ACT = {self.act!r}\nMETHOD = {self.method!r}\n", "")
        site = folder / "site"
        site.mkdir()
        (site / "evil_engine.py").write_text(TINY.read_text() + code)
        metadata = site / "evil_engine-1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: evil-engine\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text(
            "[pytest_llmperf.backends]\nevil = evil_engine:EvilBackend\n"
        )
        (folder / "test_x.py").write_text(TEST)


class _Wrong:
    def __init__(self, act: str) -> None:
        self.act = act

    def __call__(self, folder: Path, steps: Sequence[Ended]) -> str:
        if "2 passed" not in steps[0].output and "4 passed" not in steps[0].output:
            return "the sane engine's tests do not pass"
        if self.act not in HARMLESS and steps[0].code == 0:
            return "the run is green"
        return ""
