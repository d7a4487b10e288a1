"""The rounds of one workload, as the worker returns them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .trace import RoundTrace


@dataclass(frozen=True)
class Measurement:
    """The rounds of one workload on one loaded engine."""

    rounds: tuple[RoundTrace, ...]
    peak_memory: float
    """Peak during the rounds, in MiB."""
    conditions: Mapping[str, Any] = field(default_factory=dict)
    """Other activity on the machine during the rounds: ``environment.conditions`` of the record."""
    canary: Mapping[str, Any] = field(default_factory=dict)
    """Seconds of the reference work, ``[before, after]``: ``environment.canary`` of the record."""
    energy: Mapping[str, Any] = field(default_factory=dict)
    """Energy of all rounds, or the reason why it is unknown: ``environment.energy`` of the record."""

    def to_wire(self) -> dict[str, Any]:
        """Return the fields as builtin types."""
        return {
            "rounds": [r.to_wire() for r in self.rounds],
            "peak_memory": self.peak_memory,
            "conditions": dict(self.conditions),
            "canary": dict(self.canary),
            "energy": dict(self.energy),
        }

    @classmethod
    def from_wire(cls, data: dict[str, Any]) -> Measurement:
        """Return the object that ``to_wire`` took apart."""
        return cls(
            tuple(RoundTrace.from_wire(r) for r in data["rounds"]),
            data["peak_memory"],
            data["conditions"],
            data["canary"],
            data["energy"],
        )
