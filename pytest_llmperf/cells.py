"""Which cells a test runs on: model x backend x quantization, chosen before anything loads."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from .backends import NAMES as BACKENDS
from .backends import backend_class, family
from .environment import has_accelerator
from .models import MISSING_EMBEDDED, Model, ModelError, embedded_gguf, parse_model
from .option_values import expand
from .options import Settings
from .quantization import ALL, MODES
from .worker.client import EngineError, installed_packages_of

T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """One model on one backend in one quantization mode."""

    model: Model
    backend: str
    quantization: str
    degree: str = ""
    """How many devices share the model (``tp2``); empty for one."""

    @property
    def id(self) -> str:
        """The first part of a test's parameters, and the key under which runs are compared."""
        name = f"{self.model.name}-{self.backend}-{self.quantization}"
        return f"{name}-{self.degree}" if self.degree else name


@dataclass(frozen=True)
class Choice:
    """A cell, and why it cannot run here (None: it can)."""

    cell: Cell
    problem: str | None = None
    excluded: bool = False
    """True when the run itself leaves it out: then nothing is missing, whatever is required."""


@dataclass
class CellPlan:
    """The cells of a run: asks each environment once what is installed."""

    settings: Settings
    _packages: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _cells: dict[str, Cell] = field(default_factory=dict)

    def packages(self, backend: str) -> Mapping[str, str]:
        """Installed versions by distribution name, in the backend's own environment."""
        python = self.settings.pythons.get(backend, sys.executable)
        if python not in self._packages:
            self._packages[python] = installed_packages_of(python)
        return self._packages[python]

    def cell(self, cell_id: str) -> Cell:
        """The cell of a test id; also one that a test names itself."""
        if cell_id not in self._cells:
            self._cells[cell_id] = self._parse(cell_id)
        return self._cells[cell_id]

    def known(self, cell_ids: Iterable[object]) -> list[Cell]:
        """The cells among test parameters; one that names no cell fails its test later."""
        found = []
        for cell_id in dict.fromkeys(cell_ids):
            with suppress(ValueError):
                found += [self.cell(cell_id)] if isinstance(cell_id, str) else []
        return found

    def choices(self, marker: pytest.Mark | None, only_backend: str | None = None) -> list[Choice]:
        """The cells of a test.

        Args:
            marker: its ``llm`` marker.
            only_backend: set by fixtures that are named after a backend.

        Raises:
            ValueError: one line, for a marker that cannot mean anything.
        """
        wanted = _Wanted.from_marker(marker)
        models = self._models(wanted)
        quantizations = _narrow(wanted.quantizations, self.settings.quantizations) or ("none",)
        backends = self._backends(wanted, only_backend)
        nothing = _nothing_left(wanted, self.settings, only_backend)
        if nothing:
            backend = only_backend or (wanted.backends or BACKENDS)[0]
            mode = (wanted.quantizations or ("none",))[0]
            model = (wanted.models or self.settings.default_models)[0]
            cell = self._remember(Cell(model, backend, mode))
            return [Choice(cell, nothing, excluded=True)]
        cells = [
            Cell(m, b, q, self._degree(b)) for m in models for b in backends for q in quantizations
        ]
        return [Choice(self._remember(cell), self.problem(cell)) for cell in cells]

    def problem(self, cell: Cell) -> str | None:
        """Why a cell cannot run here, as far as that is known before it loads."""
        try:
            packages = self.packages(cell.backend)
        except EngineError as error:
            return str(error)
        refusal = backend_class(cell.backend).refusal(cell.quantization, packages)
        if refusal:
            return refusal.reason
        if self.settings.device.startswith("cuda") and not has_accelerator():
            return f"this machine has no GPU (--llm-device={self.settings.device})"
        needs_file = cell.model.kind == "embedded" and self.settings.load_format != "dummy"
        if needs_file and family(cell.backend) != "simulated" and embedded_gguf() is None:
            return MISSING_EMBEDDED
        return None

    def check_requested(self) -> None:
        """Raise pytest.UsageError where the command line names a pair that can never work."""
        names = [model.name for model in self.settings.models or ()]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise pytest.UsageError(
                f"--llm-model: two models would be called {min(twice)!r} in test ids; "
                "name one of them: NAME=PATH"
            )
        for backend in self.settings.pythons:
            try:
                self.packages(backend)
            except EngineError as error:
                raise pytest.UsageError(f"--llm-python: {error}") from None
        if not self.settings.backends or not self.settings.quantizations:
            return
        reasons = []
        for backend in self.settings.backends:
            for mode in self.settings.quantizations:
                refusal = backend_class(backend).refusal_of_mode(mode, self.packages(backend))
                if refusal is None or not refusal.by_nature:
                    return
                reasons.append(refusal.reason)
        raise pytest.UsageError(f"--llm-quant: {reasons[0]}")

    def _models(self, wanted: _Wanted) -> tuple[Model, ...]:
        """The command line says where a model's files are, the test by name which ones it wants."""
        if wanted.models is None or self.settings.models is None:
            return wanted.models or self.settings.default_models
        names = [model.name for model in wanted.models]
        return tuple(model for model in self.settings.models if model.name in names)

    def _backends(self, wanted: _Wanted, only_backend: str | None) -> tuple[str, ...]:
        """What the command line names, or what is installed, as far as the test is for it."""
        for_test = (only_backend,) if only_backend else wanted.backends
        candidates = self.settings.backends or (
            *(for_test or self._installed_backends()),
            *self.settings.variants,
        )
        return tuple(name for name in candidates if for_test is None or family(name) in for_test)

    def _installed_backends(self) -> tuple[str, ...]:
        defaults = [name for name in BACKENDS if backend_class(name).by_default]
        usable = [
            name
            for name in defaults
            if backend_class(name).refusal("none", self.packages(name)) is None
        ]
        # With no engine at all, the first one's skip says what to install.
        return tuple(usable or defaults[:1])

    def _parse(self, cell_id: str) -> Cell:
        named = {model.name: model for model in self.settings.models or ()}
        for mode in MODES:
            for backend in (*BACKENDS, *self.settings.variants):
                for degree in dict.fromkeys((self._degree(backend), "")):
                    suffix = f"-{backend}-{mode}" + (f"-{degree}" if degree else "")
                    if cell_id.endswith(suffix):
                        name = cell_id.removesuffix(suffix)
                        return Cell(named.get(name) or parse_model(name), backend, mode, degree)
        raise ValueError(
            f"{cell_id!r} names no cell: it has to be MODEL-BACKEND-MODE, e.g. "
            "smollm2-135m-transformers-none"
        )

    def _degree(self, backend: str) -> str:
        return backend_class(backend).degree(self.settings.args_of(backend))

    def _remember(self, cell: Cell) -> Cell:
        self._cells[cell.id] = cell
        return cell


@dataclass(frozen=True)
class _Wanted:
    """What a test's marker asks for; None where it leaves the choice open."""

    models: tuple[Model, ...] | None
    backends: tuple[str, ...] | None
    quantizations: tuple[str, ...] | None

    @classmethod
    def from_marker(cls, marker: pytest.Mark | None) -> _Wanted:
        if marker is None:
            return cls(None, None, None)
        unknown = set(marker.kwargs) - {"model", "backend", "quant"}
        if marker.args or unknown:
            raise ValueError(
                "@pytest.mark.llm takes model=, backend= and quant= only"
                + (f", not {min(unknown)}=" if unknown else "")
            )
        models = _names("model", marker.kwargs.get("model"))
        backends = _names("backend", marker.kwargs.get("backend"))
        modes = _names("quant", marker.kwargs.get("quant"))
        _check_known("backend", backends, BACKENDS)
        _check_known("quant", modes, (*MODES, ALL))
        try:
            parsed = tuple(parse_model(name) for name in models) if models else None
        except ModelError as error:
            raise ValueError(f"@pytest.mark.llm(model=): {error}") from None
        return cls(parsed, backends, expand(modes))


def _names(key: str, value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"@pytest.mark.llm({key}=): {value!r} is neither a name nor a list of names"
        )
    return tuple(names)


def _check_known(key: str, names: tuple[str, ...] | None, known: Sequence[str]) -> None:
    for name in names or ():
        if name not in known:
            raise ValueError(
                f"@pytest.mark.llm({key}=): unknown value {name!r}; known: {', '.join(known)}"
            )


def _narrow(wanted: tuple[T, ...] | None, given: tuple[T, ...] | None) -> tuple[T, ...] | None:
    """The command line narrows what a test wants; what only one of them says stands."""
    if wanted is None or given is None:
        return wanted or given
    return tuple(item for item in wanted if item in given)


def _nothing_left(wanted: _Wanted, settings: Settings, only_backend: str | None) -> str | None:
    """Why a test has no cell at all: it wants one thing, the command line another."""
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
        if of_test and given and not set(of_test) & set(given):
            return (
                f"the test is for {key} {', '.join(of_test)}, the run for --llm-{key}="
                f"{','.join(given)}"
            )
    return None


def _families(backends: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return tuple(dict.fromkeys(family(name) for name in backends)) if backends else None


def _model_names(models: tuple[Model, ...] | None) -> tuple[str, ...] | None:
    return tuple(model.name for model in models) if models else None
