"""A line of a report, with the color that a terminal may give it; and how it fits in a width."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TextIO

from ..core.printable import printable

Color = Literal["", "red", "green", "yellow"]
_CODES = {"red": "31", "green": "32", "yellow": "33"}


@dataclass(frozen=True)
class Line:
    """One line of text."""

    text: str
    color: Color = ""


def plain(lines: Iterable[str]) -> list[Line]:
    """Return lines without a color."""
    return [Line(text) for text in lines]


def wrapped(text: str, width: int | None, indent: str = "  ") -> list[str]:
    """Return a text in lines of a width, broken between words only.

    Args:
        width: None: one line.
        indent: before every line but the first.
    """
    if width is None or len(text) <= width:
        return [text]
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def write(lines: Iterable[Line], stream: TextIO) -> None:
    """Print lines that are safe on a terminal, in color where the stream is one that shows it."""
    in_color = shows_color(stream)
    for line in lines:
        text = printable(line.text)
        if in_color and line.color and text:
            text = f"\x1b[{_CODES[line.color]}m{text}\x1b[0m"
        print(text, file=stream)


def shows_color(stream: TextIO) -> bool:
    """Return whether a stream is a terminal with colors, which nobody has turned off (NO_COLOR)."""
    off = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not off and stream.isatty()


def width_of(stream: TextIO) -> int | None:
    """Return the columns of a terminal (or COLUMNS); None for a file or a pipe, which have no width."""
    return shutil.get_terminal_size().columns if stream.isatty() else None
