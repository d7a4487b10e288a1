"""Parsers of values that a user types: words, numbers, shares, sizes, paths.

Every parser raises ValueError with one line that says what is wrong and what is expected.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .units import MIB

_BYTES = {"GiB": 1024 * MIB, "MiB": MIB, "GB": 10**9, "MB": 10**6}
_SECONDS = {"d": 86400.0, "h": 3600.0, "min": 60.0}
MOST_TOKENS = 10_000_000
MOST_REQUESTS = 1_000_000
MOST_ROUNDS = 1_000_000
_MOST = 1_000_000_000
"""Seconds, or a price: no clock and no lock of the machine counts further than some times that."""
_MOST_MIB = 1024.0**3
_LEAST_SHARE = 1e-6
_SHOWN = 300
"""Characters of a value in a message."""
_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)


def shown(value: object) -> str:
    """Return a value as it is shown in a message: its repr, which may fail, and which may be long."""
    try:
        text = repr(value)
    except Exception as error:
        return f"a {type(value).__name__} whose repr raises {type(error).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"


def unusable(text: str) -> str:
    """Return why a text can be no value at all; empty if it can."""
    if "\0" in text:
        return "holds a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "is not text in UTF-8"
    return ""


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """Return a text with environment variables in the place of ``$NAME`` and ``${NAME}``."""

    def value(match: re.Match[str]) -> str:
        dollar, name, in_braces = match.groups()
        if dollar:
            return "$"
        name = name or in_braces
        if name not in environment:
            raise ValueError(f"{shown(text)}: ${name} is not set (write $$ for a dollar sign)")
        return environment[name]

    return _VARIABLE.sub(value, text)


def location(text: str, base: Path) -> Path:
    """Return the path that a text names: ``~`` is a home folder, a relative path begins at ``base``."""
    try:
        return base / Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{shown(text)}: the home folder of that user is not known") from None


def plain_whole(value: object) -> Any:
    """Return a whole number of numpy as Python's own; anything else as it is."""
    if isinstance(value, bool | float | str) or value is None or type(value).__name__ == "bool":
        return value
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except Exception:
        return value


def check_whole(name: str, value: object, least: int, most: int) -> None:
    """Raise ValueError unless a call's argument is a whole number between two others."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, not {shown(value)}")
    if value > most:
        raise ValueError(f"{name} must be at most {most:,}, not {_number(value)}")


def check_text(name: str, value: object) -> None:
    """Raise ValueError unless a call's argument is a text that can be encoded."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, not {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be text in UTF-8, not {shown(value)}") from None


def _number(value: int) -> str:
    # Python refuses to write more than 4,300 digits.
    return f"{value:,}" if abs(value) < 10**30 else f"a number of {value.bit_length():,} bits"


def one_of(what: str, known: Sequence[str]) -> Callable[[str], str]:
    """Return a parser that accepts one of the known words.

    Args:
        what: the kind of word, for the message.
    """

    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(f"unknown {what} {shown(text)}; known: {', '.join(known)}")
        return text

    return parse


def whole(least: int, most: int = MOST_ROUNDS) -> Callable[[str], int]:
    """Return a parser that accepts whole numbers between ``least`` and ``most``."""

    def parse(text: str) -> int:
        # Python refuses to read more than 4,300 digits.
        value = int(text[:30]) if text.isdecimal() else least - 1
        if value < least:
            raise ValueError(f"{shown(text)} is not a whole number of at least {least}")
        if value > most:
            raise ValueError(f"{shown(text)} is more than {most:,}")
        return value

    return parse


def listed(text: str) -> list[str]:
    """Return the parts of a text between commas; a comma that belongs to a part is ``\\,``."""
    return [part.replace("\\,", ",").strip() for part in re.split(r"(?<!\\),", text)]


def seconds(text: str) -> float:
    """Parse a positive number of seconds."""
    value = _positive(text)
    if value is None:
        raise ValueError(f"{shown(text)} is not a positive number of seconds")
    return _bounded(text, value)


def price(text: str) -> float:
    """Parse a positive price in any currency."""
    value = _positive(text)
    if value is None:
        raise ValueError(
            f"{shown(text)} is not a positive number: a price per hour, without its currency"
        )
    return _bounded(text, value)


def card_size(text: str) -> float:
    """Parse ``16GiB``, ``15360MiB`` or ``16GB`` (16e9 bytes); return MiB."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(GiB|MiB|GB|MB)\s*", text)
    if not match or not float(match[1]):
        raise ValueError(f"{shown(text)} is not a memory size such as 16GiB, 15360MiB or 16GB")
    size = float(match[1]) * _BYTES[match[2]] / MIB
    if size > _MOST_MIB:
        raise ValueError(f"{shown(text)} is more than {_MOST_MIB / 1024:,.0f}GiB")
    return size


def duration(text: str) -> float:
    """Parse ``30d``, ``12h`` or ``90min``; return seconds."""
    match = re.fullmatch(r"\s*(\d{1,6})\s*(d|h|min)\s*", text, re.ASCII)
    if not match:
        raise ValueError(f"{shown(text)} is not a duration such as 30d, 12h or 90min")
    return int(match[1]) * _SECONDS[match[2]]


def ratio(text: str) -> float:
    """Parse ``3%`` or ``0.03``, between 0 and 100 %; return 0.03."""
    number, percent, rest = text.strip().partition("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = -1.0
    if rest or not 0 < value < 1:
        raise ValueError(f"{shown(text)} is not a share between 0 and 100 %, such as 3% or 0.03")
    if value < _LEAST_SHARE:
        raise ValueError(f"{shown(text)} is less than {_LEAST_SHARE:.4%}")
    return value


def _bounded(text: str, value: float) -> float:
    if value > _MOST:
        raise ValueError(f"{shown(text)} is more than {_MOST:,}")
    return value


def _positive(text: str) -> float | None:
    """Return the number, or None if the text is not a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value > 0 and math.isfinite(value) else None
