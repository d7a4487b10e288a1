"""The engines, by their names in options and ids. Nothing here imports an engine."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.cause import one_line
from ..core.errors import BackendError

if TYPE_CHECKING:
    from ..core.architecture import Architecture
    from ..core.engine import EngineInfo, EngineSpec, Refusal, Setup
    from ..core.errors import NotSupported
    from ..core.progress import Progress
    from ..core.trace import RequestTrace
    from ..core.traits import Traits
    from ..core.weights import Weights
    from ..core.workload import Request
    from .base import Backend
    from .contract import Contract


class _Entry(NamedTuple):
    """The location of a backend's class, and the description of its fixture."""

    module: str
    attribute: str
    fixture: str
    """First words of the fixture's description."""


# By name. The order is the order of default cells: the reference engine first.
_BUILT_IN = {
    "transformers": _Entry("transformers", "TransformersBackend", "A model loaded by transformers"),
    "vllm": _Entry("vllm", "VllmBackend", "A model loaded by vLLM"),
    "llama-cpp": _Entry("llama_cpp", "LlamaCppBackend", "A GGUF model loaded by llama.cpp"),
    "llama-cpp-python": _Entry(
        "llama_cpp_python", "LlamaCppPythonBackend", "A GGUF model loaded by llama.cpp's C API"
    ),
    "ctranslate2": _Entry(
        "ctranslate2", "CTranslate2Backend", "A model converted and loaded by CTranslate2"
    ),
    "tensorrt-llm": _Entry("tensorrt_llm", "TensorRTLLMBackend", "A model loaded by TensorRT-LLM"),
    "simulated": _Entry(
        "simulated",
        "SimulatedBackend",
        "The simulated engine with its programmed times (--llm-backend-arg simulated.KEY=VALUE)",
    ),
}
BUILT_IN = tuple(_BUILT_IN)
# The names that an engine in another package needs; loaded on first use.
_PUBLIC = {
    "Architecture": "..core.architecture",
    "Backend": ".base",
    "Contract": ".contract",
    "EngineInfo": "..core.engine",
    "EngineSpec": "..core.engine",
    "NotSupported": "..core.errors",
    "Progress": "..core.progress",
    "Refusal": "..core.engine",
    "Request": "..core.workload",
    "RequestTrace": "..core.trace",
    "Setup": "..core.engine",
    "Traits": "..core.traits",
    "Weights": "..core.weights",
}
GROUP = "pytest_llmperf.backends"
"""Group of the entry points in other packages: a backend's name and its class."""
_LIMIT = 60.0
"""Seconds for a method of another package's backend that only looks."""
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def names() -> tuple[str, ...]:
    """Return the names of all backends in this environment, in the order of default cells."""
    return (*BUILT_IN, *others())


def others() -> tuple[str, ...]:
    """Return the names of the backends in other packages."""
    return tuple(name for name in _registered() if name not in _BUILT_IN)


def fixture_name(backend: str) -> str:
    """Return the name of a backend's own fixture: ``llama_cpp_llm`` for ``llama-cpp``."""
    return f"{backend.replace('-', '_')}_llm"


def fixture_doc(backend: str) -> str:
    """Return one line that describes a backend's own fixture, for ``pytest --fixtures``."""
    built_in = _BUILT_IN.get(backend)
    fixture = built_in.fixture if built_in else f"A model loaded by {backend}"
    return f"{fixture}, whatever other backends the run has."


def family(name: str) -> str:
    """Return the engine in a backend's name: ``vllm@nightly`` is vLLM in another environment."""
    return name.partition("@")[0]


def backend_class(name: str) -> type[Backend]:
    """Import and return the class of a backend; its engine is not imported.

    Raises:
        BackendError: no package provides it, or the package that does cannot be imported.
    """
    name = family(name)
    if name in _BUILT_IN:
        entry = _BUILT_IN[name]
        module = importlib.import_module(f"{__name__}.{entry.module}")
        engine: type[Backend] = getattr(module, entry.attribute)
        return engine
    entry_point = _registered().get(name)
    if entry_point is None:
        raise BackendError(f"unknown backend {name!r}; known: {', '.join(names())}")
    return _loaded(entry_point)


def time_to_answer(timeout: float) -> float:
    """Return the seconds for a method that only looks, where an engine has ``timeout`` to load."""
    return min(_LIMIT, timeout)


def ask(
    name: str,
    method: str,
    kind: type | tuple[type, ...],
    *arguments: Any,
    limit: float | None = None,
) -> Any:
    """Call a class method of a backend in this process, and return its answer.

    Args:
        name: of the backend.
        method: of its class.
        kind: type or types of the answer.
        *arguments: of the method.
        limit: seconds for the answer of another package's backend; None: a minute.

    Raises:
        BackendError: one line, whatever the method raised or if it returned something else.
    """
    engine = backend_class(name)
    call = partial(getattr(engine, method), *arguments)
    if family(name) in _BUILT_IN:
        answer, error = _outcome(call)
    else:
        answer, error = _outcome_in_time(call, _LIMIT if limit is None else limit)
    if error is not None:
        raise BackendError(f"backend {engine.name!r}: {method}: {one_line(error)}") from error
    if not isinstance(answer, kind):
        raise BackendError(
            f"backend {engine.name!r}: {method} returned a value of type {type(answer).__name__}"
        )
    return answer


def _outcome(
    call: Callable[[], object], caught: type[BaseException] = Exception
) -> tuple[object, BaseException | None]:
    """Return what a function returned, or what it raised."""
    try:
        return call(), None
    except (caught, SystemExit) as error:
        return None, error


def _outcome_in_time(
    call: Callable[[], object], limit: float
) -> tuple[object, BaseException | None]:
    """Return the outcome of another package's function, which may hang or raise anything."""
    outcomes: list[tuple[object, BaseException | None]] = []
    # Not in this thread: the only KeyboardInterrupt that counts here is the user's.
    thread = threading.Thread(
        target=lambda: outcomes.append(_outcome(call, BaseException)), daemon=True
    )
    thread.start()
    thread.join(limit)
    return outcomes[0] if outcomes else (None, TimeoutError(f"no answer for {limit:g} s"))


def distributions() -> tuple[str, ...]:
    """Return all distributions whose presence or version a backend needs to know."""
    wanted: dict[str, None] = {}
    for name in names():
        with suppress(BackendError):
            engine = backend_class(name)
            wanted |= dict.fromkeys((*engine.distributions, *engine.companions))
    return tuple(wanted)


@cache
def _registered() -> dict[str, importlib.metadata.EntryPoint]:
    """Return the entry points of other packages; look them up once, and only if a test may need them."""
    return {e.name: e for e in importlib.metadata.entry_points(group=GROUP)}


def _loaded(entry_point: importlib.metadata.EntryPoint) -> type[Backend]:
    from .base import Backend

    where = f"backend {entry_point.name!r} ({entry_point.value})"
    if not _NAME.fullmatch(entry_point.name):
        raise BackendError(
            f"{where}: a backend name consists of lower-case letters, digits and single '-'"
        )
    try:
        engine = entry_point.load()
    except (Exception, SystemExit) as error:
        raise BackendError(f"{where} cannot be imported: {one_line(error)}") from error
    if not (isinstance(engine, type) and issubclass(engine, Backend)):
        raise BackendError(f"{where} is not a subclass of {__name__}.Backend")
    if engine.name != entry_point.name:
        raise BackendError(f"{where} has another name in its class: {engine.name!r}")
    return engine


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name], __name__), name)


__all__ = [
    "BUILT_IN",
    "GROUP",
    "Architecture",
    "Backend",
    "BackendError",
    "Contract",
    "EngineInfo",
    "EngineSpec",
    "NotSupported",
    "Progress",
    "Refusal",
    "Request",
    "RequestTrace",
    "Setup",
    "Traits",
    "Weights",
    "ask",
    "backend_class",
    "distributions",
    "family",
    "fixture_doc",
    "fixture_name",
    "names",
    "others",
    "time_to_answer",
]
