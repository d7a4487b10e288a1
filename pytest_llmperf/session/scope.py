"""The tests that a run was asked for: a stored test that it left out on purpose is not gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest


class Scope:
    """What the command line chose among the tests of a project: paths, ``-k``, ``-m``."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._deselected: set[str] = set()

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """Note what ``-k``, ``-m``, ``--deselect`` and other plugins leave out."""
        self._deselected |= {item.nodeid for item in items}

    def has(self, nodeid: str) -> bool:
        """Return whether a test would be in this run if it still existed."""
        if nodeid in self._deselected:
            return False
        chosen = [self._chosen(argument) for argument in self._config.args]
        return not chosen or any(
            prefix is None or _is_below(nodeid, prefix, within) for prefix, within in chosen
        )

    @property
    def is_part(self) -> bool:
        """Return whether single files or tests were chosen, or some were deselected."""
        paths = (argument.partition("::") for argument in self._config.args)
        return bool(self._deselected) or any(
            colons or (self._config.invocation_params.dir / path).is_file()
            for path, colons, _ in paths
        )

    def _chosen(self, argument: str) -> tuple[str | None, str]:
        """Return a path below the root (None if it is not one) and what was chosen within it."""
        path, _, within = argument.partition("::")
        absolute = (self._config.invocation_params.dir / path).resolve()
        try:
            relative = absolute.relative_to(Path(self._config.rootpath).resolve()).as_posix()
        except ValueError:
            return None, ""
        return (relative, within) if absolute.exists() else (None, "")


def _is_below(nodeid: str, path: str, within: str) -> bool:
    of_test, _, rest = nodeid.partition("::")
    if path not in (".", of_test) and not of_test.startswith(f"{path}/"):
        return False
    return not within or rest == within or rest.startswith((f"{within}[", f"{within}::"))
