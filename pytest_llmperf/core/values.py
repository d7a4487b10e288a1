"""Parsers of values that a user types: words, numbers, shares, sizes.

Every parser raises ValueError with one line that says what is wrong and what is expected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from .units import MIB

_BYTES = {"GiB": 1024 * MIB, "MiB": MIB, "GB": 10**9, "MB": 10**6}


def one_of(what: str, known: Sequence[str]) -> Callable[[str], str]:
    """Return a parser that accepts one of the known words.

    Args:
        what: the kind of word, for the message.
    """

    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(f"unknown {what} {text!r}; known: {', '.join(known)}")
        return text

    return parse


def whole(least: int) -> Callable[[str], int]:
    """Return a parser that accepts whole numbers of at least ``least``."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise ValueError(f"{text!r} is not a whole number of at least {least}")
        return int(text)

    return parse


def listed(text: str) -> list[str]:
    """Return the parts of a text between commas; a comma that belongs to a part is ``\\,``."""
    return [part.replace("\\,", ",").strip() for part in re.split(r"(?<!\\),", text)]


def seconds(text: str) -> float:
    """Parse a positive number of seconds."""
    value = _positive(text)
    if value is None:
        raise ValueError(f"{text!r} is not a positive number of seconds")
    return value


def price(text: str) -> float:
    """Parse a positive price in any currency."""
    value = _positive(text)
    if value is None:
        raise ValueError(
            f"{text!r} is not a positive number: a price per hour, without its currency"
        )
    return value


def card_size(text: str) -> float:
    """Parse ``16GiB``, ``15360MiB`` or ``16GB`` (16e9 bytes); return MiB."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(GiB|MiB|GB|MB)\s*", text)
    if not match or not float(match[1]):
        raise ValueError(f"{text!r} is not a memory size such as 16GiB, 15360MiB or 16GB")
    return float(match[1]) * _BYTES[match[2]] / MIB


def ratio(text: str) -> float:
    """Parse ``3%`` or ``0.03``, between 0 and 100 %; return 0.03."""
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = -1.0
    if rest or not 0 < value < 1:
        raise ValueError(f"{text!r} is not a share between 0 and 100 %, such as 3% or 0.03")
    return value


def _positive(text: str) -> float | None:
    """Return the number, or None if the text is not a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value > 0 and math.isfinite(value) else None
