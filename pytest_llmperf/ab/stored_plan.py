"""The form of ``plan.json``. A folder may come from anywhere, and what stands in it is run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from ..core.errors import OneLine
from ..core.files import read_regular
from ..gate.limits import MOST_PAIRS

SCHEMA = 2
"""In 1, the sides of every pair ran one after the other."""
_Text = Annotated[str, msgspec.Meta(pattern=r"^[^\x00]*$")]
_Share = Annotated[float, msgspec.Meta(gt=0, lt=1)] | None
_WRITABLE_BY_ALL = 0o002


class StoredSide(msgspec.Struct, forbid_unknown_fields=True):
    """A side as the plan holds it."""

    name: Literal["base", "head"]
    commit: Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64}|)$")]
    folder: _Text
    python: _Text
    args: tuple[_Text, ...]


class StoredPlan(msgspec.Struct, forbid_unknown_fields=True):
    """A plan as its file holds it."""

    schema: int
    job: Annotated[str, msgspec.Meta(pattern=r"^[\w.-]{1,100}$")]
    base: StoredSide
    head: StoredSide
    repository: Annotated[str, msgspec.Meta(pattern=r"^/[^\x00]*$")]
    pytest_args: tuple[_Text, ...]
    setup: _Text
    first_pairs: Annotated[int, msgspec.Meta(ge=1, le=MOST_PAIRS)]
    more_pairs: Annotated[int, msgspec.Meta(ge=0, le=MOST_PAIRS)]
    min_effect: _Share
    must_see: _Share
    in_turns: bool = False

    def __post_init__(self) -> None:
        if (self.base.name, self.head.name) != ("base", "head"):
            raise ValueError("its sides are not base and head")


class _Schema(msgspec.Struct):
    schema: int


class PlanError(OneLine):
    """A comparison cannot begin or go on; one line."""


def read(path: Path) -> StoredPlan:
    """Read a plan.

    Raises:
        PlanError: there is none, it is damaged or of a newer release, or others could have written it.
    """
    try:
        _check_owner(path)
        content = read_regular(path)
        schema = msgspec.json.decode(content, type=_Schema).schema
        if schema > SCHEMA:
            raise PlanError(f"{path}: schema {schema} is newer than this release knows")
        return msgspec.json.decode(content, type=StoredPlan)
    except (FileNotFoundError, NotADirectoryError):
        raise PlanError(f"{path.parent} holds no comparison ({path.name} is missing)") from None
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise PlanError(f"{path}: is not a plan of pytest-llmperf ab ({error})") from None


def _check_owner(path: Path) -> None:
    for place in (path.parent, path):
        status = place.stat()
        if status.st_uid != os.getuid():
            problem = "belongs to another user"
        elif status.st_mode & _WRITABLE_BY_ALL:
            problem = "can be written by every user"
        else:
            continue
        raise PlanError(
            f"{place} {problem}, and --resume would run what its plan says: if you trust it, go on "
            "with a copy of the folder"
        )
