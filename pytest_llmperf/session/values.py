"""Option values that name something: models, engines, modes, metrics, budgets, files, folders.

Every parser raises ValueError with one line that says what is wrong and what to write instead.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backends import backend_class, names
from ..core.errors import BackendError
from ..core.quantization import ALL, MIXED, MODES, OF_CHECKPOINTS
from ..core.values import location, one_of, ratio, shown

if TYPE_CHECKING:
    from ..core.models import Model
    from ..core.prompt_file import PromptFile
    from ..core.text import Text
    from .budgets import Budget

HERE = Path()
"""Where a relative path of the command line begins; one of the ini file begins at its folder."""
_NUMBER = re.compile(r"\s*[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
_DEEPEST = 50


def model(text: str, base: Path = HERE) -> Model:
    """Parse an alias, hub id, folder, GGUF file, or NAME=PATH."""
    # Imported when there is a value: this module is part of every pytest run's start.
    from ..core.models import parse_model

    return parse_model(text, base)


def text_of_file(text: str, base: Path = HERE) -> Text:
    """Read a file as a text to be scored."""
    from ..core.text import text_of_file as read

    return read(location(text, base))


def prompt_file(text: str, base: Path = HERE) -> PromptFile:
    """Read a JSONL file of prompts."""
    from ..core.prompt_file import read_prompts

    return read_prompts(location(text, base))


def metric(text: str) -> str:
    """Parse the key of a metric."""
    from ..metrics.definitions import METRICS

    return one_of("metric", tuple(METRICS))(text)


def budget(text: str) -> Budget:
    """Parse METRIC.STAT:LIMIT."""
    from .budgets import parse_budget

    return parse_budget(text)


def backend(text: str) -> str:
    """Parse a backend's name, with or without a label (``vllm@nightly``)."""
    name, at, label = text.partition("@")
    if at and not re.fullmatch(r"[a-z0-9][a-z0-9._]*", label):
        raise ValueError(
            f"{text!r}: a label takes lower-case letters, digits, '.' and '_', for test ids"
        )
    backend_class(name)
    return text


def mode(text: str) -> str:
    """Parse a quantization mode of any engine, or ``all``."""
    if text != ALL and text not in known_modes():
        raise ValueError(
            f"unknown mode {text!r}; known: {', '.join((*MODES, ALL))}, and each engine's own, such as "
            "int8_bfloat16 (ctranslate2) or q4_k_m (llama-cpp: the type of a GGUF file), and formats of "
            "checkpoints, such as awq-int4"
        )
    return text


def known_modes() -> frozenset[str]:
    """Return the modes of every engine, and those that only checkpoints have."""
    modes: set[str] = {*OF_CHECKPOINTS, MIXED}
    for name in names():
        with suppress(BackendError):
            engine = backend_class(name)
            modes |= {*engine.modes, *engine.further_modes}
    return frozenset(modes)


def device(text: str) -> str:
    """Parse auto, cpu, cuda or cuda:N."""
    kind, _, index = text.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not index.isdecimal()):
        raise ValueError(f"unknown device {text!r}; known: auto, cpu, cuda, cuda:N")
    return text


def lines_of_file(text: str, base: Path = HERE) -> frozenset[str]:
    """Return the lines of a file that are not blank."""
    path = location(text, base)
    try:
        # A device has no end, a pipe may have no writer: only the shell's own has.
        if not path.is_file() and not text.startswith("/dev/fd/"):
            raise OSError
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{text!r} is not a file that can be read") from None
    return frozenset(line for line in lines if line.strip())


def reason(text: str) -> str:
    """Parse a reason, which must not be blank."""
    if not text.strip():
        raise ValueError("give the reason, for those who read the file later")
    return text.strip()


def limit(text: str) -> tuple[str, float]:
    """Parse ``3%`` or ``METRIC:3%``; return the metric (``*``: every other one) and the share."""
    name, colon, share = text.rpartition(":")
    return (metric(name) if colon else "*"), ratio(share)


def backend_arg(text: str) -> tuple[str, str, Any]:
    """Parse BACKEND.KEY=VALUE; return backend, key and value."""
    target, equals, value = text.partition("=")
    # A label may hold dots, an engine's name does not; then dots belong to the argument.
    name, dot, key = target.rpartition(".") if "@" in target else target.partition(".")
    if not equals or not dot or not key:
        # Imported for a message only: this module is part of every pytest run's start.
        from ..core.secrets import masked_arguments

        raise ValueError(f"{masked_arguments([text])[0]!r} is not of the form BACKEND.KEY=VALUE")
    return backend(name), key, _value(value)


def _value(text: str) -> Any:
    """Return a literal if the text is one (number, true, false, none, JSON), else the text itself."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    value: Any = text
    if _NUMBER.fullmatch(text):
        digits = text.strip().lstrip("+-").replace("_", "")
        # Python refuses to read more than 4,300 digits.
        value = int(text.strip()[:40]) if digits.isdecimal() else float(text)
    elif text[:1] in ("{", "["):
        if _depth(text) > _DEEPEST:
            raise ValueError(f"{shown(text)} is nested more than {_DEEPEST} levels deep")
        with suppress(ValueError):
            value = json.loads(text)
    _check_numbers(value, text)
    return value


def _depth(text: str) -> int:
    """Return how deep a text of JSON may be nested; brackets in its strings count as well."""
    depth = deepest = 0
    for character in text:
        depth += (character in "[{") - (character in "]}")
        deepest = max(deepest, depth)
    return deepest


def _check_numbers(value: Any, text: str) -> None:
    """Raise ValueError for a number that no stored file can hold."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _check_numbers(item, text)
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError(f"{shown(text)}: a whole number has at most 64 bits")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{shown(text)}: {value} is not a finite number")


def by_backend(arguments: Iterable[tuple[str, str, Any]]) -> dict[str, dict[str, Any]]:
    """Return keyword arguments by backend; a later value of a key replaces an earlier one."""
    by_name: dict[str, dict[str, Any]] = {}
    for name, key, value in arguments:
        by_name.setdefault(name, {})[key] = value
    return by_name


def backend_python(text: str, base: Path = HERE) -> tuple[str, str]:
    """Parse BACKEND=PATH; return the backend and its interpreter."""
    name, equals, path = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is not of the form BACKEND=PATH or BACKEND@LABEL=PATH")
    # Without a folder it is a program of PATH. Links stay: an environment's interpreter is one.
    is_path = os.sep in path or path.startswith("~")
    python = shutil.which(str(location(path, base).absolute()) if is_path else path)
    if python is None:
        raise ValueError(f"{shown(path)} is not an interpreter that can be run")
    return backend(name), python
