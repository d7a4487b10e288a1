"""A GGUF model in several files: llama.cpp is given the first one and reads the others beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .gguf import Header, header, metadata

_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE)


@dataclass(frozen=True)
class Shard:
    """One of several files of a model, known by its name: ``Model.Q4_0-00001-of-00003.gguf``."""

    stem: str
    number: int
    """From 1."""
    count: int

    @classmethod
    def of_name(cls, file_name: str) -> Shard | None:
        """Return the shard with a file name, or None if such a file is a whole model."""
        match = _NAME.fullmatch(file_name)
        if match is None or int(match[3]) < 2:
            return None
        return cls(match[1], int(match[2]), int(match[3]))

    @classmethod
    def of_file(cls, path: Path) -> Shard | None:
        """Return the shard that a file is, or None if it is a whole model, whatever its name."""
        shard = cls.of_name(path.name)
        try:
            count = metadata(path, "split.count") if shard else None
        except ValueError:
            return None  # Whoever loads it says what is wrong.
        return shard if isinstance(count, int) and count > 1 else None

    def file_name(self, number: int) -> str:
        """Return the name of the file with a number, from 1."""
        return f"{self.stem}-{number:05d}-of-{self.count:05d}.gguf"

    @property
    def file_names(self) -> tuple[str, ...]:
        """The names of all files of the model."""
        return tuple(self.file_name(number) for number in range(1, self.count + 1))

    def why_not_first(self) -> str | None:
        """Return why the model cannot be named by this file, or None."""
        if self.number == 1:
            return None
        return (
            f"shard {self.number} of {self.count} of a model: name the first, {self.file_name(1)}"
        )

    def why_not_whole(self, folder: Path) -> str | None:
        """Return which files of the model a folder lacks, or None."""
        missing = [name for name in self.file_names if not (folder / name).is_file()]
        if not missing:
            return None
        others = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
        return f"the first of {self.count} shards, and {missing[0]}{others} not there"


def whole_header(path: Path) -> Header:
    """Return the header of a model: of its first file, with the tensors of all its files.

    Raises:
        ValueError: a header cannot be read.
    """
    first, shard = header(path), Shard.of_file(path)
    if shard is None:
        return first
    shapes, sizes, types = dict(first.shapes), dict(first.sizes), dict(first.types)
    for name in shard.file_names[1:]:
        other = header(path.with_name(name))
        shapes |= other.shapes
        sizes |= other.sizes
        types |= other.types
    return Header(first.values, shapes, sizes, types)
