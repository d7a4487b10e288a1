"""What an A/B comparison does: its sides, its pairs, its files. Stored, so that it can be resumed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.files import write_whole
from ..gate.limits import LimitSettings
from .sides import Side

SCHEMA = 1
FILE = "plan.json"


class PlanError(Exception):
    """The folder holds no comparison that can be resumed; one line."""


@dataclass(frozen=True)
class Plan:
    """An A/B comparison."""

    job: str
    base: Side
    head: Side
    repository: str
    pytest_args: tuple[str, ...]
    setup: str
    first_pairs: int
    more_pairs: int
    limits: LimitSettings

    @property
    def names(self) -> tuple[str, str]:
        return f"base ({self.base.label})", f"head ({self.head.label})"

    def save(self, folder: Path) -> None:
        """Write the plan into its folder."""
        data: dict[str, Any] = {
            "schema": SCHEMA,
            "job": self.job,
            "base": self.base.as_dict(),
            "head": self.head.as_dict(),
            "repository": self.repository,
            "pytest_args": list(self.pytest_args),
            "setup": self.setup,
            "first_pairs": self.first_pairs,
            "more_pairs": self.more_pairs,
            "min_effect": self.limits.min_effect,
            "must_see": self.limits.must_see,
        }
        write_whole(folder / FILE, json.dumps(data, indent=2) + "\n")


def load(folder: Path) -> Plan:
    """Read a plan back.

    Raises:
        PlanError: there is none, or it is not one that this release knows.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_text("utf-8"))
        if data["schema"] > SCHEMA:
            raise PlanError(f"{path}: schema {data['schema']} is newer than this release knows")
        return Plan(
            job=data["job"],
            base=Side.from_dict(data["base"]),
            head=Side.from_dict(data["head"]),
            repository=data["repository"],
            pytest_args=tuple(data["pytest_args"]),
            setup=data["setup"],
            first_pairs=data["first_pairs"],
            more_pairs=data["more_pairs"],
            limits=LimitSettings(data["min_effect"], data["must_see"]),
        )
    except FileNotFoundError:
        raise PlanError(f"{folder} holds no comparison ({FILE} is missing)") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PlanError(f"{path}: is not a plan of pytest-llmperf ab ({error})") from None


def run_file(folder: Path, pair: int, side: str) -> Path:
    """Where a run of a pair stores its results; its log stands beside it."""
    return folder / f"pair-{pair:02}-{side}.json"
