"""The cell: one model on one engine in one quantization mode, with its traits."""

from __future__ import annotations

from dataclasses import dataclass, field

from .checkpoint_format import CheckpointFormat
from .engine import EngineInfo
from .label import contradiction
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
    stored: CheckpointFormat | None = None
    """How the checkpoint itself is quantized; None if it is not, or if that is not known yet."""

    @property
    def id(self) -> str:
        """The first part of a test's parameters, and the key under which runs are compared."""
        parts = (self.model.name, self.backend, self.quantization, *self.traits.parts)
        return "-".join(parts)

    @property
    def is_quantized(self) -> bool:
        """Return whether the checkpoint itself has the mode, so that no engine has to quantize it."""
        return self.stored is not None and self.stored.mode == self.quantization

    def contradicted_by(self, info: EngineInfo) -> str | None:
        """Return why a loaded engine is not this cell, in one line with what to write, or None."""
        if info.mode is None or info.mode == self.quantization:
            bits = info.weights.linear_bits if info.weights else None
            return contradiction(self.quantization, bits) if bits else None
        wrong = f"the engine runs {info.mode}, not {self.quantization}"
        if self.model.kind == "hub" and self.stored is None:
            return (
                f"{wrong}: its configuration says so, which the hub's cache has from now on; run the "
                "test again"
            )
        return f"{wrong}: give --llm-quant={info.mode}"
