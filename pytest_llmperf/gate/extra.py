"""The extra ``gate``: the libraries that judging needs."""

from __future__ import annotations

import importlib.util


def lacking(*further: str) -> str:
    """Return the end of a message that names the missing libraries; empty if all are installed.

    Args:
        further: packages that the caller needs besides those for every judgement.
    """
    packages = ("numpy", "scipy", *further)
    if all(importlib.util.find_spec(name) is not None for name in packages):
        return ""
    names = f"{', '.join(packages[:-1])} and {packages[-1]}"
    return f"needs {names}: pip install 'pytest-llmperf[gate]'"
