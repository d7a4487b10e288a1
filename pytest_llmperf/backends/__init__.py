"""The engines, by the names that options and ids use. Nothing here imports an engine."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Backend

# name -> (module, class). The order is the order of default cells: the reference engine first.
_BACKENDS = {
    "transformers": ("transformers", "TransformersBackend"),
    "vllm": ("vllm", "VllmBackend"),
    "simulated": ("simulated", "SimulatedBackend"),
}
NAMES = tuple(_BACKENDS)


def family(name: str) -> str:
    """The engine of a backend name: ``vllm@nightly`` is vLLM in another environment."""
    return name.partition("@")[0]


def backend_class(name: str) -> type[Backend]:
    """The class of a backend, imported now; its engine is not."""
    module, attribute = _BACKENDS[family(name)]
    found: type[Backend] = getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
    return found


def distributions() -> tuple[str, ...]:
    """Every distribution whose presence or version a backend asks about."""
    classes = [backend_class(name) for name in NAMES]
    names = (name for c in classes for name in (*c.distributions, *c.companions))
    return tuple(dict.fromkeys(names))


__all__ = ["NAMES", "backend_class", "distributions", "family"]
