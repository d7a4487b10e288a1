"""The floor: the check of a loaded engine's output before its first benchmark, and its result."""

from __future__ import annotations

from dataclasses import dataclass

from .text import Text


@dataclass(frozen=True)
class Floor:
    """How the output of an engine is checked."""

    on: bool = True
    text: Text | None = None
    """A text of the user's own; None: the shipped one."""

    @property
    def text_name(self) -> str:
        """The text, for messages."""
        return self.text.name if self.text else "plain English"


@dataclass(frozen=True)
class Checked:
    """What the check of an engine's output has found."""

    flaw: str | None = None
    """Why the output cannot come from a working model; None if it can."""
    guessing: bool = False
    """The flaw is a text that the model hardly predicts: it may be of another language or domain."""
    agrees_with: str | None = None
    """Another engine that predicts the text as badly, and alike: so the model is like that."""
    unchecked: bool = False
    """The output could not be checked: the engine's log has the error."""

    @property
    def advice(self) -> str:
        """The flaw, and what to do if the model is as it should be."""
        if not self.guessing:
            return self.flaw or ""
        return (
            f"{self.flaw}; for a model of another language or domain give a text that it knows, "
            "--llm-floor-text=FILE, or switch this check off, --llm-floor=off"
        )
