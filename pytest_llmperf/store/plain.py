"""Values as JSON has them: what a test's parameters hold can be anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DEEPEST = 50
"""Levels of containers; what lies deeper becomes text."""
_LONGEST_INTEGER = 4096
"""Bits; Python refuses to write out much longer ones."""


def plain(value: Any, above: tuple[int, ...] = ()) -> Any:
    """Return a value in which everything that JSON cannot hold is text.

    Keys become text as well; numbers and lists stay what they are.

    Args:
        above: the ids of the containers around it, because one may hold itself.
    """
    if isinstance(value, int) and value.bit_length() > _LONGEST_INTEGER:
        return hex(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if id(value) in above:
        return "..."
    if len(above) == _DEEPEST:
        return _text(value)
    above = (*above, id(value))
    try:
        if isinstance(value, Mapping):
            return {
                key if isinstance(key, str) else _text(key): plain(item, above)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [plain(item, above) for item in value]
    except Exception as error:  # A container of others.
        return _without_text(value, error)
    return _text(value)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:
        return _without_text(value, error)


def _without_text(value: object, error: Exception) -> str:
    return f"a {type(value).__name__} whose text raises {type(error).__name__}"
