"""The plan of an A/B comparison: its sides, pairs and files. It is stored, to resume the comparison."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.secrets import MASK, masked_arguments
from ..gate.limits import FIRST_PAIRS, MORE_PAIRS, LimitSettings
from .sides import Side, with_commit
from .stored_plan import SCHEMA, PlanError, StoredSide, read

FILE = "plan.json"
IN_TURNS = True
"""Whether the sides of a pair run at once unless ``--no-in-turns`` is given."""


@dataclass(frozen=True)
class Plan:
    """The settings of an A/B comparison."""

    job: str
    base: Side
    head: Side
    repository: str
    pytest_args: tuple[str, ...]
    setup: str
    first_pairs: int
    more_pairs: int
    limits: LimitSettings
    in_turns: bool
    """Whether both sides of a pair run at once, their rounds in turns, where that is possible."""

    @property
    def names(self) -> tuple[str, str]:
        return f"base ({self.base.label})", f"head ({self.head.label})"

    def begin(self, folder: Path) -> None:
        """Make the comparison's folder and write the plan into it.

        Raises:
            PlanError: the folder holds a comparison already.
        """
        folder.mkdir(parents=True, exist_ok=True)
        try:
            # Exclusively: of two that begin at once, one has the folder.
            file = (folder / FILE).open("x", encoding="utf-8")
        except FileExistsError:
            raise PlanError(
                f"{folder} holds a comparison already: --resume it, or take another --out"
            ) from None
        with file:
            file.write(json.dumps(self._stored(), indent=2) + "\n")

    def _stored(self) -> dict[str, Any]:
        """Return the plan as its file holds it, which may be published: no secrets, no setup command."""
        return {
            "schema": SCHEMA,
            "job": self.job,
            "base": self.base.as_dict(),
            "head": self.head.as_dict(),
            "repository": self.repository,
            "pytest_args": list(masked_arguments(self.pytest_args)),
            # A command may hold a password anywhere.
            "setup": MASK if self.setup else "",
            "first_pairs": self.first_pairs,
            "more_pairs": self.more_pairs,
            "min_effect": self.limits.min_effect,
            "must_see": self.limits.must_see,
            "in_turns": self.in_turns,
        }


@dataclass(frozen=True)
class Withheld:
    """What a plan that holds secrets does not hold: it is given again when the comparison goes on."""

    setup: str = ""
    base_args: tuple[str, ...] = ()
    head_args: tuple[str, ...] = ()


def new(
    repository: Path,
    base: Side,
    head: Side,
    *,
    base_revision: str | None = None,
    head_revision: str | None = None,
    pytest_args: Sequence[str] = (),
    setup: str = "",
    first_pairs: int | None = None,
    more_pairs: int | None = None,
    limits: LimitSettings | None = None,
    in_turns: bool | None = None,
) -> Plan:
    """Return the plan of a comparison that begins now.

    Args:
        repository: the user's current folder, in a git repository.
        base: interpreter and pytest arguments of the baseline; its commit is ``base_revision``.
        head: interpreter and pytest arguments of the candidate.
        base_revision: commit of the baseline; None: the folder as it is, for both sides.
        head_revision: commit of the candidate; None: HEAD if the baseline is a commit.
        setup: shell command that prepares each side.
        first_pairs: pairs of all tests; None: ``FIRST_PAIRS``.
        more_pairs: pairs of the tests that look worse after them; None: ``MORE_PAIRS``.
        limits: what counts as a regression; None: the project's.
        in_turns: run both sides of a pair at once, their rounds in turns; None: ``IN_TURNS``.

    Raises:
        PlanError: the sides do not differ.
        SideError: a revision is not a commit of the repository.
    """
    if head_revision and not base_revision:
        raise PlanError("--head needs --base: which commit is it compared with?")
    if base_revision:
        base = with_commit(base, base_revision, repository)
        head = with_commit(head, head_revision or "HEAD", repository)
    elif not (base.python or head.python or base.args or head.args):
        raise PlanError(
            "nothing differs between the sides: give --base, --base-python/--head-python or "
            "--base-args/--head-args"
        )
    return Plan(
        job=f"ab-{uuid.uuid4().hex[:12]}",
        base=base,
        head=head,
        repository=str(repository),
        pytest_args=tuple(pytest_args),
        setup=setup,
        first_pairs=FIRST_PAIRS if first_pairs is None else first_pairs,
        more_pairs=MORE_PAIRS if more_pairs is None else more_pairs,
        limits=limits or LimitSettings(),
        in_turns=IN_TURNS if in_turns is None else in_turns,
    )


def resumed(
    folder: Path,
    pytest_args: Sequence[str],
    limits: LimitSettings,
    withheld: Withheld | None = None,
) -> Plan:
    """Return the plan of an interrupted comparison.

    Args:
        pytest_args: empty, or the arguments that it began with.
        limits: limits that replace the plan's if they are given.
        withheld: what the plan does not hold, given again.

    Raises:
        PlanError: the folder has no plan, the comparison began with other arguments, or what the plan
            does not hold is missing.
    """
    plan = load(folder)
    withheld = withheld or Withheld()
    if pytest_args and masked_arguments(pytest_args) != masked_arguments(plan.pytest_args):
        raise PlanError("--resume goes on with the pytest arguments that it began with")
    return replace(
        plan,
        base=replace(plan.base, args=_again(plan.base.args, withheld.base_args, "--base-args")),
        head=replace(plan.head, args=_again(plan.head.args, withheld.head_args, "--head-args")),
        pytest_args=_again(plan.pytest_args, tuple(pytest_args), "the pytest arguments"),
        setup=_setup_again(plan.setup, withheld.setup),
        limits=LimitSettings(
            limits.min_effect or plan.limits.min_effect, limits.must_see or plan.limits.must_see
        ),
    )


def withheld_by(folder: Path) -> set[str]:
    """Return the names of what a plan does not hold, as ``Withheld`` has them; none without a plan."""
    try:
        plan = load(folder)
    except PlanError:
        return set()
    values = {"base_args": plan.base.args, "head_args": plan.head.args}
    masked = {name for name, value in values.items() if _is_masked(value)}
    return masked | {"setup"} if plan.setup else masked


def _setup_again(stored: str, given: str) -> str:
    """Return the setup command as it is given again: a shell command of a file is never run."""
    if not stored:
        return ""
    if not given:
        raise PlanError(f"{FILE} holds no secrets: give --setup again")
    if stored not in (MASK, given):
        raise PlanError("--resume goes on with --setup that it began with")
    return given


def _again(stored: tuple[str, ...], given: tuple[str, ...], option: str) -> tuple[str, ...]:
    """Return what is given in the place of what the plan masks, or else the plan's."""
    if not _is_masked(stored):
        return stored
    if not given:
        raise PlanError(f"{FILE} holds no secrets: give {option} again")
    if masked_arguments(given) != stored:
        raise PlanError(f"--resume goes on with {option} that it began with")
    return given


def _is_masked(values: tuple[str, ...]) -> bool:
    return any(MASK in value for value in values)


def load(folder: Path) -> Plan:
    """Read a plan back.

    Raises:
        PlanError: the folder has no plan, or this release cannot read it.
    """
    stored = read(folder / FILE)
    for place in (stored.repository, stored.base.folder, stored.head.folder):
        if place and not os.path.isdir(place):  # noqa: PTH112 - a name of any length.
            raise PlanError(f"{folder} was begun in {place}, which is not here")
    return Plan(
        job=stored.job,
        base=_side(stored.base),
        head=_side(stored.head),
        repository=stored.repository,
        pytest_args=stored.pytest_args,
        setup=stored.setup,
        first_pairs=stored.first_pairs,
        more_pairs=stored.more_pairs,
        limits=LimitSettings(stored.min_effect, stored.must_see),
        in_turns=stored.in_turns,
    )


def _side(stored: StoredSide) -> Side:
    return Side(stored.name, stored.commit, stored.folder, stored.python, stored.args)


def run_file(folder: Path, pair: int, side: str) -> Path:
    """Return the file for the results of a run; its log is beside it."""
    return folder / f"pair-{pair:02}-{side}.json"
