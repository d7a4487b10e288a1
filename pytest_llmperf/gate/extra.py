"""The extra ``gate``: what judging needs besides the standard library."""

from __future__ import annotations

import importlib.util


def lacking(*further: str) -> str:
    """Return what judging needs, as the end of a message, if it is not installed; else nothing.

    Args:
        further: packages that the caller needs besides those of every judgement.
    """
    packages = ("numpy", "scipy", *further)
    if all(importlib.util.find_spec(name) is not None for name in packages):
        return ""
    names = f"{', '.join(packages[:-1])} and {packages[-1]}"
    return f"needs {names}: pip install 'pytest-llmperf[gate]'"
