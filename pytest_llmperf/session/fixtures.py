"""The fixtures that mean that a test needs an engine.

Every pytest run imports this module, so it imports nothing.
"""

from __future__ import annotations

from collections.abc import Container

LLM = "llm"
LLM_BENCHMARK = "llm_benchmark"


def uses_llm(fixtures: Container[str]) -> bool:
    """Return whether a test with these fixtures needs an engine."""
    return LLM in fixtures or LLM_BENCHMARK in fixtures
