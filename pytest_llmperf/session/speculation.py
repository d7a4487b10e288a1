"""Why the speed of an engine that drafts tokens cannot be measured with random text."""

from __future__ import annotations

from ..core.cell import Cell


def why_no_draft(cell: Cell, random_prompts: bool, random_weights: bool) -> str | None:
    """Return why no drafted token would be accepted as in use, in one line, or None.

    Args:
        cell: the cell.
        random_prompts: the work has them (``input_len``) instead of a text.
        random_weights: with ``--llm-load-format=dummy``.
    """
    if not cell.traits.speculation:
        return None
    if random_prompts:
        return (
            f"{cell.id} drafts tokens, and hardly any are accepted after the random prompts of "
            "input_len: give a text, llm_benchmark(llm, prompt=...), and leave out --llm-input-len"
        )
    if random_weights:
        return (
            f"{cell.id} drafts tokens, and which are accepted says nothing with random weights: leave "
            "out --llm-load-format=dummy"
        )
    return None
