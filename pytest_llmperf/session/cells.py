"""Choose the cells of a test (model x backend x quantization) before anything loads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import pytest

from ..backends import ask, backend_class, family, names
from ..core.cell import Cell
from ..core.engine import Refusal, Setup
from ..core.errors import BackendError, EngineError
from ..core.models import MISSING_EMBEDDED, Model, embedded_gguf, parse_model
from ..core.printable import printable
from ..core.quantization import ALL
from ..core.traits import Traits
from ..machine.host import has_accelerator, runs_on_cpu
from .installed import installed_packages_of
from .marker import Wanted, nothing_left
from .model_files import context_of_cell
from .options import Settings


@dataclass(frozen=True)
class Choice:
    """A cell of a test, and the reason if it cannot run here."""

    cell: Cell
    problem: str | None = None
    excluded: bool = False
    """The run itself leaves it out, so nothing is missing, whatever ``--llm-require`` says."""
    named: bool = False
    """The command line names what is missing, so its tests fail."""


@dataclass
class CellPlan:
    """The cells of a run. Each environment is asked only once for its packages."""

    settings: Settings
    _packages: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _cells: dict[str, Cell] = field(default_factory=dict)
    _contexts: dict[Cell, int | None] = field(default_factory=dict)

    def packages(self, backend: str) -> Mapping[str, str]:
        """Return installed versions by distribution name, in the backend's environment."""
        python = self.settings.python_of(backend)
        if python not in self._packages:
            self._packages[python] = installed_packages_of(python)
        return self._packages[python]

    def cell(self, cell_id: str) -> Cell:
        """Return the cell with an id, which may be one that a test names itself."""
        if cell_id not in self._cells:
            self._cells[cell_id] = self._parse(cell_id)
        return self._cells[cell_id]

    def known(self, cell_ids: Iterable[object]) -> list[Cell]:
        """Return the cells among test parameters; a parameter that names none fails its test later."""
        cells = []
        for cell_id in dict.fromkeys(cell_ids):
            with suppress(ValueError):
                cells += [self.cell(cell_id)] if isinstance(cell_id, str) else []
        return cells

    def choices(self, marker: pytest.Mark | None, only_backend: str | None = None) -> list[Choice]:
        """Return the cells of a test.

        Args:
            marker: its ``llm`` marker.
            only_backend: the backend of the test's fixture (``vllm_llm``), if it has one.

        Raises:
            ValueError: the marker is not valid; one line.
        """
        wanted = Wanted.from_marker(marker)
        nothing = nothing_left(wanted, self.settings, only_backend)
        if nothing:
            backend = only_backend or (wanted.backends or names())[0]
            mode = (wanted.quantizations or ("none",))[0].replace(ALL, "none")
            model = (wanted.models or self.settings.default_models)[0]
            cell = self._remember(Cell(model, backend, mode))
            return [Choice(cell, nothing, excluded=True)]
        cells = dict.fromkeys(
            self._cell(model, backend, mode)
            for model in self._models(wanted)
            for backend in self._backends(wanted, only_backend)
            for mode in self._modes(wanted, backend)
        )
        return [
            Choice(
                self._remember(cell),
                self.problem(cell),
                excluded=self._nothing_is_missing(cell),
                named=self.is_named(cell),
            )
            for cell in cells
        ]

    def context(self, cell: Cell) -> int | None:
        """Return the tokens of a model's context that its files set for the engine, or None."""
        if cell not in self._contexts:
            dummy = self.settings.load_format == "dummy"
            args = self.settings.args_of(cell.backend)
            self._contexts[cell] = context_of_cell(cell, dummy, args)
        return self._contexts[cell]

    def problem(self, cell: Cell) -> str | None:
        """Return why a cell cannot run here, as far as that is known before it loads, or None.

        Raises:
            BackendError: the backend's class itself fails.
        """
        try:
            packages = self.packages(cell.backend)
        except EngineError as error:
            return str(error)
        refusal = self._refusal(cell, packages)
        if refusal:
            return printable(refusal.reason)
        if self._has_no_gpu():
            return f"this machine has no GPU (--llm-device={self.settings.device})"
        return MISSING_EMBEDDED if self._has_no_file(cell) else None

    def is_named(self, cell: Cell) -> bool:
        """Return whether the command line itself names what is missing to run a cell.

        Ini values and defaults are for every machine; who types a name wants it here and now.
        """
        typed, settings = self.settings.typed, self.settings
        if "--llm-device" in typed and self._has_no_gpu():
            return True
        if "--llm-model" in typed and self._has_no_file(cell):
            return True
        modes = ["none"] if "--llm-backend" in typed else []
        if "--llm-quant" in typed and cell.quantization in (settings.quantizations or ()):
            modes.append(cell.quantization)
        with suppress(EngineError, BackendError):
            packages = self.packages(cell.backend)
            refusals = [_refused(cell.backend, "refusal", mode, packages) for mode in modes]
            return any(refusal and not refusal.by_nature for refusal in refusals)
        return False

    def _has_no_gpu(self) -> bool:
        return self.settings.device.startswith("cuda") and not has_accelerator()

    def _has_no_file(self, cell: Cell) -> bool:
        needs_file = cell.model.kind == "embedded" and self.settings.load_format != "dummy"
        return needs_file and family(cell.backend) != "simulated" and embedded_gguf() is None

    def check_requested(self) -> None:
        """Raise pytest.UsageError if the command line names a pair that can never work."""
        model_names = [model.name for model in self.settings.models or ()]
        twice = {name for name in model_names if model_names.count(name) > 1}
        if twice:
            raise pytest.UsageError(
                f"--llm-model: two models would be called {min(twice)!r} in test ids; "
                "name one of them: NAME=PATH"
            )
        for backend in self.settings.backend_args:
            try:
                refusal = _refused(backend, "refusal_of_args", self.settings.args_of(backend))
            except BackendError as error:
                raise pytest.UsageError(f"--llm-backend-arg: {error}") from None
            if refusal:
                raise pytest.UsageError(f"--llm-backend-arg: {printable(refusal.reason)}")
        for backend in self.settings.pythons:
            try:
                self.packages(backend)
            except EngineError as error:
                raise pytest.UsageError(f"--llm-python: {error}") from None
        self._check_modes()
        self._check_models()

    def _check_modes(self) -> None:
        if not self.settings.backends or not self.settings.quantizations:
            return
        reasons = []
        for backend in self.settings.backends:
            for mode in self._modes(Wanted(None, None, None), backend):
                try:
                    refusal = _refused(backend, "refusal_of_mode", mode, self.packages(backend))
                except BackendError as error:
                    raise pytest.UsageError(f"--llm-backend: {error}") from None
                if refusal is None or not refusal.by_nature:
                    return
                reasons.append(printable(refusal.reason))
        raise pytest.UsageError(f"--llm-quant: {reasons[0]}")

    def _check_models(self) -> None:
        """Raise pytest.UsageError if no named engine can load a named model in any mode."""
        reasons = []
        for backend in self.settings.backends or ():
            engine = backend_class(backend)
            any_mode = () if self.settings.quantizations else (*engine.modes, *engine.further_modes)
            for model in self.settings.models or ():
                modes = any_mode or self._modes(Wanted(None, None, None), backend)
                for mode in dict.fromkeys(("none", *modes) if any_mode else modes):
                    try:
                        refusal = self._refusal(
                            self._cell(model, backend, mode), self.packages(backend)
                        )
                    except BackendError:
                        return
                    if refusal is None or not refusal.by_nature:
                        return
                    reasons.append(printable(refusal.reason))
        if reasons:
            raise pytest.UsageError(f"--llm-model: {reasons[0]}")

    def _cell(self, model: Model, backend: str, mode: str) -> Cell:
        mode = ask(backend, "mode_of", str, mode, model)
        return Cell(model, backend, mode, self._traits(model, backend))

    def _refusal(self, cell: Cell, packages: Mapping[str, str]) -> Refusal | None:
        return _refused(cell.backend, "refusal", cell.quantization, packages) or _refused(
            cell.backend, "refusal_of_model", cell.model, cell.quantization, self._setup
        )

    @property
    def _setup(self) -> Setup:
        settings = self.settings
        return Setup(settings.load_format == "dummy", settings.dtype, runs_on_cpu(settings.device))

    def _nothing_is_missing(self, cell: Cell) -> bool:
        """Return whether the run named no engines and this one can run the cell on no machine.

        Such a cell is left out, whatever ``--llm-require`` says.
        """
        if self.settings.backends:
            return False
        with suppress(EngineError, BackendError):
            refusal = self._refusal(cell, self.packages(cell.backend))
            return refusal is not None and refusal.by_nature
        return False

    def _modes(self, wanted: Wanted, backend: str) -> tuple[str, ...]:
        """Return the modes that both test and command line allow; either may leave the choice open."""
        modes, given = wanted.quantizations, self.settings.quantizations
        everything = backend_class(backend).modes
        if given and ALL in given:
            given = None if modes else everything
        if modes and ALL in modes:
            modes = (*everything, *(m for m in given or () if m not in everything))
        if modes is None or given is None:
            return modes or given or ("none",)
        return tuple(mode for mode in modes if mode in given)

    def _models(self, wanted: Wanted) -> tuple[Model, ...]:
        """Return the models: their files as the command line has them, their names as the test wants."""
        if wanted.models is None or self.settings.models is None:
            return wanted.models or self.settings.default_models
        names = [model.name for model in wanted.models]
        return tuple(model for model in self.settings.models if model.name in names)

    def _backends(self, wanted: Wanted, only_backend: str | None) -> tuple[str, ...]:
        """Return the test's backends: those of the command line, else the installed ones."""
        for_test = (only_backend,) if only_backend else wanted.backends
        candidates = self.settings.backends or (
            *(for_test or self._installed_backends()),
            *self.settings.variants,
        )
        return tuple(name for name in candidates if for_test is None or family(name) in for_test)

    def _installed_backends(self) -> tuple[str, ...]:
        usable = []
        for name in names():
            # A broken backend of another package is an error only for those who name it.
            with suppress(BackendError):
                engine = backend_class(name)
                if engine.by_default and not _refused(name, "refusal", "none", self.packages(name)):
                    usable.append(name)
        # Without any engine, the first one's skip says what to install.
        return tuple(usable or names()[:1])

    def _parse(self, cell_id: str) -> Cell:
        models = {model.name: model for model in self.settings.models or ()}
        instead = ""
        for name, backend, rest in self._splits(cell_id):
            engine = backend_class(backend)
            for mode in (*engine.modes, *engine.further_modes):
                if rest != mode and not rest.startswith(f"{mode}-"):
                    continue
                model = models.get(name) or parse_model(name)
                cell = Cell(model, backend, mode, self._traits(model, backend))
                if cell.id == cell_id:
                    return cell
                # The longest mode counts: nf4-dq is not nf4 with a trait.
                instead = max(instead, cell.id, key=len)
        if instead:
            raise ValueError(
                f"{cell_id!r} is not what would run: by this run's --llm-backend-arg and the model's "
                f"files it is {instead!r}"
            )
        raise ValueError(
            f"{cell_id!r} is not a cell, which is MODEL-BACKEND-MODE, e.g. "
            "smollm2-135m-transformers-none"
        )

    def _splits(self, cell_id: str) -> Iterator[tuple[str, str, str]]:
        """Yield what may be the model, the backend and the rest of a cell's id."""
        for backend in (*names(), *self.settings.variants):
            parts = cell_id.split(f"-{backend}-")
            # A model may be named after an engine.
            for i in range(len(parts) - 1, 0, -1):
                yield f"-{backend}-".join(parts[:i]), backend, f"-{backend}-".join(parts[i:])

    def _traits(self, model: Model, backend: str) -> Traits:
        args = self.settings.args_of(backend)
        traits: Traits = ask(backend, "traits", Traits, args, model, self._setup)
        return traits

    def _remember(self, cell: Cell) -> Cell:
        self._cells[cell.id] = cell
        return cell


def _refused(backend: str, method: str, *arguments: Any) -> Refusal | None:
    """Return the refusal of a backend's class, or None."""
    refusal: Refusal | None = ask(backend, method, (Refusal, NoneType), *arguments)
    return refusal
