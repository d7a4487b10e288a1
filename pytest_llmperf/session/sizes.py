"""Sizes of a workload that the command line sets instead of the test."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from ..core.context import why_too_long
from ..core.prompt_file import PromptFile
from ..core.traits import in_id
from .fixtures import LLM
from .options import Settings

OVERRIDE = "llm_workload_override"
SIZES = ("input_len", "output_len", "batch_size")
PROMPTS = ("prompt", "prompts", "input_len", "prefix_len")
"""Arguments of a call that prompts of the command line replace."""


@dataclass(frozen=True)
class Override:
    """Work that the command line sets instead of the test; None keeps the test's own."""

    input_len: int | None = None
    output_len: int | None = None
    batch_size: int | None = None
    prompts: PromptFile | None = None

    @property
    def id(self) -> str:
        """The override's part of the test id: other sizes and prompts are other measurements."""
        sizes = (("in", self.input_len), ("out", self.output_len), ("b", self.batch_size))
        parts = [f"{name}{value}" for name, value in sizes if value is not None]
        return "-".join([self.file, *parts] if self.file else parts)

    @property
    def file(self) -> str | None:
        """The file of prompts as ids have it; None without one."""
        return None if self.prompts is None else in_id(self.prompts.name) or "prompts"


def override_sizes(metafunc: pytest.Metafunc, settings: Settings) -> None:
    """Replace the test's sizes by those of the command line.

    A size that the test parametrizes gets other values; any other size becomes a new parameter.
    """
    if OVERRIDE not in metafunc.fixturenames:
        return
    _refuse_combined(metafunc, [size for size in SIZES if getattr(settings, size)])
    given = {size: getattr(settings, size) for size in SIZES if getattr(settings, size)}
    replaced = {size for size in given if _replace_values(metafunc, size, given[size])}
    rest = {size: values for size, values in given.items() if size not in replaced}
    if rest or settings.prompts is not None:
        overrides = [
            Override(**dict(zip(rest, values, strict=True)), prompts=settings.prompts)
            for values in itertools.product(*rest.values())
        ]
        metafunc.parametrize(
            OVERRIDE, overrides, indirect=True, ids=[override.id for override in overrides]
        )


def too_long(
    parameters: Mapping[str, object], settings: Settings, context: int | None
) -> str | None:
    """Return why the sizes that the command line sets do not fit a context, in one line, or None.

    Args:
        parameters: of the test.
        settings: of the run.
        context: tokens of the model's context; None if unknown.
    """
    given = given_sizes(parameters, settings)
    return why_too_long(given["input_len"], given["output_len"], context)


def given_sizes(parameters: Mapping[str, object], settings: Settings) -> dict[str, int]:
    """Return the lengths that the command line sets for a test, by name; 0 for those of its own."""
    override = parameters.get(OVERRIDE) or Override()
    given: dict[str, int] = {}
    for size in ("input_len", "output_len"):
        value = getattr(override, size, None)
        # A size that the test parametrizes has the command line's values.
        value = parameters.get(size) if value is None and getattr(settings, size) else value
        given[size] = value if isinstance(value, int) else 0
    return given


def why_other_prompts(parameters: Mapping[str, object], settings: Settings) -> str | None:
    """Return why the prompts of the command line cannot be those of a test, in one line, or None.

    Args:
        parameters: of the test.
        settings: of the run.
    """
    own = [name for name in PROMPTS if name in parameters]
    if settings.prompts is None or not own:
        return None
    return (
        f"--llm-prompts cannot replace the {own[0]} that the test parametrizes, which its id says: "
        "leave the test out"
    )


def named_parameters(item: pytest.Item) -> dict[str, str] | None:
    """Return a test's parameters but the cell, by name; None if one is no number or text."""
    parameters = dict(item.callspec.params) if hasattr(item, "callspec") else {}
    parameters.pop(LLM, None)
    override = parameters.pop(OVERRIDE, Override())
    sizes = {"prompts": override.file} | {size: getattr(override, size) for size in SIZES}
    parameters |= {size: value for size, value in sizes.items() if value is not None}
    if not all(isinstance(value, str | int | float | None) for value in parameters.values()):
        return None
    try:
        named = {name: str(value) for name, value in parameters.items()}
    except Exception:  # Python refuses to write a number of 5,000 digits.
        return None
    # A long text has an id of its own, and a secret may have one.
    return named if all(value in item.name for value in named.values()) else None


def argument_names(mark: pytest.Mark) -> list[str]:
    """Return the arguments that a ``parametrize`` mark sets."""
    return split_names(mark.args[0] if mark.args else mark.kwargs.get("argnames", ()))


def split_names(names: str | Sequence[str]) -> list[str]:
    """Return the arguments that the first value given to ``parametrize`` names."""
    return [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)


def _refuse_combined(metafunc: pytest.Metafunc, sizes: Sequence[str]) -> None:
    for mark in metafunc.definition.iter_markers("parametrize"):
        names = argument_names(mark)
        for size in sizes:
            if size in names and len(names) > 1:
                pytest.fail(
                    f"{metafunc.definition.nodeid}: --llm-{size.replace('_', '-')} cannot replace "
                    f"values that the test parametrizes together ({', '.join(names)})",
                    pytrace=False,
                )


def _replace_values(metafunc: pytest.Metafunc, size: str, values: Sequence[int]) -> bool:
    """Replace the values of the test's parametrize mark for a size; return whether it has one."""
    for node in metafunc.definition.listchain():
        for index, mark in enumerate(node.own_markers):
            if mark.name == "parametrize" and argument_names(mark) == [size]:
                node.own_markers[index] = pytest.mark.parametrize(size, list(values)).mark
                return True
    return False
