"""The fixtures of other packages' engines, registered when the first test may ask for one.

Asking every installed package for its entry points takes milliseconds, which a run without tests of
ours must not pay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any

import pytest

from ..backends import fixture_name, others


class OtherEngines:
    """A plugin that looks at test modules and conftest files until one of them uses an engine."""

    def __init__(
        self, plugins: pytest.PytestPluginManager, make_fixture: Callable[[str], object]
    ) -> None:
        """Keep pytest's plugins; ``make_fixture`` returns the fixture of a backend."""
        self._plugins = plugins
        self._make_fixture = make_fixture
        self._registered = False
        self._seen: object = None

    def register_fixtures(self) -> None:
        """Give each backend of another package its fixture."""
        if self._registered:
            return
        self._registered = True
        holder = ModuleType("engines of other packages")
        for backend in others():
            setattr(holder, fixture_name(backend), self._make_fixture(backend))
        self._plugins.register(holder, "llmperf-other-engines")

    def pytest_plugin_registered(self, plugin: object) -> None:
        file = getattr(plugin, "__file__", None) if isinstance(plugin, ModuleType) else None
        if file and file.endswith("conftest.py"):
            self._look_at(vars(plugin).values())

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makeitem(self, collector: Any) -> None:
        # Called for every name of a module or class: one look at all of them is enough.
        if self._registered or collector is self._seen:
            return
        self._seen = collector
        holder = collector.obj
        for part in holder.__mro__ if isinstance(holder, type) else (holder,):
            self._look_at(getattr(part, "__dict__", {}).values())

    def _look_at(self, values: Iterable[object]) -> None:
        if not self._registered and any(_asks_for_an_engine(value) for value in list(values)):
            self.register_fixtures()


def _asks_for_an_engine(value: object) -> bool:
    """Return whether a test function or a fixture has an argument that may be a fixture of ours."""
    # No attribute of anything else is read: some objects act when an attribute is asked for.
    while type(value) is FunctionType or type(value).__module__ == "_pytest.fixtures":
        wrapped = vars(value).get("__wrapped__")
        if wrapped is None:
            break
        value = wrapped
    if type(value) is not FunctionType:
        return False
    code = value.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return any(name == "llm_benchmark" or name.endswith("llm") for name in names)
