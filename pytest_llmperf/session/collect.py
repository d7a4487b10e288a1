"""Turn tests into cells while pytest collects: parameters, skips, the virtual clock."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from .. import backends
from ..store.entries import CLOCK, is_active, is_its_module, use_virtual_clock
from ..store.siblings import same_names
from .fixtures import LLM, LLM_BENCHMARK, own_fixtures, provider
from .gate import MARKER, limits_of_test
from .rounds import MARKER as ROUNDS_MARKER
from .rounds import Asked
from .session import LLMSession
from .sizes import (
    OVERRIDE,
    argument_names,
    given_sizes,
    split_names,
    too_long,
    why_other_prompts,
)
from .speculation import why_no_draft
from .suite import why_left_out
from .work import why_no_chat

UNFIT = pytest.StashKey[str]()
"""Why a test's cell cannot do its sizes; empty if it can."""

_MIXING = ("failedfirst", "newfirst", "random_order_bucket")
"""Options that order tests without regard to engines; the last is pytest-random-order's."""


@contextmanager
def parametrized(metafunc: pytest.Metafunc, session: LLMSession) -> Iterator[None]:
    """Give a test its cells, unless it or another ``pytest_generate_tests`` parametrizes ``llm``.

    Those of others run inside of this, because the cells are the first part of a test's id.
    """
    if _parameters_of_llm(metafunc):
        yield
        return
    mistake: BaseException | None = None
    calls_before = list(getattr(metafunc, "_calls", ()))
    try:
        parametrize_cells(metafunc, session)
    except pytest.fail.Exception as error:
        mistake = error
    parametrize = metafunc.parametrize
    others: list[Any] = []
    is_taken = False

    def without_cells(argnames: Any, argvalues: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal is_taken
        values = argvalues if isinstance(argvalues, Collection) else list(argvalues)
        if not is_taken and LLM in split_names(argnames):
            is_taken = True
            metafunc._calls[:] = calls_before
            for earlier_names, earlier_values, earlier_args, earlier_kwargs in others:
                parametrize(earlier_names, earlier_values, *earlier_args, **earlier_kwargs)
        others.append((argnames, values, args, kwargs))
        parametrize(argnames, values, *args, **kwargs)

    metafunc.parametrize = without_cells  # type: ignore[method-assign]
    try:
        yield
    finally:
        del metafunc.parametrize
    if mistake and not is_taken:
        raise mistake


def parametrize_cells(metafunc: pytest.Metafunc, session: LLMSession) -> None:
    """Give a test its cells."""
    own = own_fixtures(metafunc.definition)
    named = [name for name in backends.names() if backends.fixture_name(name) in own]
    if named and LLM not in own:
        pytest.fail(
            f"{metafunc.definition.nodeid}: {backends.fixture_name(named[0])} needs this plugin's llm, "
            f"and the test gets that of {provider(metafunc.definition, LLM)}",
            pytrace=False,
        )
    if LLM not in own:
        return
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
        message = f"{metafunc.definition.nodeid}: {error}"
        raise pytest.fail.Exception(message, pytrace=False) from None
    parameters = []
    for choice in choices:
        required = choice.named or (session.settings.require and not choice.excluded)
        skip = choice.problem is not None and not required
        marks = [pytest.mark.skip(reason=choice.problem or "")] if skip else []
        parameters.append(pytest.param(choice.cell.id, marks=marks, id=choice.cell.id))
    metafunc.parametrize(LLM, parameters, indirect=True, scope="session")


def why_no_cell(request: pytest.FixtureRequest) -> str:
    """Return why ``llm`` has no parameter in a test."""
    item = getattr(request, "_pyfuncitem", None)
    if item is None or LLM not in own_fixtures(item):
        return "llm has to be an argument of the test or of a fixture that it uses"
    kind = "a unittest.TestCase" if getattr(item, "cls", None) else "a doctest"
    return (
        f"llm gives its test a parameter for each cell, and {kind} takes no parameters: "
        "write the test as a function, or in a class that is not a TestCase"
    )


def select_items(items: list[pytest.Item], config: pytest.Config, session: LLMSession) -> None:
    """Deselect the tests that ``--llm-tests-from`` does not name."""
    selected_ids = session.settings.only
    if selected_ids is None:
        return
    deselected = [item for item in items if item.nodeid not in selected_ids]
    items[:] = [item for item in items if item.nodeid in selected_ids]
    config.hook.pytest_deselected(items=deselected)


def keep_engines_together(items: list[pytest.Item], config: pytest.Config) -> None:
    """Put the tests of each cell beside the first of them, where an option has mixed all tests.

    Pytest has grouped them before, so that each engine is loaded once; an order of the project's own, by
    another plugin or a conftest, stays.
    """
    if not any(config.getoption(name, None) for name in _MIXING):
        return
    of_cell: dict[object, list[pytest.Item]] = {}
    for item in items:
        of_cell.setdefault(_cell_id(item), []).append(item)
    ordered: list[pytest.Item] = []
    for item in items:
        cell = _cell_id(item)
        ordered += of_cell.pop(cell, ()) if cell is not None else (item,)
    items[:] = ordered


def _cell_id(item: pytest.Item) -> object:
    """Return the cell of a test; None if it has none."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get(LLM) if callspec and LLM in own_fixtures(item) else None


def prepare_items(items: Sequence[pytest.Item], config: pytest.Config, session: LLMSession) -> None:
    """Give tests that measure a clock, and skip tests that this run cannot measure.

    Raises:
        pytest.UsageError: a test's ``llm_gate`` or ``llm_rounds`` marker is not valid.
    """
    for item in items:
        fixtures = own_fixtures(item)
        if not fixtures:
            continue
        try:
            limits_of_test(item.get_closest_marker(MARKER), {})
            Asked.of_marker(item.get_closest_marker(ROUNDS_MARKER))
        except ValueError as error:
            raise pytest.UsageError(f"{item.nodeid}: {error}") from None
        obstacle = _obstacle(item, LLM_BENCHMARK in fixtures) or why_left_out(item, session.plan)
        item.stash[UNFIT] = _unfit(item, session)
        if obstacle:
            item.add_marker(pytest.mark.skip(reason=obstacle))
        elif LLM_BENCHMARK in fixtures:
            item.stash[CLOCK] = use_virtual_clock(item)


def refuse_unfit(item: pytest.Item) -> None:
    """Fail a test whose cell cannot do the sizes of the command line, before its engine loads."""
    if reason := item.stash.get(UNFIT, ""):
        pytest.fail(reason, pytrace=False)


def _unfit(item: pytest.Item, session: LLMSession) -> str:
    settings = session.settings
    if not settings.input_len and not settings.output_len and settings.prompts is None:
        return ""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if OVERRIDE in parameters and (reason := why_other_prompts(parameters, settings)):
        return reason
    for cell in session.plan.known([parameters.get(LLM)]):
        random_prompts = bool(given_sizes(parameters, session.settings)["input_len"])
        if random_prompts and (reason := why_no_draft(cell, random_prompts, False)):
            return reason
        if OVERRIDE in parameters and settings.prompts is not None:
            dummy = settings.load_format == "dummy"
            if reason := why_no_chat(cell, settings.prompts.prompts, dummy):
                return reason
        reason = too_long(parameters, session.settings, session.plan.context(cell))
        if reason:
            return f"{cell.id}: {reason}"
    return ""


def _obstacle(item: pytest.Item, measures: bool) -> str:
    """Return why this run cannot do what a test needs; empty when it can.

    Args:
        measures: the test uses ``llm_benchmark``.
    """
    config = item.config
    if os.environ.get("PYTEST_XDIST_WORKER") or config.getoption("numprocesses", None):
        return "pytest-xdist is active: LLM tests share one machine, run them without -n"
    is_forked = config.getoption("forked", None)
    if is_forked or (is_forked is not None and item.get_closest_marker("forked")):
        return (
            "pytest-forked is active: what a test measures would be lost with its process, run LLM "
            "tests without --forked"
        )
    if not measures:
        return ""
    module = provider(item, "benchmark")
    if module and not is_its_module(module):
        return f"llm_benchmark needs pytest-benchmark's own benchmark fixture, not that of {module}"
    if not is_active(config):
        is_off = config.pluginmanager.is_blocked("benchmark")
        reason = "-p no:benchmark is set" if is_off else "it is not loaded"
        return f"llm_benchmark needs pytest-benchmark ({reason})"
    return ""


def note_selected(items: Sequence[pytest.Item], session: LLMSession) -> None:
    """Note which tests are left to run, for a run that was asked to judge."""
    measuring = [item for item in items if LLM_BENCHMARK in own_fixtures(item)]
    needed = measuring or [item for item in items if own_fixtures(item)]
    obstacles = [_obstacle(item, bool(measuring)) for item in needed]
    obstacle = obstacles[0] if obstacles and all(obstacles) else ""
    if measuring and not obstacle:
        obstacle = session.store.why_disabled()
    session.demand.selected(items, obstacle)


def refuse_same_names(items: Sequence[pytest.Item], metrics: Sequence[str]) -> None:
    """Raise pytest.UsageError if two tests would have entries of one name.

    A metric's entry is named after its test: that of ``test_x[a]`` and ttft is ``test_x[a-ttft]``, which
    is also the name of a test whose parameter is ``a-ttft``.
    """
    measuring = [item.nodeid for item in items if CLOCK in item.stash]
    if same := same_names(measuring, metrics):
        first, second, metric = same
        raise pytest.UsageError(
            f"{second}: has the name of the {metric} of {first} in a stored run; give its parameter "
            "another id"
        )


def require_baseline(
    items: Sequence[pytest.Item], config: pytest.Config, session: LLMSession
) -> None:
    """Raise pytest.UsageError if tests are to be judged by stored runs and none is stored."""
    will_measure = session.store.will_measure() and not config.getoption("collectonly")
    if not will_measure or not any(CLOCK in item.stash for item in items):
        return
    if session.gate:
        session.gate.check_baseline(lambda: session.results.run)
    relative = [budget for budget in session.settings.fail_if if budget.relative]
    if relative:
        session.baseline.require(relative[0].text)


def is_ours(metafunc: pytest.Metafunc) -> bool:
    """Return whether a test would get a fixture of this plugin.

    ``parametrize("llm", ...)`` without ``indirect`` replaces the fixture.
    """
    own = own_fixtures(metafunc.definition)
    return bool(own - {LLM}) or (LLM in own and _parameters_of_llm(metafunc) != "direct")


def _parameters_of_llm(metafunc: pytest.Metafunc) -> str:
    """Return how a test's marks parametrize ``llm``: direct or indirect; empty if they do not."""
    for mark in metafunc.definition.iter_markers("parametrize"):
        if LLM in argument_names(mark):
            indirect = mark.kwargs.get("indirect", mark.args[2] if len(mark.args) > 2 else False)
            of_fixture = LLM in indirect if isinstance(indirect, Sequence) else bool(indirect)
            return "indirect" if of_fixture else "direct"
    return ""
