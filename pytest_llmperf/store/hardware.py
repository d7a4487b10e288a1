"""The hardware of a measurement, from its record; it has to be equal before two numbers compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Environment = Mapping[str, Any]
"""A record's ``environment``."""


def hardware(environment: Environment) -> dict[str, Any]:
    """Return the parts of the hardware that must match, by name.

    None: the record does not have the part.
    """
    device = _device(environment)
    cards = _cards(environment)
    parts = {
        "device": device,
        "CPU": environment.get("cpu"),
        "engine threads": environment.get("threads"),
    }
    if device == "cpu":
        parts["cores"] = environment.get("cores")
    parts["GPUs"] = len(cards) if cards or _gpus_are_known(environment) else None
    for i, card in enumerate(cards):
        label = f"GPU {i}" if len(cards) > 1 else "GPU"
        parts[label] = card.get("name")
        for key, name in (
            ("mig", "MIG"),
            ("power_limit_w", "power limit"),
            ("clock_limit_mhz", "clock limit"),
        ):
            parts[f"{label} {name}"] = card.get(key)
        if environment.get("gpus"):
            # The driver reported: a missing limit means that there is none, not that it is unknown.
            parts[f"{label} clock limit"] = card.get("clock_limit_mhz") or "unlimited"
    return parts


def hardware_changes(a: Environment, b: Environment) -> list[str]:
    """Return a phrase for each part that differs. A part that one side lacks is not a difference."""
    return changes(hardware(a), hardware(b), known_only=True)


def machine(environment: Environment) -> str:
    """Return the name of the hardware that ran the engine: its GPUs, or the CPU."""
    names = [str(card.get("name")) for card in _cards(environment)]
    cpu = str(environment.get("cpu", "an unknown machine"))
    return cpu if _device(environment) == "cpu" else ", ".join(dict.fromkeys(names)) or cpu


def changes(a: Mapping[str, Any], b: Mapping[str, Any], known_only: bool = False) -> list[str]:
    """Return a phrase for each key with unequal values.

    Args:
        known_only: leave out keys that one side lacks: a missing tool is not a difference.
    """
    phrases = []
    for key in dict.fromkeys([*a, *b]):
        left, right = a.get(key), b.get(key)
        if left == right or (known_only and (left is None or right is None)):
            continue
        phrases.append(f"{key}: {_word(left)} / {_word(right)}")
    return phrases


def _device(environment: Environment) -> str | None:
    """Return the engine's device; an engine that does not number its GPUs uses the first one."""
    device = environment.get("device")
    return "cuda:0" if device == "cuda" else device


def _cards(environment: Environment) -> list[Mapping[str, Any]]:
    """Return the GPUs as the driver describes them, else as the engine's framework does."""
    return environment.get("gpus") or environment.get("accelerators") or []


def _gpus_are_known(environment: Environment) -> bool:
    """Return whether an empty list of GPUs means none: only a framework that is loaded lists any."""
    on_gpu = str(_device(environment)).startswith("cuda")
    return environment.get("gpus") is not None or not on_gpu


def _word(value: Any) -> str:
    return "none" if value is None else str(value)
