"""Every command line option and its ini twin, as pytest declares them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from .backends import BUILT_IN
from .quantization import MODES

DEFAULT_METRICS = ("ttft", "tpot", "e2e", "output_throughput", "peak_memory")


@dataclass(frozen=True)
class _Option:
    name: str
    metavar: str
    help: str
    repeat: bool = False


_OPTIONS = (
    _Option(
        "llm-model",
        "NAME,...",
        "alias, hub id, folder or .gguf file; NAME=PATH gives it a name (default: smollm2-135m)",
        repeat=True,
    ),
    _Option(
        "llm-backend",
        "NAME,...",
        f"{' '.join(BUILT_IN)} (default: every installed engine)",
        repeat=True,
    ),
    _Option(
        "llm-quant",
        "MODE,...",
        f"{' '.join(MODES)}, an engine's own, or all of each engine (default: none)",
        repeat=True,
    ),
    _Option("llm-dtype", "TYPE", "compute type: auto (bfloat16) bfloat16 float16 float32"),
    _Option("llm-device", "DEVICE", "auto, cpu, cuda, cuda:1"),
    _Option("llm-revision", "REV", "revision of a hub model"),
    _Option("llm-load-format", "FORMAT", "auto, or dummy: random weights, no download"),
    _Option("llm-input-len", "N,...", "prompt tokens, instead of the test's own", repeat=True),
    _Option("llm-output-len", "N,...", "output tokens, instead of the test's own", repeat=True),
    _Option("llm-batch-size", "N,...", "requests a round, instead of the test's own", repeat=True),
    _Option("llm-rounds", "N", "measured rounds (default: 5)"),
    _Option("llm-warmup", "N", "unmeasured rounds before them (default: 2)"),
    _Option(
        "llm-metrics",
        "KEY,...",
        f"metrics stored as entries of their own (default: {','.join(DEFAULT_METRICS)})",
        repeat=True,
    ),
    _Option(
        "llm-backend-arg",
        "BACKEND.KEY=VALUE",
        "the engine's own keyword argument, e.g. vllm.tensor_parallel_size=2",
        repeat=True,
    ),
    _Option(
        "llm-python",
        "BACKEND[@LABEL]=PATH",
        "interpreter of another environment for that backend; with a label, beside this one's",
        repeat=True,
    ),
    _Option(
        "llm-isolation", "HOW", "process (default), or none: the engine in pytest's own process"
    ),
    _Option("llm-threads", "N", "engine threads (default on a CPU: cores - 1)"),
    _Option(
        "llm-timeout",
        "SECONDS",
        "limit for one load, and for whatever else is no round (default: 900)",
    ),
    _Option(
        "llm-round-timeout",
        "SECONDS",
        "limit for one round: an engine that takes longer is ended (default: 300)",
    ),
    _Option(
        "llm-fail-if",
        "METRIC.STAT:LIMIT",
        "fail a test over this budget, e.g. ttft.p95:200ms output_throughput.mean:30 tpot.p50:+5%%",
        repeat=True,
    ),
    _Option(
        "llm-hourly-cost", "PRICE", "price of the machine per hour: gives cost_per_million_tokens"
    ),
    _Option("llm-fit", "SIZE", "say which modes fit a GPU of this memory, e.g. 16GiB"),
    _Option("llm-cache-dir", "PATH", "where converted models are kept"),
    _Option("llm-tests-from", "FILE", "run only the tests whose ids stand in the file, one a line"),
    _Option("llm-gate", "history", "judge this run against the stored ones before it ends"),
    _Option("llm-gate-branch", "NAME", "stored runs of this branch alone are the baseline"),
    _Option(
        "llm-accept",
        "REASON",
        "accept this run's regressions: its numbers are the level from now on",
    ),
    _Option(
        "llm-min-effect",
        "SHARE",
        "a smaller change is no regression: 3%%, or METRIC:5%% (default: 3%%)",
        repeat=True,
    ),
    _Option(
        "llm-must-see",
        "SHARE",
        "a gate that could miss so large a regression does not pass: 5%%, or METRIC:10%%",
        repeat=True,
    ),
)


@dataclass(frozen=True)
class _Flag:
    name: str
    help: str


_FLAGS = (
    _Flag(
        "llm-require",
        "a missing backend, model or GPU fails its tests instead of skipping them",
    ),
    _Flag("llm-gate-strict", "the gate fails where it cannot decide, too"),
)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini twin (dashes become underscores)."""
    group = parser.getgroup("llm", "LLM inference performance (pytest-llmperf)")
    for option in _OPTIONS:
        ini = option.name.replace("-", "_")
        group.addoption(
            f"--{option.name}",
            metavar=option.metavar,
            help=option.help,
            dest=ini,
            action="append" if option.repeat else "store",
            default=None,
        )
        help_text = f"default of --{option.name}"
        if option.repeat:
            parser.addini(ini, help_text, "linelist")
        else:
            parser.addini(ini, help_text, "string")
    for flag in _FLAGS:
        ini = flag.name.replace("-", "_")
        group.addoption(f"--{flag.name}", action="store_true", dest=ini, help=flag.help)
        parser.addini(ini, f"default of --{flag.name}", "bool", default=False)
