"""The cells that a test's ``llm`` marker asks for, before the command line narrows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import pytest

from ..backends import backend_class, family
from ..core.models import Model, ModelError, parse_model
from ..core.quantization import ALL
from ..core.values import shown, unusable
from .options import Settings
from .values import mode as parse_mode


@dataclass(frozen=True)
class Wanted:
    """The cells that a test's marker asks for; None leaves the choice open."""

    models: tuple[Model, ...] | None
    backends: tuple[str, ...] | None
    quantizations: tuple[str, ...] | None

    @classmethod
    def from_marker(cls, marker: pytest.Mark | None) -> Wanted:
        """Read a marker.

        Raises:
            ValueError: one line that names the argument and the right form.
        """
        if marker is None:
            return cls(None, None, None)
        unknown = set(marker.kwargs) - {"model", "backend", "quant"}
        if marker.args or unknown:
            raise ValueError(
                "@pytest.mark.llm takes model=, backend= and quant= only"
                + (f", not {min(unknown)}=" if unknown else "")
            )
        models = _texts("model", marker.kwargs.get("model"))
        backends = _texts("backend", marker.kwargs.get("backend"))
        modes = _texts("quant", marker.kwargs.get("quant"))
        _check_known("backend", backends, backend_class)
        _check_known("quant", modes, parse_mode)
        try:
            parsed = tuple(parse_model(name) for name in models) if models else None
        except ModelError as error:
            raise ValueError(f"@pytest.mark.llm(model=): {error}") from None
        return cls(parsed, backends, modes)


def _texts(key: str, value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    # A dictionary is none, although its keys may be names.
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)):
        given = tuple(value)
    else:
        given = (value,)
    names = tuple(name for name in given if isinstance(name, str))
    if names != given:
        raise ValueError(
            f"@pytest.mark.llm({key}=): {shown(value)} is neither a name nor a list of names"
        )
    if not names:
        raise ValueError(f"@pytest.mark.llm({key}=): {shown(value)} holds no name")
    for name in names:
        if problem := unusable(name):
            raise ValueError(f"@pytest.mark.llm({key}=): {shown(name)} {problem}")
    return names


def _check_known(key: str, given: tuple[str, ...] | None, find: Callable[[str], object]) -> None:
    for name in given or ():
        try:
            find(name)
        except ValueError as error:
            raise ValueError(f"@pytest.mark.llm({key}=): {error}") from None


def nothing_left(wanted: Wanted, settings: Settings, only_backend: str | None) -> str | None:
    """Return why a test has no cell in this run, or None if it has some.

    Args:
        only_backend: the backend of the test's fixture (``vllm_llm``), if it has one.
    """
    if only_backend and wanted.backends and only_backend not in wanted.backends:
        return (
            f"the test is for backend {', '.join(wanted.backends)}, its fixture for {only_backend}"
        )
    backends = (only_backend,) if only_backend else wanted.backends
    for key, of_test, given in (
        ("model", _model_names(wanted.models), _model_names(settings.models)),
        ("backend", backends, _families(settings.backends)),
        ("quant", wanted.quantizations, settings.quantizations),
    ):
        everything = key == "quant" and ALL in {*(of_test or ()), *(given or ())}
        if of_test and given and not everything and not set(of_test) & set(given):
            return (
                f"the test is for {key} {', '.join(of_test)}, the run for --llm-{key}="
                f"{','.join(given)}"
            )
    return None


def _families(backends: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return tuple(dict.fromkeys(family(name) for name in backends)) if backends else None


def _model_names(models: tuple[Model, ...] | None) -> tuple[str, ...] | None:
    return tuple(model.name for model in models) if models else None
