"""One option value each: from the text on the command line to what it means.

Every function raises ValueError with one line that says what is wrong and what would be right.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
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
    """An alias, hub id, folder, GGUF file, or name=PATH."""
    # Imported for a value only: this module is part of every pytest run's start.
    from ..core.models import parse_model

    return parse_model(text)


def metric(text: str) -> str:
    """A metric key."""
    from ..metrics.definitions import METRICS

    return one_of("metric", tuple(METRICS))(text)


def budget(text: str) -> Budget:
    """METRIC.STAT:LIMIT."""
    from .budgets import parse_budget

    return parse_budget(text)


def backend(text: str) -> str:
    """A backend name, with or without a label (``vllm@nightly``)."""
    name, at, label = text.partition("@")
    if at and not re.fullmatch(r"[a-z0-9][a-z0-9._]*", label):
        raise ValueError(
            f"{text!r}: a label takes lower-case letters, digits, '.' and '_', for test ids"
        )
    backend_class(name)
    return text


def mode(text: str) -> str:
    """A quantization mode of any engine, or ``all``."""
    if text != ALL and text not in known_modes():
        raise ValueError(
            f"unknown mode {text!r}; known: {', '.join((*MODES, ALL))}, and each engine's own, such as "
            "int8_bfloat16 (ctranslate2) or q4_k_m (llama-cpp: the type of a GGUF file)"
        )
    return text


def known_modes() -> frozenset[str]:
    """The modes of every engine."""
    found: set[str] = set()
    for name in names():
        with suppress(BackendError):
            engine = backend_class(name)
            found |= {*engine.modes, *engine.further_modes}
    return frozenset(found)


def device(text: str) -> str:
    """auto, cpu, cuda or cuda:N."""
    kind, _, index = text.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not index.isdecimal()):
        raise ValueError(f"unknown device {text!r}; known: auto, cpu, cuda, cuda:N")
    return text


def test_ids(text: str) -> frozenset[str]:
    """The lines of a file."""
    try:
        lines = Path(text).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ValueError(f"{text!r} is not a file that can be read") from None
    return frozenset(line for line in lines if line.strip())


def reason(text: str) -> str:
    """A reason has to say something."""
    if not text.strip():
        raise ValueError("give the reason, for those who read the file later")
    return text.strip()


def limit(text: str) -> tuple[str, float]:
    """``3%`` or ``METRIC:3%`` as (metric or ``*``, share)."""
    name, colon, share = text.rpartition(":")
    return (metric(name) if colon else "*"), ratio(share)


def limits(given: Mapping[str, Sequence[tuple[str, float]]]) -> dict[str, dict[str, float]]:
    """Limits by name and metric; a name that nobody gives is left out."""
    return {name: dict(values) for name, values in given.items() if values}


def backend_arg(text: str) -> tuple[str, str, Any]:
    """BACKEND.KEY=VALUE as (backend, key, value)."""
    target, equals, value = text.partition("=")
    # A label may hold dots, an engine's name does not; then dots belong to the argument.
    name, dot, key = target.rpartition(".") if "@" in target else target.partition(".")
    if not equals or not dot or not key:
        raise ValueError(f"{text!r} is not of the form BACKEND.KEY=VALUE")
    return backend(name), key, _value(value)


def _value(text: str) -> Any:
    """A literal where the text is one (numbers, true, false, none, JSON), else the text itself."""
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


def by_backend(
    triples: Sequence[tuple[str, str, Any]] | None,
) -> dict[str, dict[str, Any]]:
    """Keyword arguments by backend."""
    found: dict[str, dict[str, Any]] = {}
    for name, key, value in triples or ():
        found.setdefault(name, {})[key] = value
    return found


def backend_python(text: str) -> tuple[str, str]:
    """BACKEND=PATH as (backend, interpreter)."""
    name, equals, python = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is not of the form BACKEND=PATH or BACKEND@LABEL=PATH")
    found = shutil.which(str(Path(python).expanduser()))
    if found is None:
        raise ValueError(f"{python!r} is not an interpreter that can be run")
    return backend(name), found
