"""Prompts from a file: a JSON object a line, with ``prompt`` or ``messages``, and ``output_len``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .prompts import Prompt, batch_of
from .values import MOST_TOKENS, check_whole, shown

MOST_BYTES = 64 * 2**20
_KEYS = ("prompt", "messages")


@dataclass(frozen=True)
class PromptFile:
    """The prompts of a file, with the output lengths that it sets."""

    name: str
    """Of the file, without its folder and its ending."""
    prompts: tuple[Prompt, ...]
    output_lens: tuple[int | None, ...]
    """Of each prompt; None where its line has none."""

    def lengths(self, otherwise: int | Sequence[int]) -> int | Sequence[int]:
        """Return the output lengths of a measurement.

        Args:
            otherwise: the call's: one for the lines without a length, or a list.

        Raises:
            ValueError: both the file and the call have a list.
        """
        if not any(self.output_lens):
            return otherwise
        if not isinstance(otherwise, int):
            raise ValueError("output_len is a list, and the file of prompts has output_len, too")
        return [otherwise if length is None else length for length in self.output_lens]


def read_prompts(path: Path) -> PromptFile:
    """Return the prompts of a JSONL file in UTF-8; keys other than those of this module are ignored.

    Raises:
        ValueError: one line, with the number of the file's line that is wrong.
    """
    name = shown(str(path))
    try:
        if not path.is_file():
            raise OSError
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ValueError(f"{name} has {size:,} bytes, and at most {MOST_BYTES:,} are read")
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{name} is not a text file in UTF-8 that can be read") from None
    prompts: list[Prompt] = []
    lengths: list[int | None] = []
    # Not splitlines, which divides at characters that JSON allows within a text.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                prompt, length = _read(line)
            except ValueError as error:
                raise ValueError(f"{name}, line {number}: {error}") from None
            prompts.append(prompt)
            lengths.append(length)
    if not prompts:
        raise ValueError(f"{name} holds no prompt")
    return PromptFile(path.stem, tuple(prompts), tuple(lengths))


def _read(line: str) -> tuple[Prompt, int | None]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(f"not JSON: {shown(line[:60])}") from None
    given = [key for key in _KEYS if isinstance(entry, dict) and key in entry]
    if len(given) != 1:
        raise ValueError(
            "a line is an object with one of prompt (a text or token ids) and messages (a chat), not "
            f"{shown(entry)}"
        )
    (prompt,) = batch_of([entry[given[0]]])
    length = entry.get("output_len")
    if length is not None:
        check_whole("output_len", length, 1, MOST_TOKENS)
    return prompt, length
