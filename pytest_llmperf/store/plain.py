"""Values as JSON has them: what a test's parameters hold can be anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DEEPEST = 200


def plain(value: Any, depth: int = 0) -> Any:
    """Return a value in which everything that JSON cannot hold is text.

    Keys become text as well; numbers and lists stay what they are.

    Args:
        depth: levels above it, so that a value that contains itself comes to an end.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if depth > _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else _text(key): plain(item, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    return _text(value)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:
        return f"a {type(value).__name__} whose str raises {type(error).__name__}"
