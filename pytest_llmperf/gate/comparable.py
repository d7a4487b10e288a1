"""Whether two measurements are of the same thing on the same hardware."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..store.stored import TestRecord

SIZES = ("input_tokens", "output_tokens", "batch_size")


def differences(a: TestRecord, b: TestRecord, same_engine: bool = True) -> list[str]:
    """What makes two tests incomparable, a phrase each; empty when nothing does.

    Args:
        same_engine: also the same model, engine arguments and quantization; without, the same
            requests alone, for a comparison that may be about the rest.
    """
    found = _changed(_sizes(a), _sizes(b))
    if not found and _unlike(a.workload, b.workload, "requests"):
        found = ["the prompts differ"]
    if same_engine and not found:
        found = _changed(a.subject, b.subject)
        if not found and _unlike(a.workload, b.workload, "hash"):
            found = ["the work differs"]
    return found + _changed(hard(a.environment), hard(b.environment), known_only=True)


def hard(environment: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be equal: a number of other hardware is another number."""
    found = {
        "device": environment.get("device"),
        "CPU": environment.get("cpu"),
        "engine threads": environment.get("threads"),
    }
    if environment.get("device") == "cpu":
        found["cores"] = environment.get("cores")
    cards = environment.get("gpus") or environment.get("accelerators") or []
    found["GPUs"] = len(cards)
    for i, card in enumerate(cards):
        label = f"GPU {i}" if len(cards) > 1 else "GPU"
        found[label] = card.get("name")
        for key, name in (
            ("mig", "MIG"),
            ("power_limit_w", "power limit"),
            ("clock_limit_mhz", "clock limit"),
        ):
            found[f"{label} {name}"] = card.get(key)
        if environment.get("gpus"):
            # The driver was asked: no limit is an answer there, not a gap.
            found[f"{label} clock limit"] = card.get("clock_limit_mhz") or "unlimited"
    return found


def soft(environment: Mapping[str, Any]) -> dict[str, Any]:
    """What may differ and is worth knowing: versions and drivers."""
    found = {key: environment.get(key) for key in ("os", "python", "governor")}
    for card in environment.get("accelerators") or []:
        found |= {"driver": card.get("driver"), "CUDA": card.get("cuda")}
    return found | dict(environment.get("packages") or {})


def soft_differences(a: TestRecord, b: TestRecord) -> list[str]:
    """Phrases for what differs without making the numbers incomparable."""
    environments = _changed(soft(a.environment), soft(b.environment), known_only=True)
    if _unlike(a.environment, b.environment, "host"):
        environments.append("another host")  # Reports are published: no names.
    return _changed(a.subject, b.subject) + environments


def _sizes(test: TestRecord) -> dict[str, Any]:
    return {key.replace("_", " "): test.workload.get(key) for key in SIZES}


def _unlike(a: Mapping[str, Any], b: Mapping[str, Any], key: str) -> bool:
    """Whether both say something under the key, and not the same."""
    return key in a and key in b and a[key] != b[key]


def _changed(a: Mapping[str, Any], b: Mapping[str, Any], known_only: bool = False) -> list[str]:
    """A phrase for each key with unequal values.

    Args:
        known_only: leave out keys that one side does not know: a missing tool is no difference.
    """
    keys = [*a, *(key for key in b if key not in a)]
    found = []
    for key in keys:
        one, other = a.get(key), b.get(key)
        if one == other or (known_only and (one is None or other is None)):
            continue
        found.append(f"{key}: {_word(one)} / {_word(other)}")
    return found


def _word(value: Any) -> str:
    return "none" if value is None else str(value)
