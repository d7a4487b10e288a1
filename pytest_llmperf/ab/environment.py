"""The environment variables of a side's processes."""

from __future__ import annotations

import os
from pathlib import Path

from ..core.defaults import AB
from ..core.turns import PATH
from .own_tree import OwnTree

_OF_THE_RUNNER = frozenset(
    ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STATE", "GITHUB_STEP_SUMMARY")
)
"""Files by which a step of a GitHub job changes later steps: measured code has no business there."""
_TOKENS = frozenset(
    ("GITHUB_TOKEN", "GH_TOKEN", "ACTIONS_RUNTIME_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
)
"""What GitHub gives to the job, not to the code that the job measures."""


def of_side(tree: Path | None, folder: Path, own: OwnTree, job: str, turns: Path) -> dict[str, str]:
    """Return the environment of a side's setup and runs.

    Args:
        tree: the root whose code is measured; None: what is installed.
        folder: the folder that they run in.
        own: leads paths into the side's tree.
        job: identity of the comparison, recorded with every run.
        turns: the socket where its engines ask for their turns, if somebody listens there.
    """
    withheld = _OF_THE_RUNNER | _TOKENS
    inherited = {name: value for name, value in os.environ.items() if name not in withheld}
    inherited |= {"PYTEST_LLMPERF_JOB": job, AB: job, "PWD": str(folder), PATH: str(turns)}
    environment = own.environment(inherited)
    if tree is not None:
        # Before installed packages: this side is about the code in the folder.
        paths = [str(path) for path in (tree / "src", tree) if path.is_dir()]
        existing = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([*paths, *([existing] if existing else [])])
    return environment
