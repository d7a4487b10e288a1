"""Sizes that fit the device: a test has small ones for a CPU and full ones for a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest

from ..core.context import why_too_long
from ..core.defaults import FULL, SMALL
from ..core.values import MOST_TOKENS, check_whole
from .cells import CellPlan
from .fixtures import LLM
from .options import Settings

MARKER = "llm_sizes"
SUITES = (SMALL, FULL)


def suite_of(settings: Settings) -> str:
    """Return the suite of a run: that of ``--llm-suite``, or the one that fits its device."""
    return settings.suite or (SMALL if settings.setup.on_cpu else FULL)


def parametrize_sizes(metafunc: pytest.Metafunc, settings: Settings) -> None:
    """Give a test the sizes of the run's suite, as if it were parametrized with them."""
    node = metafunc.definition
    for name, values in _sizes(node.get_closest_marker(MARKER), settings, node.nodeid):
        if name not in metafunc.fixturenames:
            pytest.fail(f"{node.nodeid}: {MARKER} sets {name}, which is no argument", pytrace=False)
        node.own_markers.append(pytest.mark.parametrize(name, list(values)).mark)


def why_left_out(item: pytest.Item, plan: CellPlan) -> str:
    """Return why a model is too small for a size of the suite, in one line; empty if it is not.

    Args:
        item: a test, with the sizes of its suite as parameters.
        plan: the run's cells.
    """
    if item.get_closest_marker(MARKER) is None or not hasattr(item, "callspec"):
        return ""
    parameters = item.callspec.params
    # What the call itself says is known only later: at least a token of output.
    prompt, output = parameters.get("input_len", 0), parameters.get("output_len", 1)
    for cell in plan.known([parameters.get(LLM)]):
        if reason := why_too_long(prompt, output, plan.context(cell)):
            return f"{cell.id}: {reason}"
    return ""


def _sizes(
    marker: pytest.Mark | None, settings: Settings, test: str
) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield the names and values of the run's suite."""
    if marker is None:
        return
    if marker.args or set(marker.kwargs) != set(SUITES):
        pytest.fail(
            f'{test}: {MARKER} takes small= and full=, each like {{"input_len": [128, 1024]}}',
            pytrace=False,
        )
    chosen = suite_of(settings)
    sizes = marker.kwargs[chosen]
    if not isinstance(sizes, Mapping):
        pytest.fail(f"{test}: {MARKER}({chosen}=): {sizes!r} is no dictionary", pytrace=False)
    for name, values in sizes.items():
        if not isinstance(values, list | tuple) or not values:
            pytest.fail(f"{test}: {MARKER}({chosen}=): {name} is no list", pytrace=False)
        for value in values:
            try:
                check_whole(f"{MARKER}({chosen}=): {name}", value, 1, MOST_TOKENS)
            except ValueError as error:
                raise pytest.fail.Exception(f"{test}: {error}", pytrace=False) from None
        yield name, values
