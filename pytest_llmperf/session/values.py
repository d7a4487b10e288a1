"""Option values that name something: models, engines, modes, metrics, budgets, files, folders.

Every parser raises ValueError with one line that says what is wrong and what to write instead.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backends import backend_class, names
from ..core.errors import BackendError
from ..core.quantization import ALL, MODES
from ..core.values import one_of, ratio

if TYPE_CHECKING:
    from ..core.models import Model
    from .budgets import Budget


def model(text: str) -> Model:
    """Parse an alias, hub id, folder, GGUF file, or NAME=PATH."""
    # Imported when there is a value: this module is part of every pytest run's start.
    from ..core.models import parse_model

    return parse_model(text)


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
            "int8_bfloat16 (ctranslate2) or q4_k_m (llama-cpp: the type of a GGUF file)"
        )
    return text


def known_modes() -> frozenset[str]:
    """Return the modes of every engine."""
    modes: set[str] = set()
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


def lines_of_file(text: str) -> frozenset[str]:
    """Return the lines of a file that are not blank."""
    try:
        lines = Path(text).read_text("utf-8").splitlines()
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
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    if text[:1] in ("{", "["):
        with suppress(ValueError):
            return json.loads(text)
    return text


def by_backend(arguments: Iterable[tuple[str, str, Any]]) -> dict[str, dict[str, Any]]:
    """Return keyword arguments by backend; a later value of a key replaces an earlier one."""
    by_name: dict[str, dict[str, Any]] = {}
    for name, key, value in arguments:
        by_name.setdefault(name, {})[key] = value
    return by_name


def backend_python(text: str) -> tuple[str, str]:
    """Parse BACKEND=PATH; return the backend and its interpreter."""
    name, equals, path = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is not of the form BACKEND=PATH or BACKEND@LABEL=PATH")
    python = shutil.which(str(Path(path).expanduser()))
    if python is None:
        raise ValueError(f"{path!r} is not an interpreter that can be run")
    return backend(name), python
