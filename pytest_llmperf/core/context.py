"""The context of a model: the most tokens that a request may have, prompt and output together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# By model family; see vLLM's list of names. Others have no positions to run out of.
_LONGEST = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")
# Types of scaled positions whose configuration already has the length after scaling.
_ALREADY_SCALED = ("su", "longrope", "llama3")


def context_of(config: Mapping[str, Any]) -> int | None:
    """Return the context in a transformers configuration; None if it has none or does not say it.

    Where names contradict each other, it is the largest number: what works must not be refused.
    """
    text = config.get("text_config")
    config = text if isinstance(text, Mapping) else config
    if config.get("is_encoder_decoder"):
        return None
    longest = max((_count(config.get(name)) for name in _LONGEST), default=0)
    scaling = config.get("rope_scaling") or config.get("rope_parameters")
    if longest and isinstance(scaling, Mapping):
        longest = max(longest, _scaled(longest, scaling))
    return longest or None


def context_of_gguf(values: Mapping[str, Any]) -> int | None:
    """Return the context in the keys and values of a GGUF file's header, or None."""
    family = values.get("general.architecture")
    longest = _count(values.get(f"{family}.context_length"))
    original = _count(values.get(f"{family}.rope.scaling.original_context_length"))
    factor = values.get(f"{family}.rope.scaling.factor")
    if longest and isinstance(factor, int | float) and factor > 1:
        longest = max(longest, int((original or longest) * factor))
    return longest or None


def why_too_long(prompt: int, output: int, context: int | None) -> str | None:
    """Return why a request does not fit a context, in one line, or None.

    Beyond it, a table of positions ends in an index error (on a GPU in a device assertion), and rotary
    positions go on with text that means nothing.

    Args:
        prompt: tokens of the prompt; 0 if only the output is known.
        output: tokens of the output.
        context: of the model, or of the engine that holds it; None if unknown.
    """
    if context is None or prompt + output <= context:
        return None
    parts = (
        f"prompt {prompt} + output {output}" if prompt else f"output {output}, without the prompt"
    )
    total = prompt + output
    return f"a request of {total} tokens ({parts}) does not fit the model's context of {context}"


def _scaled(longest: int, scaling: Mapping[str, Any]) -> int:
    kind = scaling.get("rope_type") or scaling.get("type")
    factor = scaling.get("factor")
    if kind in _ALREADY_SCALED or not isinstance(factor, int | float):
        return longest
    original = _count(scaling.get("original_max_position_embeddings"))
    return int((original if kind == "yarn" and original else longest) * min(factor, 1e6))


def _count(value: object) -> int:
    """Return a number of tokens; 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
