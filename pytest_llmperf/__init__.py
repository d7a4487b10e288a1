"""LLM inference performance as ordinary pytest tests.

Public names load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .core.version import __version__
    from .metrics.definitions import METRICS
    from .metrics.samples import FewSamplesWarning, Metric
    from .session.llm import LLM, LLMInfo, Result

_PUBLIC = {
    "__version__": "core.version",
    "LLM": "session.llm",
    "LLMInfo": "session.llm",
    "Result": "session.llm",
    "Metric": "metrics.samples",
    "FewSamplesWarning": "metrics.samples",
    "METRICS": "metrics.definitions",
}

__all__ = ["LLM", "METRICS", "FewSamplesWarning", "LLMInfo", "Metric", "Result", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
