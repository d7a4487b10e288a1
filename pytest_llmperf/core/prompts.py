"""The prompts of a test's calls, checked before an engine sees them.

Every function raises ValueError with one line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from .cause import one_line
from .values import MOST_REQUESTS, MOST_TOKENS, check_text, plain_whole, shown

Chat = tuple[Mapping[str, str], ...]
"""Messages, each with ``role`` and ``content``, which the model's own template makes a prompt of."""
Prompt = str | tuple[int, ...] | Chat
"""What a request asks: a text, token ids, or a chat."""


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


def is_chat(prompt: Prompt) -> bool:
    """Return whether a prompt is messages."""
    return not isinstance(prompt, str) and isinstance(prompt[0], Mapping)


def is_ids(prompt: Prompt) -> bool:
    """Return whether a prompt is token ids."""
    return not isinstance(prompt, str) and not isinstance(prompt[0], Mapping)


def batch_of(prompts: object) -> tuple[Prompt, ...]:
    """Return the prompts of a measurement, each a text, token ids or a chat.

    The ids are those of any vocabulary: which one is known once the model is loaded.
    """
    if isinstance(prompts, str | bytes | Mapping) or not isinstance(prompts, Sequence):
        raise ValueError(
            f"prompts must be a list of texts, token ids or chat messages, not {shown(prompts)}"
        )
    if not prompts:
        raise ValueError("prompts must not be empty")
    if len(prompts) > MOST_REQUESTS:
        raise ValueError(f"prompts must be at most {MOST_REQUESTS:,}, not {len(prompts):,}")
    first = plain_whole(prompts[0])
    if isinstance(first, int | Mapping):
        one = "[[1, 2, 3]]" if isinstance(first, int) else "[[{'role': 'user', 'content': '...'}]]"
        raise ValueError(f"prompts must be a list of prompts: one of this kind is prompts={one}")
    return tuple(_of_batch(prompt) for prompt in prompts)


def _of_batch(prompt: object) -> Prompt:
    if isinstance(prompt, Sequence) and prompt and isinstance(prompt[0], Mapping):
        return tuple(_message(message) for message in prompt)
    checked = prompt_of(prompt)
    return checked if isinstance(checked, str) else tuple(checked)


def _message(message: object) -> Mapping[str, str]:
    """Return a message of a chat as builtin types."""
    parts = dict(message) if isinstance(message, Mapping) else {}
    role, content = parts.get("role"), parts.get("content")
    if len(parts) != 2 or not isinstance(role, str) or not isinstance(content, str):
        raise ValueError(
            f"a message of a chat has the texts role and content only, not {shown(message)}"
        )
    check_text("role", role)
    check_text("content", content)
    return {"role": role, "content": content}


def check_vocabulary(prompts: Sequence[Prompt], vocabulary: int) -> None:
    """Raise ValueError if token ids are not those of a model.

    Args:
        prompts: the prompts.
        vocabulary: number of the model's token ids.
    """
    for prompt in prompts:
        if is_ids(prompt):
            prompt_of(prompt, vocabulary)


def prompt_of(prompt: object, vocabulary: int | None = None) -> str | list[int]:
    """Return a prompt that is a text or token ids, the ids as plain numbers.

    Args:
        prompt: the prompt.
        vocabulary: number of the model's token ids; None: not known yet.
    """
    known = "0 on" if vocabulary is None else f"0 to {vocabulary - 1:,}"
    if isinstance(prompt, str):
        return text_of(prompt)
    if not isinstance(prompt, Iterable) or isinstance(prompt, bytes | Mapping | Set):
        raise ValueError(f"prompt must be a text or a list of token ids, not {shown(prompt)}")
    # One after the other: an iterator may have no end.
    ids: list[int] = []
    for item in _items(prompt):
        token = plain_whole(item)
        is_id = isinstance(token, int) and not isinstance(token, bool)
        if not is_id or token < 0 or (vocabulary is not None and token >= vocabulary):
            raise ValueError(
                f"prompt: a token id is a whole number from {known}, not {shown(token)}"
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
