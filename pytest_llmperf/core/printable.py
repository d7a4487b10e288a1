"""Text that others wrote (engines, files, branches), made safe to print."""

from __future__ import annotations


def printable(text: object) -> str:
    """Return a text in one line with every character escaped that a terminal would obey, as repr does.

    These are control characters (``\\x1b``, line ends), marks that change the direction of writing, and
    characters that cannot be encoded. Ordinary text of every language stays as it is.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in str(text))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
