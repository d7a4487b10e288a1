"""Decide whether two measurements are of the same thing on the same hardware."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..store.hardware import changes, hardware_changes
from ..store.stored import TestRecord

SIZES = ("input_tokens", "output_tokens", "batch_size")


def differences(a: TestRecord, b: TestRecord, same_engine: bool = True) -> list[str]:
    """Return a phrase for each difference that makes two tests incomparable.

    Args:
        same_engine: also require the same model, engine arguments and quantization; without it only
            the same requests, for a comparison of different engines or models.
    """
    phrases = changes(_sizes(a), _sizes(b))
    if not phrases and _unlike(a.workload, b.workload, "requests"):
        phrases = ["the prompts differ"]
    if not phrases and _unlike(a.workload, b.workload, "text"):
        phrases = ["the scored text differs"]
    if same_engine and not phrases:
        phrases = changes(a.subject, b.subject)
        if not phrases and _unlike(a.workload, b.workload, "hash"):
            phrases = ["the work differs"]
    return phrases + hardware_changes(a.environment, b.environment)


def may_differ(environment: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts that a report notes and that do not forbid a comparison: versions, drivers."""
    parts = {key: environment.get(key) for key in ("os", "python", "governor")}
    for card in environment.get("accelerators") or []:
        parts |= {"driver": card.get("driver"), "CUDA": card.get("cuda")}
    return parts | dict(environment.get("packages") or {})


def noted_differences(a: TestRecord, b: TestRecord) -> list[str]:
    """Return a phrase for each difference that does not make the numbers incomparable."""
    environments = changes(may_differ(a.environment), may_differ(b.environment), known_only=True)
    if _unlike(a.environment, b.environment, "host"):
        environments.append("another host")  # Reports are published: no names.
    return changes(a.subject, b.subject) + environments


def _sizes(test: TestRecord) -> dict[str, Any]:
    return {key.replace("_", " "): test.workload.get(key) for key in SIZES}


def _unlike(a: Mapping[str, Any], b: Mapping[str, Any], key: str) -> bool:
    """Return whether both have a value under the key, and not the same one."""
    return key in a and key in b and a[key] != b[key]
