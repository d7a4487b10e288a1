"""The text for measuring quality. It is shipped with the package.

The text consists of eight passages of about 240 tokens, two from the middle of each of four books in
the public domain: On the Origin of Species (1859), Moby-Dick (1851), Walden (1854), The Time Machine
(1895). Line ends and quotation marks are converted to plain ASCII; nothing else is changed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

_FILE = Path(__file__).parent / "texts" / "prose.txt"


@dataclass(frozen=True)
class Text:
    """A text, split into documents that are scored separately."""

    name: str
    documents: tuple[str, ...]
    sha256: str
    """Hash of the file. Perplexities of different texts are not comparable."""


def shipped() -> Text:
    """Return the text that this package ships."""
    data = _FILE.read_bytes()
    documents = tuple(part.strip() for part in data.decode("ascii").split("\n\n"))
    return Text(_FILE.stem, documents, hashlib.sha256(data).hexdigest())
