"""Values that nobody else may read: found by the names that they are given, and masked."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

MASK = "***"
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# As a whole word anywhere in a name: "aws_secret_access_key", "passwordFile".
_ANYWHERE = {
    "authorization",
    "credential",
    "credentials",
    "passphrase",
    "passwd",
    "password",
    "secret",
    "secrets",
}
# As the last word: "hf_token", "api_key"; not "tokenizer", "max_tokens", "eos_token_id".
_LAST = {"apikey", "auth", "cookie", "key", "keys", "pat", "pwd", "token"}
# The tokens of a tokenizer: "pad_token".
_OF_A_TEXT = {
    "audio",
    "bos",
    "cls",
    "end",
    "eos",
    "image",
    "mask",
    "pad",
    "sep",
    "special",
    "start",
    "stop",
    "unk",
    "video",
}
_OF_AN_ADDRESS = re.compile(r"(://)[^/@\s'\"]+@")
_ASSIGNMENT = re.compile(r"([\w.@-]+)=")


def is_secret(name: str) -> bool:
    """Return whether a name says that its value is a secret: token, key, password, credential."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not words:
        return False
    if _ANYWHERE & set(words):
        return True
    if words[-1] == "token" and _OF_A_TEXT & set(words[-2:-1]):
        return False
    return words[-1] in _LAST or words[-3:] == ["access", "key", "id"]


def hides(name: str, value: Any) -> bool:
    """Return whether a value is a secret by its name.

    A number is one only under a name that can mean nothing else (``password``): ``seconds_per_token`` is
    a time. A truth or None is not a secret: ``token=true`` says only that there is one.
    """
    if value is None or value == "" or isinstance(value, bool) or not is_secret(name):
        return False
    if isinstance(value, (int, float)):
        return bool(_ANYWHERE & {word.lower() for word in _WORD.findall(name)})
    return True


def masked(value: Any) -> Any:
    """Return a value with its secrets masked, at any depth: by their names, and in addresses."""
    return _masked(value, name="")


def without_secrets(value: Any) -> Any:
    """Return a value without what is named as a secret, and with masked addresses.

    This is what two values are compared by: with another token the work is the same.
    """
    if isinstance(value, Mapping):
        return {
            key: without_secrets(inner)
            for key, inner in value.items()
            if not hides(str(key), inner)
        }
    if isinstance(value, (list, tuple)):
        return [without_secrets(inner) for inner in value]
    return masked(value)


def _masked(value: Any, name: str) -> Any:
    """Return a value masked; ``name``: that of the secret that it is a part of, or its own."""
    if isinstance(value, Mapping):
        return {
            key: _masked(inner, name if is_secret(name) else str(key))
            for key, inner in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_masked(inner, name) for inner in value]
    if hides(name, value):
        return MASK
    return _OF_AN_ADDRESS.sub(rf"\1{MASK}@", value) if isinstance(value, str) else value


def masked_arguments(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return a command line with its secrets masked: ``--api-key X``, ``vllm.hf_token=X``, JSON."""
    result = []
    follows = False
    for argument in arguments:
        result.append(MASK if follows and not argument.startswith("-") else _argument(argument))
        follows = argument.startswith("--") and "=" not in argument and is_secret(argument)
    return tuple(result)


def _argument(argument: str) -> str:
    for assignment in _ASSIGNMENT.finditer(argument):
        value = argument[assignment.end() :]
        if is_secret(assignment[1]) and value:
            hidden = hides(assignment[1], _literal(value))
            return argument[: assignment.end()] + MASK if hidden else argument
        if value.startswith(("{", "[")):
            try:
                data = json.loads(value)
            except ValueError:
                continue
            hidden = masked(data)
            return argument if hidden == data else argument[: assignment.end()] + json.dumps(hidden)
    return str(masked(argument))


def _literal(text: str) -> Any:
    """Return what a text on a command line means: a truth, None, a number, or the text."""
    known = {"true": True, "false": False, "none": None}
    if text.lower() in known:
        return known[text.lower()]
    try:
        return float(text)
    except ValueError:
        return text
