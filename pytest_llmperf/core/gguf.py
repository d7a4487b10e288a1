"""GGUF files: the type of their weights, and their header.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

# ``general.file_type``: the numbers of llama.cpp's enum llama_ftype.
FILE_TYPES = {
    0: "f32",
    1: "f16",
    2: "q4_0",
    3: "q4_1",
    7: "q8_0",
    8: "q5_0",
    9: "q5_1",
    10: "q2_k",
    11: "q3_k_s",
    12: "q3_k_m",
    13: "q3_k_l",
    14: "q4_k_s",
    15: "q4_k_m",
    16: "q5_k_s",
    17: "q5_k_m",
    18: "q6_k",
    19: "iq2_xxs",
    20: "iq2_xs",
    21: "q2_k_s",
    22: "iq3_xs",
    23: "iq3_xxs",
    24: "iq1_s",
    25: "iq4_nl",
    26: "iq3_s",
    27: "iq3_m",
    28: "iq2_s",
    29: "iq2_m",
    30: "iq4_xs",
    31: "iq1_m",
    32: "bf16",
    36: "tq1_0",
    37: "tq2_0",
    38: "mxfp4",
}
UNQUANTIZED = ("f32", "f16", "bf16")
OTHER = "other"
"""A type that the file does not name, or that is newer than this table."""
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32
# Real files are far below these numbers; damaged ones would be read for minutes without them.
_MOST_ENTRIES = 1_000_000
_MOST_ITEMS = 10_000_000
_MOST_DIMENSIONS = 4
_DEEPEST = 4
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}


@cache
def file_type(gguf: Path) -> str:
    """Return the type of a file's weights in lower case (``q4_k_m``), from its header.

    The ``gguf`` package is not used here: it needs numpy, and it would slow down pytest's collection
    by seconds.

    Raises:
        ValueError: the header cannot be read.
    """
    number = metadata(gguf, "general.file_type")
    return FILE_TYPES.get(number, OTHER) if isinstance(number, int) else named_type(gguf.name)


def named_type(file_name: str) -> str:
    """Return the type in the file's name, by convention its last part: ``Model-7B.Q4_K_M.gguf``."""
    stem = re.sub(r"-\d{5}-of-\d{5}$", "", file_name.lower().removesuffix(".gguf"))
    last = re.split(r"[.-]", stem)[-1]
    return last if last in FILE_TYPES.values() else OTHER


def metadata(gguf: Path, key: str) -> Any:
    """Return one value of the header: a number, a string or a list of numbers; None if it is missing.

    Reading stops at that value: reading the vocabulary after it would take a tenth of a second.

    Raises:
        ValueError: the header cannot be read.
    """
    with _opened(gguf) as file:
        _, values = _start(file)
        return next((value for name, value in values if name == key), None)


@dataclass(frozen=True)
class Header:
    """Everything in a GGUF file before its weights."""

    values: Mapping[str, Any]
    """Metadata by key; None for lists of strings."""
    shapes: Mapping[str, tuple[int, ...]]
    """Dimensions of each tensor by name, the innermost first."""
    sizes: Mapping[str, int]
    """Bytes from the start of each tensor to the start of the next one: its size, rounded up."""
    types: Mapping[str, int]
    """Type of each tensor: the numbers of ggml's enum ggml_type."""


@cache
def header(gguf: Path) -> Header:
    """Return the whole header.

    It is read once and cached, because reading takes a tenth of a second with a large vocabulary.

    Raises:
        ValueError: the header cannot be read.
    """
    with _opened(gguf) as file:
        tensors, entries = _start(file)
        values = dict(entries)
        shapes, offsets, types = {}, {}, {}
        for _ in range(tensors):
            name = file.text().decode()
            # A tensor of rank 0 has one number.
            shapes[name] = file.numbers(f"{file.number('I', most=_MOST_DIMENSIONS)}Q") or (1,)
            types[name], offsets[name] = file.numbers("IQ")
        alignment = values.get("general.alignment", _ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise ValueError(f"an alignment of {alignment!r}")
        data = -(-file.position // alignment) * alignment
        ends = [*sorted(offsets.values())[1:], file.size - data]
    after = dict(zip(sorted(offsets.values()), ends, strict=False))
    return Header(values, shapes, {name: after[o] - o for name, o in offsets.items()}, types)


class _File:
    """A GGUF file that is read from its start; no number in it asks for more than the file has."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size = size

    @property
    def position(self) -> int:
        return self._file.tell()

    def skip(self, count: int) -> None:
        self._file.seek(count, os.SEEK_CUR)

    def numbers(self, layout: str) -> tuple[Any, ...]:
        layout = f"<{layout}"
        return struct.unpack(layout, self._bytes(struct.calcsize(layout)))

    def number(self, layout: str, most: int) -> int:
        """Return a whole number, for instance a count, that is at most ``most``."""
        number: int = self.numbers(layout)[0]
        if number > most:
            raise ValueError(f"{number} where at most {most} is possible")
        return number

    def text(self) -> bytes:
        return self._bytes(self.number("Q", most=self.size))

    def _bytes(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) < count:
            raise ValueError(f"the file ends after {self.size} bytes")
        return data


@contextmanager
def _opened(gguf: Path) -> Iterator[_File]:
    """Open a file to read its header; every error becomes a ValueError of one line."""
    try:
        with gguf.open("rb") as file:
            yield _File(file, gguf.stat().st_size)
    except (OSError, ValueError, KeyError, struct.error, MemoryError, OverflowError) as error:
        reason = f"type {error} is unknown" if isinstance(error, KeyError) else error
        raise ValueError(f"{gguf.name}: its header cannot be read ({reason})") from None


def _start(file: _File) -> tuple[int, Iterator[tuple[str, Any]]]:
    """Return the number of tensors, and an iterator that reads the metadata one entry at a time."""
    file.skip(8)  # The magic number and the version.
    tensors, count = file.number("Q", _MOST_ENTRIES), file.number("Q", _MOST_ENTRIES)
    return tensors, (_entry(file) for _ in range(count))


def _entry(file: _File) -> tuple[str, Any]:
    name = file.text().decode()
    return name, _value(file, file.numbers("I")[0])


def _value(file: _File, kind: int, depth: int = 0) -> Any:
    if kind == _STRING:
        return file.text().decode(errors="replace")
    if kind != _ARRAY:
        return file.numbers(_SCALARS[kind])[0]
    if depth == _DEEPEST:
        raise ValueError(f"more than {_DEEPEST} lists within lists")
    item = file.numbers("I")[0]
    count = file.number("Q", _MOST_ITEMS)
    if item in (_STRING, _ARRAY):
        for _ in range(count):
            _value(file, item, depth + 1)
        return None  # The strings of a whole vocabulary: nothing uses them.
    return list(file.numbers(f"{count}{_SCALARS[item]}"))
