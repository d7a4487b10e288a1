"""An exception as one line for the terminal."""

from __future__ import annotations

from .printable import printable

_LONGEST = 300
"""Characters of an exception's own text."""


def one_line(error: BaseException) -> str:
    """Return an exception as one line: its type and the first line of its message."""
    lines = [line.strip() for line in text_of(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    if "validation error" in text:
        # Pydantic's first line only counts the errors; the next lines describe them.
        text = " ".join(line.partition(" [type=")[0] for line in lines[1:3]) or text
    return printable(f"{type(error).__name__}: {text[:_LONGEST]}")


def text_of(error: BaseException) -> str:
    """Return an exception's own text, also if it cannot write one."""
    try:
        return str(error)
    except Exception as problem:
        return f"no message: its __str__ raises {type(problem).__name__}"
