"""Quantization modes that an engine makes while it loads a plain checkpoint, one row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.engine import Refusal


@dataclass(frozen=True)
class OnlineMode:
    """One mode, and what it takes."""

    mode: str
    """Its name in ids."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments for the engine itself."""
    since: tuple[int, ...] = ()
    """The engine's least version."""
    packages: tuple[str, ...] = ()
    """Distributions beside the engine."""
    on_cpu: bool = True
    """Whether it runs on a CPU."""


def table(*modes: OnlineMode) -> dict[str, OnlineMode]:
    """Return the modes by name."""
    return {mode.mode: mode for mode in modes}


def refusal_here(
    mode: OnlineMode, engine: str, version: str, packages: Mapping[str, str]
) -> Refusal | None:
    """Return the reason why an installed engine cannot quantize to a mode, or None.

    Args:
        mode: the mode.
        engine: the engine's name, for the message.
        version: its version; one in another form is taken as new enough.
        packages: versions by distribution name (lower case) in the engine's environment.
    """
    numbers = release(version)
    if numbers and numbers < mode.since:
        least = ".".join(map(str, mode.since))
        return Refusal(f"{mode.mode} needs {engine} {least}, this is {version}", by_nature=False)
    for package in mode.packages:
        if package not in packages:
            return Refusal(f"{mode.mode} needs {package}: pip install {package}", by_nature=False)
    return None


def release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version; empty if it has another form."""
    # pytest installs packaging. The worker's environment may lack it, but does not call this function.
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version).release
    except InvalidVersion:
        return ()


TORCHAO = {
    "ao-int8wo": "Int8WeightOnlyConfig",
    "ao-int8dq": "Int8DynamicActivationInt8WeightConfig",
    "ao-int4wo": "Int4WeightOnlyConfig",
    "ao-fp8wo": "Float8WeightOnlyConfig",
    "ao-fp8dq": "Float8DynamicActivationFloat8WeightConfig",
}
"""torchao's class for each of its modes."""
TORCHAO_MODES = tuple(
    OnlineMode(mode, packages=("torchao",), on_cpu=mode not in ("ao-int4wo", "ao-fp8dq"))
    for mode in TORCHAO
)


def torchao_config(mode: str) -> Any:
    """Return torchao's own configuration of one of its modes. Runs in the worker."""
    import torchao.quantization

    return getattr(torchao.quantization, TORCHAO[mode])()
