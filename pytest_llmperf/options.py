"""Command line and ini file to one frozen Settings."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .backends import NAMES as BACKENDS
from .backends import family
from .quantization import ALL, MODES

if TYPE_CHECKING:
    from .models import Model

DEFAULT_METRICS = ("ttft", "tpot", "e2e", "output_throughput", "peak_memory")
DTYPES = ("auto", "bfloat16", "float16", "float32")


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
    require: bool
    cache_dir: Path
    given: tuple[str, ...]
    """The options that were used, as they were written; empty when none was."""

    @classmethod
    def from_config(cls, config: pytest.Config) -> Settings:
        """Raises pytest.UsageError with one line that names the option, the value and what is right."""
        read = _Reader(config)
        return cls(
            models=read.many("llm_model", _model),
            backends=read.many("llm_backend", _backend),
            quantizations=_expand(read.many("llm_quant", _one_of("mode", (*MODES, ALL)))),
            dtype=read.one("llm_dtype", _one_of("type", DTYPES)) or "auto",
            device=read.one("llm_device", _device) or "auto",
            revision=read.one("llm_revision", str),
            load_format=read.one("llm_load_format", _one_of("format", ("auto", "dummy"))) or "auto",
            input_len=read.many("llm_input_len", _whole(1)),
            output_len=read.many("llm_output_len", _whole(1)),
            batch_size=read.many("llm_batch_size", _whole(1)),
            rounds=read.one("llm_rounds", _whole(1)),
            warmup=read.one("llm_warmup", _whole(0)),
            metrics=read.many("llm_metrics", _metric) or DEFAULT_METRICS,
            backend_args=_by_backend(read.many("llm_backend_arg", _backend_arg, split=False)),
            pythons=dict(read.many("llm_python", _backend_python, split=False) or ()),
            isolation=read.one("llm_isolation", _one_of("value", ("process", "none"))) or "process",
            threads=read.one("llm_threads", _whole(1)),
            timeout=read.one("llm_timeout", _seconds) or 900.0,
            require=bool(config.getoption("llm_require")) or bool(config.getini("llm_require")),
            cache_dir=read.one("llm_cache_dir", Path) or default_cache_dir(),
            given=tuple(read.given),
        )._checked()

    def _checked(self) -> Settings:
        for name in self.backends or ():
            if name not in BACKENDS and name not in self.pythons:
                raise pytest.UsageError(
                    f"--llm-backend: {name!r} has no environment; give --llm-python {name}=PATH"
                )
        return self

    @property
    def variants(self) -> tuple[str, ...]:
        """Backend names with a label: engines of other environments beside this one's."""
        return tuple(name for name in self.pythons if name not in BACKENDS)

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
        f"{' '.join(BACKENDS)} (default: every installed engine)",
        repeat=True,
    ),
    _Option("llm-quant", "MODE,...", f"{' '.join(MODES)}, or all (default: none)", repeat=True),
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
    _Option("llm-timeout", "SECONDS", "limit for one load or one round (default: 900)"),
    _Option("llm-cache-dir", "PATH", "where converted models are kept"),
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
    group.addoption(
        "--llm-require",
        action="store_true",
        dest="llm_require",
        help="a missing backend, model or GPU fails its tests instead of skipping them",
    )
    parser.addini("llm_require", "default of --llm-require", "bool", default=False)


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
        return tuple(dict.fromkeys(parsed)) or None

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


def _model(text: str) -> Model:
    # Imported for a value only: this module is part of every pytest run's start.
    from .models import parse_model

    return parse_model(text)


def _metric(text: str) -> str:
    from .metrics import METRICS

    return _one_of("metric", tuple(METRICS))(text)


def _one_of(what: str, known: Sequence[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(f"unknown {what} {text!r}; known: {', '.join(known)}")
        return text

    return parse


def _backend(text: str) -> str:
    name, at, label = text.partition("@")
    if at and not re.fullmatch(r"[a-z0-9][a-z0-9._]*", label):
        raise ValueError(
            f"{text!r}: a label takes lower-case letters, digits, '.' and '_', for test ids"
        )
    _one_of("backend", BACKENDS)(name)
    return text


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ValueError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ValueError(f"{text!r} is not a positive number of seconds")
    return value


def _device(text: str) -> str:
    kind, _, index = text.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not index.isdecimal()):
        raise ValueError(f"unknown device {text!r}; known: auto, cpu, cuda, cuda:N")
    return text


def _expand(modes: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return tuple(MODES) if modes and ALL in modes else modes


def _backend_arg(text: str) -> tuple[str, str, Any]:
    target, equals, value = text.partition("=")
    # From the right: a label may hold dots, a keyword argument cannot.
    backend, dot, key = target.rpartition(".")
    if not equals or not dot or not key:
        raise ValueError(f"{text!r} is not of the form BACKEND.KEY=VALUE")
    return _backend(backend), key, _value(value)


def _value(text: str) -> Any:
    """A literal where the text is one (numbers, true, false, none), else the text itself."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _by_backend(
    triples: Sequence[tuple[str, str, Any]] | None,
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for backend, key, value in triples or ():
        found.setdefault(backend, {})[key] = value
    return found


def _backend_python(text: str) -> tuple[str, str]:
    backend, equals, python = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is not of the form BACKEND=PATH or BACKEND@LABEL=PATH")
    found = shutil.which(str(Path(python).expanduser()))
    if found is None:
        raise ValueError(f"{python!r} is not an interpreter that can be run")
    return _backend(backend), found
