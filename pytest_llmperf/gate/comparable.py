"""Decide whether two measurements are of the same thing on the same hardware."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..store.hardware import changes, hardware_changes
from ..store.stored import TestRecord

ADDED = ("temperature", "seed", "prefix_tokens")
LENGTHS = ("input_lengths", "output_lengths")
SIZES = ("input_tokens", "output_tokens", "batch_size")
SETTINGS_OF_HARDWARE = ("engine threads: ", "device: ")
"""Parts of the hardware that options choose on the same machine."""


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
        phrases = subject_changes(a, b)
        if not phrases and _unlike(a.workload, b.workload, "hash"):
            phrases = ["the work differs"]
    return phrases + hardware_changes(a.environment, b.environment)


def setting_changes(a: TestRecord, b: TestRecord) -> list[str]:
    """Return a phrase for each difference that a project itself has made: in work, engine or threads.

    Empty if the machines differ: then nothing says whose change it is.
    """
    of_machines = [
        phrase
        for phrase in hardware_changes(a.environment, b.environment)
        if not phrase.startswith(SETTINGS_OF_HARDWARE)
    ]
    return [] if of_machines else differences(a, b)


def subject_changes(a: TestRecord, b: TestRecord) -> list[str]:
    """Return a phrase for each difference of model, engine and arguments.

    A revision that one side does not know is not a difference: early records have none.
    """
    subjects = dict(a.subject), dict(b.subject)
    if any(subject.get("revision") is None for subject in subjects):
        for subject in subjects:
            subject.pop("revision", None)
    return changes(*subjects)


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
    return subject_changes(a, b) + environments + variable_changes(a, b)


def variable_changes(a: TestRecord, b: TestRecord) -> list[str]:
    """Return a phrase for each environment variable that differs and may change an engine's speed.

    They are named and forbid no comparison: the numbers show what they cost.
    """
    of_a, of_b = a.environment.get("variables"), b.environment.get("variables")
    return [] if of_a is None or of_b is None else changes(of_a, of_b)


def _sizes(test: TestRecord) -> dict[str, Any]:
    sizes = {key.replace("_", " "): test.workload.get(key) for key in SIZES}
    sampling = {key.replace("_", " "): test.workload[key] for key in ADDED if key in test.workload}
    lengths = {key.replace("_", " "): test.workload.get(key) for key in LENGTHS}
    return sizes | sampling | lengths


def _unlike(a: Mapping[str, Any], b: Mapping[str, Any], key: str) -> bool:
    """Return whether both have a value under the key, and not the same one."""
    return key in a and key in b and a[key] != b[key]
