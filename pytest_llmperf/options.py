"""Command line and ini file to one frozen Settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from . import option_values as value_of
from .backends import family
from .option_table import DEFAULT_METRICS

if TYPE_CHECKING:
    from .budgets import Budget
    from .models import Model

GATES = ("history",)
DTYPES = ("auto", "bfloat16", "float16", "float32")


@dataclass(frozen=True)
class GateSettings:
    """What judges the run when it ends."""

    mode: str | None
    """``history``, or None: nothing."""
    accept: str | None
    """Why this run's regressions are wanted."""
    strict: bool
    branch: str | None
    """Only stored runs of this branch are a baseline; None: of any."""
    limits: Mapping[str, Mapping[str, float]]
    """min_effect and must_see by metric; ``*`` is every other one."""


@dataclass(frozen=True)
class Settings:
    """What the command line and the ini file ask for. None: not said, so tests decide."""

    models: tuple[Model, ...] | None
    backends: tuple[str, ...] | None
    quantizations: tuple[str, ...] | None
    dtype: str
    device: str
    revision: str | None
    load_format: str
    input_len: tuple[int, ...] | None
    output_len: tuple[int, ...] | None
    batch_size: tuple[int, ...] | None
    rounds: int | None
    warmup: int | None
    metrics: tuple[str, ...]
    backend_args: Mapping[str, Mapping[str, Any]]
    """Engine keyword arguments by backend."""
    pythons: Mapping[str, str]
    """Interpreter by backend, for those that run in another environment. A name with a label
    (``vllm@nightly``) is one more cell of that engine, beside the one of this environment."""
    isolation: str
    threads: int | None
    timeout: float
    """Seconds for a load, and for everything but rounds."""
    round_timeout: float
    """Seconds for one round."""
    require: bool
    fail_if: tuple[Budget, ...]
    """Limits that measurements have to keep."""
    hourly_cost: float | None
    """Price of the machine per hour, in whatever currency."""
    fit: float | None
    """MiB of the GPU that models are to fit."""
    cache_dir: Path
    only: frozenset[str] | None
    """Ids of the tests to run; None: all that pytest collects."""
    gate: GateSettings
    given: tuple[str, ...]
    """The options that were used, as they were written; empty when none was."""

    @classmethod
    def from_config(cls, config: pytest.Config) -> Settings:
        """Raises pytest.UsageError with one line that names the option, the value and what is right."""
        read = _Reader(config)
        return cls(
            models=read.many("llm_model", value_of.model),
            backends=read.many("llm_backend", value_of.backend),
            quantizations=read.many("llm_quant", value_of.mode),
            dtype=read.one("llm_dtype", value_of.one_of("type", DTYPES)) or "auto",
            device=read.one("llm_device", value_of.device) or "auto",
            revision=read.one("llm_revision", str),
            load_format=read.one("llm_load_format", value_of.one_of("format", ("auto", "dummy")))
            or "auto",
            input_len=read.many("llm_input_len", value_of.whole(1)),
            output_len=read.many("llm_output_len", value_of.whole(1)),
            batch_size=read.many("llm_batch_size", value_of.whole(1)),
            rounds=read.one("llm_rounds", value_of.whole(1)),
            warmup=read.one("llm_warmup", value_of.whole(0)),
            metrics=read.many("llm_metrics", value_of.metric) or DEFAULT_METRICS,
            backend_args=value_of.by_backend(
                read.many("llm_backend_arg", value_of.backend_arg, split=False)
            ),
            pythons=dict(read.many("llm_python", value_of.backend_python, split=False) or ()),
            isolation=read.one("llm_isolation", value_of.one_of("value", ("process", "none")))
            or "process",
            threads=read.one("llm_threads", value_of.whole(1)),
            timeout=read.one("llm_timeout", value_of.seconds) or 900.0,
            round_timeout=read.one("llm_round_timeout", value_of.seconds) or 300.0,
            require=bool(config.getoption("llm_require")) or bool(config.getini("llm_require")),
            fail_if=read.many("llm_fail_if", value_of.budget, split=False) or (),
            hourly_cost=read.one("llm_hourly_cost", value_of.price),
            fit=read.one("llm_fit", value_of.card_size),
            cache_dir=read.one("llm_cache_dir", Path) or default_cache_dir(),
            only=read.one("llm_tests_from", value_of.test_ids),
            gate=GateSettings(
                mode=read.one("llm_gate", value_of.one_of("gate", GATES)),
                accept=read.one("llm_accept", value_of.reason),
                strict=bool(config.getoption("llm_gate_strict"))
                or bool(config.getini("llm_gate_strict")),
                branch=read.one("llm_gate_branch", str),
                limits=value_of.limits(
                    {
                        name: read.many(f"llm_{name}", value_of.limit) or ()
                        for name in ("min_effect", "must_see")
                    }
                ),
            ),
            given=tuple(read.given),
        )._checked()

    def _checked(self) -> Settings:
        for name in self.backends or ():
            if name != family(name) and name not in self.pythons:
                raise pytest.UsageError(
                    f"--llm-backend: {name!r} has no environment; give --llm-python {name}=PATH"
                )
        if self.gate.accept and not self.gate.mode:
            raise pytest.UsageError("--llm-accept: there is no verdict without --llm-gate=history")
        if self.hourly_cost is None:
            for budget in self.fail_if:
                if budget.metric == "cost_per_million_tokens":
                    raise pytest.UsageError(
                        f"--llm-fail-if: {budget.text!r} needs a price: give --llm-hourly-cost"
                    )
        return self

    @property
    def variants(self) -> tuple[str, ...]:
        """Backend names with a label: engines of other environments beside this one's."""
        return tuple(name for name in self.pythons if name != family(name))

    def args_of(self, backend: str) -> dict[str, Any]:
        """Keyword arguments for a backend; a labelled one's own go before its engine's."""
        return {
            **self.backend_args.get(family(backend), {}),
            **self.backend_args.get(backend, {}),
        }

    @property
    def default_models(self) -> tuple[Model, ...]:
        from .models import EMBEDDED, parse_model

        return self.models or (parse_model(EMBEDDED),)


def default_cache_dir() -> Path:
    """``$PYTEST_LLMPERF_CACHE``, else the user's cache folder."""
    if own := os.environ.get("PYTEST_LLMPERF_CACHE"):
        return Path(own)
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "pytest-llmperf"


class _Reader:
    """Reads options, the command line before the ini file, and says which of them was wrong."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.given: list[str] = []

    def one(self, name: str, parse: Callable[[str], Any]) -> Any:
        values = self._values(name)
        return self._parse(name, values[-1], parse) if values else None

    def many(
        self, name: str, parse: Callable[[str], Any], split: bool = True
    ) -> tuple[Any, ...] | None:
        values = self._values(name)
        if split:
            values = [part.strip() for value in values for part in value.split(",")]
            values = [value for value in values if value]
        parsed = [self._parse(name, value, parse) for value in values]
        # Not by a dict: an argument may be a JSON object, which has no hash.
        return tuple(v for i, v in enumerate(parsed) if v not in parsed[:i]) or None

    def _values(self, name: str) -> list[str]:
        value = self._config.getoption(name)
        if value is not None:
            values = value if isinstance(value, list) else [value]
            self.given += [f"{_flag(name)}={v}" for v in values]
            return values
        ini = self._config.getini(name)
        return [ini] if isinstance(ini, str) and ini else list(ini or ())

    def _parse(self, name: str, value: str, parse: Callable[[str], Any]) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise pytest.UsageError(f"{_flag(name)}: {error}") from None


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
