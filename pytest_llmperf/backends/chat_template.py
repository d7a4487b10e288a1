"""A chat by a checkpoint's own template, for an engine that has no tokenizer of transformers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn


def chat_of(tokenizer: Any) -> dict[str, Any] | None:
    """Return what ``rendered`` needs of a tokenizer of transformers, as JSON has it; None without."""
    template = tokenizer.chat_template
    if isinstance(template, Mapping):
        template = template.get("default")
    tokens = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return {"template": template, "tokens": tokens} if template else None


def rendered(chat: Mapping[str, Any], messages: Sequence[Mapping[str, str]]) -> str:
    """Return the text of a chat, its special tokens included, ready for the model's answer.

    Raises:
        ValueError: the template refuses the messages.
    """
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # As in transformers, which the templates are written for.
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(chat["template"]).render(
            messages=[dict(message) for message in messages],
            add_generation_prompt=True,
            **chat["tokens"],
        )
    except TemplateError as error:
        raise ValueError(f"the model's chat template cannot be applied: {error}") from None


def _refuse(message: str) -> NoReturn:
    raise ValueError(f"the model's chat template refuses the messages: {message}")
