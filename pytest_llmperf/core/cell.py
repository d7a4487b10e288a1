"""The cell: one model on one engine in one quantization mode."""

from __future__ import annotations

from dataclasses import dataclass

from .models import Model


@dataclass(frozen=True)
class Cell:
    """One model on one backend in one quantization mode."""

    model: Model
    backend: str
    quantization: str
    degree: str = ""
    """Number of devices that share the model (``tp2``); empty for one device."""

    @property
    def id(self) -> str:
        """The first part of a test's parameters, and the key under which runs are compared."""
        name = f"{self.model.name}-{self.backend}-{self.quantization}"
        return f"{name}-{self.degree}" if self.degree else name
