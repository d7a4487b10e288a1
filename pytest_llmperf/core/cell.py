"""The cell: one model on one engine in one quantization mode, with its traits."""

from __future__ import annotations

from dataclasses import dataclass, field

from .models import Model
from .traits import Traits


@dataclass(frozen=True)
class Cell:
    """One model on one backend in one quantization mode."""

    model: Model
    backend: str
    quantization: str
    traits: Traits = field(default_factory=Traits)
    """What else changes speed or numbers: ``tp2``, ``kvfp8``."""

    @property
    def id(self) -> str:
        """The first part of a test's parameters, and the key under which runs are compared."""
        parts = (self.model.name, self.backend, self.quantization, *self.traits.parts)
        return "-".join(parts)
