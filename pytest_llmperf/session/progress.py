"""The progress of the engine on the terminal, in one line."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest

from ..core.printable import printable
from ..core.progress import Progress

# Cursor and line control that every terminal has had since the VT100.
_SAVE, _RESTORE, _ERASE = "\x1b7", "\x1b8", "\x1b[K"
_PHASES = {
    "prepare": "preparing its files",
    "download": "getting its files from the hub",
    "wait": "waiting for another process that converts it",
    "dequantize": "dequantizing the GGUF file (once)",
    "convert": "converting the checkpoint (once)",
    "ceilings": "measuring its ceilings (once)",
    "load": "loading",
    "turn": "waiting for the other side",
    "work": "at work",
    "warm-up": "warm-up",
    "round": "round",
    "score": "scoring document",
}


class ProgressLine:
    """A line on the terminal that shows the engine's phase; silent without a terminal.

    It changes only when the engine reports something: a line that redraws itself on a timer would
    take CPU time from the engine.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager
        self._open = False

    @property
    def _reporter(self) -> Any:
        # Looked up when it is needed: this line is made before pytest has made its reporter.
        return self._plugins.get_plugin("terminalreporter")

    @property
    def _visible(self) -> bool:
        return self._reporter is not None and self._reporter.isatty

    def of(self, name: str) -> Progress:
        """Return a function that shows the phases of a cell, or of the machine."""
        return partial(self.show, name)

    def show(self, name: str, phase: str, number: int, total: int) -> None:
        """Show a phase of a cell, its number and how many there are; 0: unknown."""
        if self._visible:
            count = f" {number}/{total}" if total else f" {number}" if number else " ..."
            text = f"{_PHASES.get(phase, phase)}{count}"
            self._draw(printable(f"  {name}: {text}"), printable(f"  {text}"))
            self._open = True

    def clear(self) -> None:
        """Leave the line as it was before."""
        if self._open:
            self._draw("", "")
            self._open = False

    def _draw(self, text: str, shorter: str) -> None:
        # To the right of what pytest has written on this line, the cursor left where pytest has it.
        writer = self._reporter._tw
        room = max(0, writer.fullwidth - writer.width_of_current_line - 1)
        text = text if len(text) <= room else shorter[:room]
        capture = self._plugins.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            print(f"{_SAVE}{_ERASE}{text}{_RESTORE}", end="", file=sys.__stdout__, flush=True)
