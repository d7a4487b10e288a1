"""Text of others in markdown: it shows as what it is."""

from __future__ import annotations

import re

from ..core.printable import printable


def code(text: object) -> str:
    """Return a text as a code span, in which it means nothing to markdown or GitHub.

    A test id becomes no mention, link, image, HTML, reference or formatting, whatever it holds.
    """
    content = printable(text)
    if not content:
        return ""
    longest = max((len(run) for run in re.findall("`+", content)), default=0)
    fence = "`" * (longest + 1)
    # A backtick beside the fence would be part of it, and a space on both sides would be taken off.
    pad = " " if content[0] in "` " or content[-1] in "` " else ""
    return f"{fence}{pad}{content}{pad}{fence}"


def code_in_table(text: object) -> str:
    """Return the same for a cell of a table, which ends at a bar even in a code span."""
    # How a table reads a bar after a backslash differs between versions: it has to be another character.
    content = re.sub(r"(?<=\\)\|", lambda _: r"\x7c", printable(text))
    return code(content).replace("|", r"\|")
