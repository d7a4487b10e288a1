"""The work that a test's call asks for, and why an engine cannot do it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..backends import backend_class
from ..core.cell import Cell
from ..core.defaults import DEFAULT_WARMUP
from ..core.prompt_file import PromptFile, read_prompts
from ..core.prompts import Prompt, is_chat
from ..core.values import location
from ..core.workload import Need, Workload
from .options import Settings
from .sizes import Override
from .speculation import why_no_draft


@dataclass(frozen=True)
class Call:
    """The arguments of ``llm_benchmark``, as the test wrote them."""

    prompt: str | None
    prompts: Sequence[Any] | Path | None
    input_len: int | None
    output_len: int | Sequence[int]
    batch_size: int | None
    rounds: int
    need: Need | None
    """When the rounds end, if ``rounds`` is only the smallest number."""
    warmup: int | None
    temperature: float
    seed: int
    prefix_len: int


def workload_of(
    call: Call, salt: str, root: Path, of_options: PromptFile | None = None
) -> Workload:
    """Return the work of a call, before the command line changes its sizes.

    Args:
        call: the arguments.
        salt: name of the measurement.
        root: the folder that relative paths begin at.
        of_options: prompts of the command line, instead of the call's.

    Raises:
        ValueError: one line about the argument that is wrong.
    """
    if of_options is not None:
        call = replace(call, prompt=None, prompts=None, input_len=None, prefix_len=0)
    prompts: Any = call.prompts
    output_len: Any = call.output_len
    if of_options is not None or isinstance(prompts, Path):
        try:
            file = of_options or read_prompts(location(str(prompts), root))
            prompts, output_len = file.prompts, file.lengths(output_len)
        except ValueError as error:
            raise ValueError(f"prompts: {error}") from None
    batch_size = call.batch_size
    if batch_size is None:
        # What is no list is refused by the workload.
        lists = [given for given in (prompts, output_len) if isinstance(given, list | tuple)]
        batch_size = max((len(given) for given in lists if given), default=1)
    return Workload(
        prompt=call.prompt,
        prompts=prompts,
        input_len=call.input_len,
        output_len=output_len,
        batch_size=batch_size,
        rounds=call.rounds,
        warmup=DEFAULT_WARMUP if call.warmup is None else call.warmup,
        need=call.need,
        salt=salt,
        temperature=call.temperature,
        sampling_seed=call.seed,
        prefix_len=call.prefix_len,
    )


def with_options(
    workload: Workload, settings: Settings, override: Override, measures: bool
) -> Workload:
    """Return the work with the sizes that the command line sets instead.

    Args:
        workload: the test's own.
        settings: of the run.
        override: the sizes of the command line for this test.
        measures: False under ``--benchmark-disable``: one round shows whether the test runs.
    """
    changes: dict[str, Any] = {
        "output_len": override.output_len,
        "batch_size": override.batch_size,
        "warmup": settings.warmup,
    }
    if not measures:
        # A prefix is in the cache only after it was computed once.
        changes |= {"rounds": 1, "warmup": 1 if workload.prefix_len else 0}
    changes = {key: value for key, value in changes.items() if value is not None}
    if not measures:
        changes["need"] = None
    if override.output_len is not None:
        changes["output_lens"] = None
    if override.input_len is not None:
        changes |= {"prompt": None, "prompts": None, "input_len": override.input_len}
    return replace(workload, **changes)


def why_refused(cell: Cell, workload: Workload, random_weights: bool) -> str | None:
    """Return why an engine cannot do a work, in one line, or None; nothing is loaded for it.

    Args:
        cell: the cell.
        workload: the work.
        random_weights: with ``--llm-load-format=dummy``.
    """
    if no_draft := why_no_draft(cell, workload.input_len is not None, random_weights):
        return no_draft
    if no_chat := why_no_chat(cell, workload.prompts or (), random_weights):
        return no_chat
    if workload.prefix_len and not cell.traits.reuse:
        argument = backend_class(cell.backend).reuses_prefix_with
        instead = (
            f"give --llm-backend-arg={cell.backend}.{argument}" if argument else "no argument does"
        )
        return f"{cell.id}: prefix_len= needs an engine that reuses a prefix: {instead}"
    return why_no_sampling(cell, workload.temperature)


def why_no_chat(cell: Cell, prompts: Sequence[Prompt], random_weights: bool) -> str | None:
    """Return why an engine cannot apply a chat template to prompts, in one line, or None."""
    backend = backend_class(cell.backend)
    if not any(is_chat(prompt) for prompt in prompts) or (backend.chats and not random_weights):
        return None
    if random_weights:
        return (
            f"{cell.id}: random weights have no tokenizer, so no chat template: give prompts of token "
            "ids, or input_len="
        )
    return (
        f"{cell.id}: {backend.name} applies no chat template here: give prompts of text or token ids "
        "(docs/how-to/faq.md)"
    )


def why_no_sampling(cell: Cell, temperature: float) -> str | None:
    """Return why an engine cannot draw tokens at a temperature, in one line, or None."""
    backend = backend_class(cell.backend)
    if not temperature or backend.samples:
        return None
    return f"{cell.id}: {backend.name} cannot draw the same tokens twice: leave out temperature="
