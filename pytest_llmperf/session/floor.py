"""The floor of each test: its text or its switch, and one failure per engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ..core.floor import Checked, Floor
from ..core.printable import printable
from ..core.text import text_of_file
from ..core.values import location, shown
from ..store.schema import FloorPart
from .fixtures import own_fixtures
from .llm import LLM
from .options import Settings

MARKER = "llm_floor"
_FORM = '@pytest.mark.llm_floor(text="FILE") or @pytest.mark.llm_floor("off")'


class FloorOfRun:
    """The floor of each test of a run."""

    def __init__(self, settings: Settings, root: Path) -> None:
        """Keep the run's options; a marker's relative path begins at ``root``."""
        self._option = Floor(settings.floor == "on", settings.floor_text)
        self._root = root
        self._failed: dict[tuple[str, Floor], str] = {}

    def of_test(self, node: pytest.Item) -> Floor:
        """Return a test's floor: its marker's, else the run's; off is off.

        Raises:
            ValueError: the marker is not valid; one line.
        """
        marker = node.get_closest_marker(MARKER)
        if marker is None or not self._option.on:
            return self._option
        if marker.args == ("off",) and not marker.kwargs:
            return Floor(on=False)
        text = marker.kwargs.get("text")
        if marker.args or set(marker.kwargs) != {"text"}:
            raise ValueError(f"the marker llm_floor has the form {_FORM}")
        if not isinstance(text, str | Path):
            raise ValueError(f"{_FORM}: text has to be a file, not {shown(text)}")
        try:
            return Floor(text=text_of_file(location(str(text), self._root)))
        except ValueError as error:
            raise ValueError(f"@pytest.mark.llm_floor(text=): {error}") from None

    def check_markers(self, items: Sequence[pytest.Item]) -> None:
        """Raise pytest.UsageError if the marker of a test of this plugin is not valid."""
        for item in items:
            if item.get_closest_marker(MARKER) and own_fixtures(item):
                try:
                    self.of_test(item)
                except ValueError as error:
                    raise pytest.UsageError(f"{item.nodeid}: {error}") from None

    def check(self, llm: LLM, node: pytest.Item) -> tuple[Floor, Checked]:
        """Return a test's floor and what the check of the engine's output has found.

        Fails the test if the output cannot come from a working model.
        """
        floor = self.of_test(node)
        checked = llm.checked(floor)
        if checked.flaw:
            self.fail(llm, node, floor, checked.advice)
        return floor, checked

    def fail(self, llm: LLM, node: pytest.Item, floor: Floor, flaw: str) -> None:
        """Fail the first test of an engine whose output is wrong; skip its other tests.

        They are skipped only in a run that is red already: the failure of the first one may be
        expected (``xfail``), or caught.
        """
        first = self._failed.setdefault((llm.cell.id, floor), node.nodeid)
        if first != node.nodeid and node.session.testsfailed:
            pytest.skip(printable(f"{llm.cell.id}: its output is wrong, as {first} says"))
        llm.fail(flaw)


def floor_part(floor: Floor, checked: Checked) -> FloorPart | None:
    """Return the stored form of a floor; None for the usual one."""
    part: FloorPart = {"check": "on" if floor.on else "off"}
    if not floor.on:
        return part
    if floor.text:
        part["text"] = {"name": floor.text.name, "sha256": floor.text.sha256}
    if checked.agrees_with:
        part["agrees_with"] = checked.agrees_with
    if checked.unchecked:
        part["unchecked"] = True
    return part if len(part) > 1 else None
