"""The options of pytest-benchmark that say how it measures: LLM tests measure in another way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

MEASURING = (
    "min_time",
    "max_time",
    "min_rounds",
    "precision",
    "confidence",
    "timer",
    "calibration_precision",
    "warmup",
    "warmup_iterations",
    "disable_gc",
    "cprofile",
    "cprofile_dump",
)
"""Options of pytest-benchmark, and of its marker, about measurements that it makes itself."""


class Defaults:
    """Stands in for pytest's parser, to read what pytest-benchmark declares."""

    def __init__(self) -> None:
        self.of: dict[str, Any] = {}
        """Default by name: ``benchmark_min_rounds``."""

    def getgroup(self, *names: str) -> Defaults:
        return self

    def addoption(self, flag: str, *more: str, **declared: Any) -> None:
        default = declared.get("default")
        parse = declared.get("type")
        if isinstance(default, str) and parse is not None:
            default = parse(default)  # As argparse does.
        self.of[flag.removeprefix("--").replace("-", "_")] = default


def without_effect(
    option: Any, defaults: Mapping[str, Any], of_markers: Iterable[str]
) -> list[str]:
    """Return the options and marker arguments that would change how a stock benchmark measures.

    Args:
        option: the values of the command line.
        defaults: ``Defaults.of``.
        of_markers: the arguments that tests give to pytest-benchmark's marker.
    """
    options = [
        f"--{name.replace('_', '-')}"
        for name, default in defaults.items()
        if name.removeprefix("benchmark_") in MEASURING
        and getattr(option, name, default) not in (default, None)
    ]
    given = sorted({key for key in of_markers if key in MEASURING})
    return [*options, *(f"@pytest.mark.benchmark({key}=)" for key in given)]
