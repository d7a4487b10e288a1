# ruff: noqa: RUF009 - a row is made by a call: see session.option
"""Every option of the plugin, one row each, and the frozen settings of a run that they make.

To add an option, add its row here and read the field where it is needed. The command line, the ini
twin, ``--help`` and docs/reference/options.md (``python tools/make_docs.py``) come from the row.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..backends import BUILT_IN, family
from ..core.defaults import (
    AB,
    DEFAULT_MAX_TIME_CPU,
    DEFAULT_MAX_TIME_GPU,
    DEFAULT_MIN_ROUNDS,
    DEFAULT_PRECISION,
    DEFAULT_WARMUP,
    EMBEDDED,
    FULL,
    SMALL,
)
from ..core.engine import Setup
from ..core.folders import default_cache_dir
from ..core.quantization import MODES
from ..core.values import (
    MOST_REQUESTS,
    MOST_TOKENS,
    card_size,
    location,
    one_of,
    price,
    ratio,
    seconds,
    whole,
)
from ..machine.host import runs_on_cpu
from . import values
from .option import flag, gathered, many, one, rows, typed_flags

if TYPE_CHECKING:
    from ..core.models import Model
    from ..core.prompt_file import PromptFile
    from ..core.text import Text
    from .budgets import Budget

_DTYPES = ("auto", "bfloat16", "float16", "float32")
_OF_TEST = "the test's own"
_UNREAD_IN_AB: Mapping[str, Any] = {"mode": None, "accept": None, "fail_if": ()}
"""Fields of the settings whose options a run that ``ab`` judges does not read, with their values."""


@dataclass(frozen=True)
class GateSettings:
    """The gate that judges the run when it ends."""

    mode: str | None = one(
        "llm-gate",
        one_of("gate", ("history",)),
        "history",
        "judge this run against the stored ones before it ends",
        unset="off",
    )
    accept: str | None = one(
        "llm-accept",
        values.reason,
        "REASON",
        "accept this run's regressions: its numbers are the level from now on",
    )
    strict: bool = flag("llm-gate-strict", "the gate also fails where it cannot decide")
    branch: str | None = one(
        "llm-gate-branch",
        str,
        "NAME",
        "only stored runs of this branch are the baseline",
        unset="any branch",
    )
    min_effect: Mapping[str, float] = gathered(
        "llm-min-effect",
        values.limit,
        "SHARE,...",
        "a smaller change is not a regression: 3%, or METRIC:5%",
        gather=dict,
        split=True,
        unset="3%; 5% for ttft of batches",
    )
    must_see: Mapping[str, float] = gathered(
        "llm-must-see",
        values.limit,
        "SHARE,...",
        "a gate that could miss so large a regression does not pass: 5%, or METRIC:10%",
        gather=dict,
        split=True,
        unset="5%; 10% against a history",
    )

    @property
    def limits(self) -> dict[str, dict[str, float]]:
        """``min_effect`` and ``must_see`` by metric (``*``: every other one), if given."""
        limits = {"min_effect": self.min_effect, "must_see": self.must_see}
        return {name: dict(by_metric) for name, by_metric in limits.items() if by_metric}


@dataclass(frozen=True)
class Settings:
    """Settings from the command line and the ini file; None leaves the choice to the tests."""

    gate: GateSettings
    given: tuple[str, ...]
    """The options of the command line as they were written; flags are left out."""
    typed: frozenset[str]
    """The words of the command line itself that may be options: not those of ``addopts``."""

    models: tuple[Model, ...] | None = many(
        "llm-model",
        values.model,
        "NAME,...",
        "alias, hub id, folder or .gguf file (here, or ORGANISATION/NAME/FILE.gguf on the hub); "
        "NAME=PATH gives it a name; a comma in a path is \\,",
        unset=EMBEDDED,
        located=True,
    )
    backends: tuple[str, ...] | None = many(
        "llm-backend",
        values.backend,
        "NAME,...",
        f"{' '.join(BUILT_IN)}, or one of another package",
        unset="every installed engine",
    )
    quantizations: tuple[str, ...] | None = many(
        "llm-quant",
        values.mode,
        "MODE,...",
        f"{' '.join(MODES)}, an engine's own, or all of each engine",
        unset="none",
    )
    dtype: str = one(
        "llm-dtype",
        one_of("type", _DTYPES),
        "TYPE",
        f"compute type: {' '.join(_DTYPES)}; auto is bfloat16",
        default="auto",
    )
    device: str = one(
        "llm-device", values.device, "DEVICE", "auto, cpu, cuda, cuda:1", default="auto"
    )
    revision: str | None = one("llm-revision", str, "REV", "revision of a hub model")
    load_format: str = one(
        "llm-load-format",
        one_of("format", ("auto", "dummy")),
        "FORMAT",
        "auto, or dummy: random weights, no download",
        default="auto",
    )
    suite: str | None = one(
        "llm-suite",
        one_of("suite", (SMALL, FULL)),
        "SUITE",
        "small or full: the sizes of tests that have both",
        unset="small on a CPU, full on a GPU",
    )
    input_len: tuple[int, ...] | None = many(
        "llm-input-len",
        whole(1, MOST_TOKENS),
        "N,...",
        "prompt tokens; a list sweeps",
        unset=_OF_TEST,
    )
    prompts: PromptFile | None = one(
        "llm-prompts",
        values.prompt_file,
        "FILE",
        "prompts of every test, a JSONL file with prompt or messages in each line",
        unset=_OF_TEST,
        located=True,
    )
    output_len: tuple[int, ...] | None = many(
        "llm-output-len",
        whole(1, MOST_TOKENS),
        "N,...",
        "output tokens; a list sweeps",
        unset=_OF_TEST,
    )
    batch_size: tuple[int, ...] | None = many(
        "llm-batch-size",
        whole(1, MOST_REQUESTS),
        "N,...",
        "requests per round; a list sweeps",
        unset=_OF_TEST,
    )
    rounds: int | None = one(
        "llm-rounds",
        whole(1),
        "N",
        "measured rounds, exactly",
        unset=f"{_OF_TEST}, or as many as --llm-precision needs",
    )
    precision: float | None = one(
        "llm-precision",
        ratio,
        "SHARE",
        "rounds go on until the median of each timing metric is known to this share: its 95 % interval",
        unset=f"{_OF_TEST}, or {DEFAULT_PRECISION:.0%}",
    )
    max_time: float | None = one(
        "llm-max-time",
        seconds,
        "SECONDS",
        "limit for the rounds of a test that go on for precision",
        unset=f"{_OF_TEST}, or {DEFAULT_MAX_TIME_CPU:g} on a CPU and {DEFAULT_MAX_TIME_GPU:g} on a GPU",
    )
    min_rounds: int | None = one(
        "llm-min-rounds",
        whole(1),
        "N",
        "rounds of such a test, at least, whatever time they take",
        unset=f"{_OF_TEST}, or {DEFAULT_MIN_ROUNDS}",
    )
    warmup: int | None = one(
        "llm-warmup",
        whole(0),
        "N",
        "unmeasured rounds before them",
        unset=f"{_OF_TEST}, or {DEFAULT_WARMUP}",
    )
    metrics: tuple[str, ...] = many(
        "llm-metrics",
        values.metric,
        "KEY,...",
        "metrics stored as entries of their own",
        default=("ttft", "tpot", "e2e", "output_throughput", "peak_memory"),
    )
    backend_args: Mapping[str, Mapping[str, Any]] = gathered(
        "llm-backend-arg",
        values.backend_arg,
        "BACKEND[@LABEL].KEY=VALUE",
        "the engine's own keyword argument, e.g. vllm.tensor_parallel_size=2: a number, true, none, "
        "JSON, or text; vllm@LABEL.KEY=VALUE measures that setting beside vllm's",
        gather=values.by_backend,
    )
    pythons: Mapping[str, str] = gathered(
        "llm-python",
        values.backend_python,
        "BACKEND[@LABEL]=PATH",
        "interpreter of another environment for that backend; with a label, it is measured beside "
        "this environment's",
        gather=dict,
        unset="this interpreter; for a label, its engine's",
        located=True,
    )
    isolation: str = one(
        "llm-isolation",
        one_of("value", ("process", "none")),
        "HOW",
        "process, or none: the engine in pytest's own process, for a debugger",
        default="process",
    )
    threads: int | None = one(
        "llm-threads", whole(1), "N", "engine threads", unset="cores - 1 on a CPU"
    )
    timeout: float = one(
        "llm-timeout",
        seconds,
        "SECONDS",
        "limit for one load, and for everything else but rounds",
        default=900.0,
    )
    round_timeout: float = one(
        "llm-round-timeout",
        seconds,
        "SECONDS",
        "limit for one round: an engine that takes longer is ended",
        default=300.0,
    )
    require: bool = flag(
        "llm-require",
        "a missing backend, model or GPU fails its tests also if the command line does not name it",
    )
    floor: str = one(
        "llm-floor",
        one_of("value", ("on", "off")),
        "HOW",
        "on, or off: measure an engine whatever its output is, and say so",
        default="on",
    )
    floor_text: Text | None = one(
        "llm-floor-text",
        values.text_of_file,
        "FILE",
        "text that the models know, to check the output of engines with",
        unset="the shipped English text",
        located=True,
    )
    fail_if: tuple[Budget, ...] = many(
        "llm-fail-if",
        values.budget,
        "METRIC.STAT:LIMIT",
        "fail a test over this budget, e.g. ttft.p95:200ms output_throughput.mean:30 tpot.p50:+5%",
        default=(),
        split=False,
    )
    quiet: str = one(
        "llm-quiet",
        one_of("value", ("mark", "fail")),
        "HOW",
        "what a measurement gets that neighbors, throttling, swapping or unsteady rounds disturbed: "
        "mark (a line under the table), or fail",
        default="mark",
    )
    hourly_cost: float | None = one(
        "llm-hourly-cost",
        price,
        "PRICE",
        "price of the machine per hour, in any currency: gives cost_per_million_tokens",
    )
    fit: float | None = one(
        "llm-fit",
        card_size,
        "SIZE",
        "show which modes fit a GPU of this memory, e.g. 16GiB, 15360MiB or 16GB",
    )
    """MiB."""
    cache_dir: Path = one(
        "llm-cache-dir",
        location,
        "PATH",
        "folder for converted models, measured ceilings and unquantized models' distributions",
        factory=default_cache_dir,
        unset="$PYTEST_LLMPERF_CACHE, or pytest-llmperf in the user's cache folder",
        located=True,
    )
    only: frozenset[str] | None = one(
        "llm-tests-from",
        values.lines_of_file,
        "FILE",
        "run only the tests whose ids the file lists, one per line",
        unset="all tests",
        located=True,
    )

    @classmethod
    def from_config(cls, config: pytest.Config) -> Settings:
        """Read every option of a run.

        Raises:
            pytest.UsageError: one line that names the option, the value and the right form.
        """
        # Not by stored runs, which a fresh worktree has none of, wherever that is asked for.
        unread = _UNREAD_IN_AB if os.environ.get(AB) else {}
        settings, gate = (
            {
                name: unread[name] if name in unread else row.value(config)
                for name, row in rows(table).items()
            }
            for table in (cls, GateSettings)
        )
        given = (f"{row.flag}={text}" for row in OPTIONS for text in row.given(config))
        return cls(
            gate=GateSettings(**gate), given=tuple(given), typed=typed_flags(config), **settings
        )._checked()

    def _checked(self) -> Settings:
        """Return the settings; raise pytest.UsageError if options contradict each other."""
        for name in self.backends or ():
            if name != family(name) and name not in self.variants:
                raise pytest.UsageError(
                    f"--llm-backend: {name!r} has no environment and no arguments of its own; give "
                    f"--llm-python {name}=PATH or --llm-backend-arg {name}.KEY=VALUE"
                )
        if self.gate.accept and not self.gate.mode:
            raise pytest.UsageError("--llm-accept: there is no verdict without --llm-gate=history")
        if self.prompts is not None and self.input_len:
            raise pytest.UsageError(
                "--llm-prompts and --llm-input-len both say what the prompts are: give one of them"
            )
        if self.hourly_cost is None:
            for budget in self.fail_if:
                if budget.metric == "cost_per_million_tokens":
                    raise pytest.UsageError(
                        f"--llm-fail-if: {budget.text!r} needs a price: give --llm-hourly-cost"
                    )
        return self

    @property
    def variants(self) -> tuple[str, ...]:
        """Names with a label (``vllm@next``): engines with an environment or arguments of their own."""
        names = dict.fromkeys((*self.pythons, *self.backend_args))
        return tuple(name for name in names if name != family(name))

    def python_of(self, backend: str) -> str:
        """Return a backend's interpreter; a label without its own has its engine's."""
        engine = self.pythons.get(family(backend), sys.executable)
        return self.pythons.get(backend, engine)

    def args_of(self, backend: str) -> dict[str, Any]:
        """Return a backend's keyword arguments; those of a label replace those of its engine."""
        return {
            **self.backend_args.get(family(backend), {}),
            **self.backend_args.get(backend, {}),
        }

    @property
    def setup(self) -> Setup:
        """The settings of a load, as backends are asked with them."""
        return Setup(self.load_format == "dummy", self.dtype, runs_on_cpu(self.device))

    @property
    def default_models(self) -> tuple[Model, ...]:
        """The models of tests that name none."""
        return self.models or (values.model(EMBEDDED),)


OPTIONS = (*rows(Settings).values(), *rows(GateSettings).values())


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini twin."""
    group = parser.getgroup("llm", "LLM inference performance (pytest-llmperf)")
    for option in OPTIONS:
        option.declare(parser, group)


def refuse_double(error: Exception, config: pytest.Config) -> None:
    """Raise pytest.UsageError if an error says that a conftest declares an option of this plugin.

    Args:
        error: of pytest or argparse, for any options.
    """
    words = set(re.findall(r"[\w-]+", str(error)))
    double = [option for option in OPTIONS if words & {option.flag, option.ini}]
    if not double:
        return
    option = double[0]
    files = [
        file
        for plugin in config.pluginmanager.get_plugins()
        if (file := getattr(plugin, "__file__", None) or "").endswith("conftest.py")
        and hasattr(plugin, "pytest_addoption")
        and words
        & set(re.findall(r"[\w-]+", Path(file).read_text("utf-8", errors="replace")))
        & {option.flag, option.ini}
    ]
    who = os.path.relpath(files[0]) if files else "another plugin"
    raise pytest.UsageError(
        f"{who} declares {option.flag}, which is an option of pytest-llmperf: rename it there, or "
        "leave pytest-llmperf out of this project's runs (addopts = -p no:llmperf)"
    ) from None
