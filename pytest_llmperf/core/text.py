"""The text that quality is measured on. It ships with the package.

Eight passages of about 240 tokens out of the middle of four books in the public domain, two of each:
On the Origin of Species (1859), Moby-Dick (1851), Walden (1854), The Time Machine (1895). Line ends and
quotation marks are made plain ASCII; nothing else is changed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

_FILE = Path(__file__).parent / "texts" / "prose.txt"


@dataclass(frozen=True)
class Text:
    """A text in documents, each scored by itself."""

    name: str
    documents: tuple[str, ...]
    sha256: str
    """Of the file. Perplexities of different texts cannot be compared."""


def shipped() -> Text:
    """Return the text of this package."""
    data = _FILE.read_bytes()
    documents = tuple(part.strip() for part in data.decode("ascii").split("\n\n"))
    return Text(_FILE.stem, documents, hashlib.sha256(data).hexdigest())
