"""What several engines predict for a text that a model hardly knows: if they agree, none is broken.

A model of another language or domain predicts the shipped text about as badly as a broken engine
would. Two engines that are broken do not predict the same; so what each of them predicts is kept in a
file beside the model's references.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ..backends.base import Backend

_FOLDER = "witnesses"
_SAME_TOKENS, _SAME_LOSS = 0.8, 0.1
"""Share of equal likeliest tokens, and difference of the losses in nats, of two engines that agree."""
_LIKE_TOKENS, _LIKE_LOSS = 0.3, math.log(3)
"""The same for a quantized model beside two engines that agree, as beside the unquantized one."""


@dataclass(frozen=True)
class Witness:
    """The predictions of one engine for one document."""

    backend: str
    version: str
    mode: str
    loss: float
    """Mean negative log-likelihood of the next token, in nats."""
    likeliest: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.backend} {self.version}"

    def agrees(self, other: Witness) -> bool:
        """Return whether another engine predicts the same."""
        return self.backend != other.backend and self._near(other, _SAME_TOKENS, _SAME_LOSS)

    def resembles(self, other: Witness) -> bool:
        """Return whether this may be the other one's model, quantized."""
        return self._near(other, _LIKE_TOKENS, _LIKE_LOSS)

    def _near(self, other: Witness, share: float, loss: float) -> bool:
        if len(self.likeliest) != len(other.likeliest) or not self.likeliest:
            return False
        pairs = zip(self.likeliest, other.likeliest, strict=True)
        same = sum(a == b for a, b in pairs) / len(self.likeliest)
        return same >= share and abs(self.loss - other.loss) <= loss


def witness_of(backend: Backend, ids: Sequence[int], engine: Mapping[str, str]) -> Witness:
    """Return what the loaded engine predicts; ``engine`` has ``backend``, ``version`` and ``mode``."""
    import numpy

    rows = backend.log_probabilities(ids)
    loss = -float(rows[numpy.arange(len(ids) - 1), list(ids[1:])].mean(dtype=numpy.float64))
    likeliest = tuple(int(token) for token in rows.argmax(axis=1))
    return Witness(engine["backend"], engine["version"], engine["mode"], loss, likeliest)


def vouched_by(mine: Witness, root: Path, name: str) -> str | None:
    """Return another engine that agrees, or None; keep what this one predicts for the next engine.

    Args:
        mine: the predictions of the loaded engine.
        root: folder of the model's references.
        name: name of the document, from its token ids.
    """
    file = root / _FOLDER / f"{name}.json"
    known = _read(file)
    with suppress(OSError):
        _write(file, [*(w for w in known if not _is_same_cell(w, mine)), mine])
    for other in known:
        if mine.agrees(other):
            return other.name
    for other in known:
        if mine.resembles(other) and any(other.agrees(third) for third in known):
            return other.name
    return None


def _is_same_cell(one: Witness, other: Witness) -> bool:
    return (one.backend, one.mode) == (other.backend, other.mode)


def _read(file: Path) -> list[Witness]:
    try:
        found = [
            Witness(**{**item, "likeliest": tuple(item["likeliest"])})
            for item in json.loads(file.read_text("utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # Missing or damaged: it will be written again.
    return found


def _write(file: Path, witnesses: Sequence[Witness]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}")
    part.write_text(json.dumps([asdict(witness) for witness in witnesses]), "utf-8")
    part.replace(file)
