"""The prompts of a test's calls, checked before an engine sees them.

Every function raises ValueError with one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from ..core.cause import one_line
from ..core.values import MOST_TOKENS, check_text, plain_whole, shown


def text_of(prompt: object) -> str:
    """Return a prompt that has to be a text."""
    check_text("prompt", prompt)
    if not prompt:
        raise ValueError("prompt must not be empty")
    return str(prompt)


def prompts_of(prompts: object, vocabulary: int) -> list[str | list[int]]:
    """Return the prompts of a batch, each a text or token ids."""
    if isinstance(prompts, str | bytes | Mapping) or not isinstance(prompts, Sequence):
        raise ValueError(f"prompts must be a list of texts or of token ids, not {shown(prompts)}")
    if not prompts:
        raise ValueError("prompts must not be empty")
    return [prompt_of(prompt, vocabulary) for prompt in prompts]


def prompt_of(prompt: object, vocabulary: int) -> str | list[int]:
    """Return a prompt that is a text or token ids, the ids as plain numbers.

    Args:
        prompt: the prompt.
        vocabulary: number of the model's token ids.
    """
    if isinstance(prompt, str):
        return text_of(prompt)
    if not isinstance(prompt, Iterable) or isinstance(prompt, bytes | Mapping | Set):
        raise ValueError(f"prompt must be a text or a list of token ids, not {shown(prompt)}")
    # One after the other: an iterator may have no end.
    ids: list[int] = []
    for item in _items(prompt):
        token = plain_whole(item)
        is_id = isinstance(token, int) and not isinstance(token, bool)
        if not is_id or not 0 <= token < vocabulary:
            raise ValueError(
                f"prompt: a token id is a whole number from 0 to {vocabulary - 1:,}, not {shown(token)}"
            )
        ids.append(token)
        if len(ids) > MOST_TOKENS:
            raise ValueError(f"prompt must have at most {MOST_TOKENS:,} token ids")
    if not ids:
        raise ValueError("prompt must not be empty")
    return ids


def _items(prompt: Iterable[object]) -> Iterator[object]:
    """Yield what is in a list of another package's, which may raise anything."""
    try:
        yield from prompt
    except Exception as error:
        raise ValueError(f"prompt cannot be read: {one_line(error)}") from None
