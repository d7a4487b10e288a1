"""Turn tests into cells while pytest collects: parameters, skips, the virtual clock."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from .. import backends
from ..store.entries import CLOCK, is_active, use_virtual_clock
from .fixtures import LLM, LLM_BENCHMARK, uses_llm
from .gate import MARKER, limits_of_test
from .session import LLMSession
from .sizes import argument_names


def parametrize_cells(metafunc: pytest.Metafunc, session: LLMSession) -> None:
    """Give a test its cells, unless it parametrizes ``llm`` itself."""
    if LLM not in metafunc.fixturenames or _parametrizes_llm(metafunc):
        return
    named = [
        name for name in backends.names() if backends.fixture_name(name) in metafunc.fixturenames
    ]
    if len(named) > 1:
        pytest.fail(
            f"{metafunc.definition.nodeid}: one engine is resident at a time, so a test takes one of "
            f"{', '.join(backends.fixture_name(name) for name in named)}",
            pytrace=False,
        )
    marker = metafunc.definition.get_closest_marker("llm")
    try:
        choices = session.plan.choices(marker, named[0] if named else None)
    except ValueError as error:
        pytest.fail(f"{metafunc.definition.nodeid}: {error}", pytrace=False)
    parameters = []
    for choice in choices:
        required = session.settings.require and not choice.excluded
        skip = choice.problem is not None and not required
        marks = [pytest.mark.skip(reason=choice.problem or "")] if skip else []
        parameters.append(pytest.param(choice.cell.id, marks=marks, id=choice.cell.id))
    metafunc.parametrize(LLM, parameters, indirect=True, scope="session")


def select_items(items: list[pytest.Item], config: pytest.Config, session: LLMSession) -> None:
    """Deselect the tests that ``--llm-tests-from`` does not name."""
    selected_ids = session.settings.only
    if selected_ids is None:
        return
    deselected = [item for item in items if item.nodeid not in selected_ids]
    items[:] = [item for item in items if item.nodeid in selected_ids]
    config.hook.pytest_deselected(items=deselected)


def prepare_items(items: Sequence[pytest.Item], config: pytest.Config) -> None:
    """Give tests that measure a clock, and skip tests that this run cannot measure.

    Raises:
        pytest.UsageError: a test's ``llm_gate`` marker is not valid.
    """
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if not uses_llm(fixtures):
            continue
        try:
            limits_of_test(item.get_closest_marker(MARKER), {})
        except ValueError as error:
            raise pytest.UsageError(f"{item.nodeid}: {error}") from None
        obstacle = _obstacle(config, LLM_BENCHMARK in fixtures)
        if obstacle:
            item.add_marker(pytest.mark.skip(reason=obstacle))
        elif LLM_BENCHMARK in fixtures:
            item.stash[CLOCK] = use_virtual_clock(item)


def _obstacle(config: pytest.Config, measures: bool) -> str | None:
    """Return why this run cannot run an LLM test, or None.

    Args:
        measures: the test uses ``llm_benchmark``.
    """
    if os.environ.get("PYTEST_XDIST_WORKER") or config.getoption("numprocesses", None):
        return "pytest-xdist is active: LLM tests share one machine, run them without -n"
    if measures and not is_active(config):
        return "llm_benchmark needs pytest-benchmark (-p no:benchmark is set)"
    return None


def require_baseline(
    items: Sequence[pytest.Item], config: pytest.Config, session: LLMSession
) -> None:
    """Raise pytest.UsageError if tests are to be judged by stored runs and none is stored."""
    will_measure = session.store.will_measure() and not config.getoption("collectonly")
    if not will_measure or not any(CLOCK in item.stash for item in items):
        return
    if session.gate:
        session.gate.check_baseline(session.store.will_save())
    relative = [budget for budget in session.settings.fail_if if budget.relative]
    if relative:
        session.baseline.require(relative[0].text)


def _parametrizes_llm(metafunc: pytest.Metafunc) -> bool:
    return any(
        LLM in argument_names(mark) for mark in metafunc.definition.iter_markers("parametrize")
    )
