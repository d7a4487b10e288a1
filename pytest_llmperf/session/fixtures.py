"""The fixtures that mean that a test needs an engine, and whether a test gets this plugin's.

A project may have an ``llm`` of its own: a fixture, a parameter, or a marker. The plugin acts only on
tests that would get its own fixtures.

Every pytest run imports this module, so it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LLM = "llm"
LLM_BENCHMARK = "llm_benchmark"
_PLUGIN = "pytest_llmperf.plugin"
"""The module whose functions are the fixtures of this plugin, those of engines included."""


def own_fixtures(test: object) -> frozenset[str]:
    """Return the names of the fixtures that a test would get from this plugin.

    A fixture that overrides one of this plugin's and asks for it by the same name counts as well.

    Args:
        test: an item, or the ``definition`` of a Metafunc.
    """
    names = getattr(test, "fixturenames", ())
    if LLM not in names and LLM_BENCHMARK not in names:
        return frozenset()
    definitions = _definitions(test)
    if definitions is None:
        return frozenset(name for name in names if name in (LLM, LLM_BENCHMARK))
    return frozenset(name for name in names if provider(test, name) == _PLUGIN)


def mark_items(items: Iterable[Any]) -> None:
    """Give every test of this plugin the marker ``llm``: ``-m "not llm"`` keeps engines out of a run."""
    for item in items:
        if own_fixtures(item) and item.get_closest_marker(LLM) is None:
            item.add_marker(LLM)


def provider(test: object, name: str) -> str:
    """Return the module of the fixture that a test gets under a name; empty if it gets none.

    Where a fixture asks for the one that it overrides, that is the module of the overridden one.
    """
    module = ""
    for definition in reversed((_definitions(test) or {}).get(name, ())):
        module = getattr(definition.func, "__module__", "")
        if name not in definition.argnames:
            break
    return module


def _definitions(test: object) -> Mapping[str, Sequence[Any]] | None:
    """Return a test's fixture definitions by name, the one that it gets last; None if unknown.

    Pytest has no public way to look a test's fixtures up while it collects.
    """
    definitions: Mapping[str, Sequence[Any]] | None = getattr(
        getattr(test, "_fixtureinfo", None), "name2fixturedefs", None
    )
    return definitions
