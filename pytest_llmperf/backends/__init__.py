"""The engines, by the names that options and ids use. Nothing here imports an engine."""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from ..core.errors import BackendError

if TYPE_CHECKING:
    from .base import Backend

# name -> (module, class). The order is the order of default cells: the reference engine first.
_BUILT_IN = {
    "transformers": ("transformers", "TransformersBackend"),
    "vllm": ("vllm", "VllmBackend"),
    "llama-cpp": ("llama_cpp", "LlamaCppBackend"),
    "llama-cpp-python": ("llama_cpp_python", "LlamaCppPythonBackend"),
    "ctranslate2": ("ctranslate2", "CTranslate2Backend"),
    "tensorrt-llm": ("tensorrt_llm", "TensorRTLLMBackend"),
    "simulated": ("simulated", "SimulatedBackend"),
}
BUILT_IN = tuple(_BUILT_IN)
GROUP = "pytest_llmperf.backends"
"""Entry points of other packages: a backend's name, and its class."""
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def names() -> tuple[str, ...]:
    """Every backend of this environment, in the order of default cells."""
    return (*BUILT_IN, *(name for name in _registered() if name not in _BUILT_IN))


def family(name: str) -> str:
    """The engine of a backend name: ``vllm@nightly`` is vLLM in another environment."""
    return name.partition("@")[0]


def backend_class(name: str) -> type[Backend]:
    """The class of a backend, imported now; its engine is not.

    Raises:
        BackendError: nobody provides it, or the package that does cannot be imported.
    """
    name = family(name)
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name]
        found: type[Backend] = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
        return found
    entry_point = _registered().get(name)
    if entry_point is None:
        raise BackendError(f"unknown backend {name!r}; known: {', '.join(names())}")
    return _loaded(entry_point)


def distributions() -> tuple[str, ...]:
    """Every distribution whose presence or version a backend asks about."""
    found: dict[str, None] = {}
    for name in names():
        with suppress(BackendError):
            engine = backend_class(name)
            found |= dict.fromkeys((*engine.distributions, *engine.companions))
    return tuple(found)


@cache
def _registered() -> dict[str, importlib.metadata.EntryPoint]:
    """Backends of other packages; looked up once, and only where a test asks for a model."""
    return {e.name: e for e in importlib.metadata.entry_points(group=GROUP)}


def _loaded(entry_point: importlib.metadata.EntryPoint) -> type[Backend]:
    from .base import Backend

    where = f"backend {entry_point.name!r} ({entry_point.value})"
    if not _NAME.fullmatch(entry_point.name):
        raise BackendError(f"{where}: a name takes lower-case letters, digits and single '-'")
    try:
        found = entry_point.load()
    except Exception as error:
        raise BackendError(
            f"{where} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise BackendError(f"{where} is no subclass of {Backend.__module__}.Backend")
    if found.name != entry_point.name:
        raise BackendError(f"{where} calls itself {found.name!r}")
    return found


__all__ = [
    "BUILT_IN",
    "GROUP",
    "BackendError",
    "backend_class",
    "distributions",
    "family",
    "names",
]
