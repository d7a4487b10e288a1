"""The text for measuring quality: the one that is shipped with the package, or a file of the user's.

The shipped text consists of eight passages of about 240 tokens, two from the middle of each of four
books in the public domain: On the Origin of Species (1859), Moby-Dick (1851), Walden (1854), The Time
Machine (1895). Line ends and quotation marks are converted to plain ASCII; nothing else is changed.

A file of the user's is divided into documents of about the same size as those passages.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from .values import shown

MOST_BYTES = 32 * 1024
"""Bytes of a text that are scored: about 8,000 tokens. The distributions of the unquantized model are
kept on disk, 4 bytes for each token and each entry of the vocabulary."""
_LONGEST = 1000
"""Characters of a document, which every engine's context has room for."""
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


def text_of_file(path: Path) -> Text:
    """Return a user's own text, divided into documents of up to 1,000 characters.

    A document ends with a paragraph where that is possible, else with a line, else with a word.

    Raises:
        ValueError: one line, if the file cannot be read or holds too little or too much.
    """
    name = shown(str(path))
    try:
        if not path.is_file():
            raise OSError
        data = path.read_bytes()
        content = data.decode("utf-8").replace("\r\n", "\n")
    except (OSError, ValueError):
        raise ValueError(f"{name} is not a text file in UTF-8 that can be read") from None
    if len(data) > MOST_BYTES:
        raise ValueError(
            f"{name} has {len(data):,} bytes, and at most {MOST_BYTES:,} are scored: give a part of it"
        )
    documents = tuple(filter(None, map(str.strip, _divided(content))))
    if sum(map(len, documents)) < 2:
        raise ValueError(f"{name} holds no text")
    return Text(path.name, documents, hashlib.sha256(data).hexdigest())


def _divided(text: str) -> list[str]:
    """Return the parts of a text, each of at most ``_LONGEST`` characters."""
    parts = []
    while len(text) > _LONGEST:
        ends = (text.rfind(separator, _LONGEST // 2, _LONGEST) for separator in ("\n\n", "\n", " "))
        end = next((end for end in ends if end > 0), _LONGEST)
        parts.append(text[:end])
        text = text[end:]
    # A short rest belongs to the document before it.
    if parts and len(text.strip()) < _LONGEST // 10:
        parts[-1] += text
        return parts
    return [*parts, text]
