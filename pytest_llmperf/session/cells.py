"""Choose the cells of a test (model x backend x quantization) before anything loads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import pytest

from ..backends import backend_class, family, names
from ..core.cell import Cell
from ..core.errors import BackendError, EngineError
from ..core.models import Model, parse_model
from ..core.printable import printable
from ..core.quantization import ALL, MIXED, MODES, OF_CHECKPOINTS
from .checkpoints import Checkpoints
from .installed import Packages
from .marker import Wanted, nothing_left
from .model_files import context_of_cell
from .modes import Modes
from .options import Settings
from .refusals import Refusals, refusal_by


@dataclass(frozen=True)
class Choice:
    """A cell of a test, and the reason if it cannot run here."""

    cell: Cell
    problem: str | None = None
    excluded: bool = False
    """The run itself leaves it out, so nothing is missing, whatever ``--llm-require`` says."""
    named: bool = False
    """The command line names what is missing, so its tests fail."""


class CellPlan:
    """The cells of a run."""

    def __init__(
        self, settings: Settings, packages: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """Prepare to look at the models' files and the engines' environments.

        Args:
            settings: of the run.
            packages: versions by distribution name, for interpreters that need not be asked.
        """
        self.settings = settings
        self.checkpoints = Checkpoints(settings)
        self._packages = Packages(settings, packages)
        self._modes = Modes(settings, self.checkpoints)
        self._refusals = Refusals(settings, self._packages, self.checkpoints)
        self._cells: dict[str, Cell] = {}
        self._contexts: dict[Cell, int | None] = {}

    def packages(self, backend: str) -> Mapping[str, str]:
        """Return installed versions by distribution name, in the backend's environment."""
        return self._packages.of(backend)

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
            self._modes.cell(model, backend, mode)
            for model in self._models(wanted)
            for backend in self._backends(wanted, only_backend)
            for mode in self._modes.of(wanted, backend, model)
        )
        return [
            Choice(
                self._remember(cell),
                self.problem(cell),
                excluded=self._refusals.nothing_is_missing(cell),
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
        return self._refusals.problem(cell)

    def is_named(self, cell: Cell) -> bool:
        """Return whether the command line itself names what is missing to run a cell."""
        return self._refusals.is_named(cell)

    def check_requested(self) -> None:
        """Raise pytest.UsageError if the command line names a pair that can never work."""
        for backend in self.settings.backend_args:
            try:
                refusal = refusal_by(backend, "refusal_of_args", self.settings.args_of(backend))
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
        self._check_names()

    def _check_names(self) -> None:
        """Raise pytest.UsageError if two models of one name would have the same test ids."""
        given = self.settings.models or ()
        names = [model.name for model in given]
        several = [model for model in given if names.count(model.name) > 1]
        for backend in self._backends(Wanted(None, None, None), None) if several else ():
            with suppress(BackendError):  # It is an error for those tests that use the backend.
                self._check_names_of(several, backend)

    def _check_names_of(self, several: Iterable[Model], backend: str) -> None:
        models: dict[str, Model] = {}
        for model in several:
            for mode in self._modes.of(Wanted(None, None, None), backend, model):
                if models.setdefault(self._modes.cell(model, backend, mode).id, model) != model:
                    raise pytest.UsageError(
                        f"--llm-model: two models would be called {model.name!r} in test ids; "
                        "name one of them: NAME=PATH"
                    )

    def _check_modes(self) -> None:
        if not self.settings.backends or not self.settings.quantizations:
            return
        reasons = []
        for backend in self.settings.backends:
            for mode in self._modes.asked(Wanted(None, None, None), backend, None) or ("none",):
                if mode in (*OF_CHECKPOINTS, MIXED):
                    return  # It depends on the model.
                try:
                    refusal = refusal_by(backend, "refusal_of_mode", mode, self.packages(backend))
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
                modes = self._modes.of(Wanted(None, None, None), backend, model)
                for mode in dict.fromkeys((*modes, *any_mode)):
                    try:
                        refusal = self._refusals.of(self._modes.cell(model, backend, mode))
                    except BackendError:
                        return
                    if refusal is None or not refusal.by_nature:
                        return
                    reasons.append(printable(refusal.reason))
        if reasons:
            raise pytest.UsageError(f"--llm-model: {reasons[0]}")

    def _models(self, wanted: Wanted) -> tuple[Model, ...]:
        """Return the models: their files as the command line has them, their names as the test wants.

        Of several checkpoints of one name, the unquantized one comes first: others are compared with it.
        """
        given = self.settings.models
        if wanted.models is None or given is None:
            chosen = wanted.models or self.settings.default_models
        else:
            chosen = tuple(m for m in given if m.name in {model.name for model in wanted.models})
        names = list(dict.fromkeys(model.name for model in chosen))
        return tuple(
            sorted(
                chosen,
                key=lambda model: (names.index(model.name), not self.checkpoints.is_plain(model)),
            )
        )

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
                if engine.by_default and not refusal_by(
                    name, "refusal", "none", self.packages(name)
                ):
                    usable.append(name)
        # Without any engine, the first one's skip says what to install.
        return tuple(usable or names()[:1])

    def _parse(self, cell_id: str) -> Cell:
        instead = ""
        of_files = (self.checkpoints.stored(model) for model in self.settings.models or ())
        stored_modes = [stored.mode for stored in of_files if stored]
        for name, backend, rest in self._splits(cell_id):
            engine = backend_class(backend)
            own = (*engine.modes, *engine.further_modes)
            for mode in dict.fromkeys((*own, *MODES, *OF_CHECKPOINTS, MIXED, *stored_modes)):
                if rest != mode and not rest.startswith(f"{mode}-"):
                    continue
                cell = self._modes.cell(self._named(name, backend, mode), backend, mode)
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

    def _named(self, name: str, backend: str, mode: str) -> Model:
        """Return the model with a name: of several, that whose files have the mode, or the plain one."""

        def of_files(model: Model) -> str:
            stored = self.checkpoints.stored(model)
            return stored.mode if stored else self._modes.cell(model, backend, "none").quantization

        named = [model for model in self.settings.models or () if model.name == name]
        own = [model for model in named if of_files(model) == mode]
        plain = [model for model in named if self.checkpoints.is_plain(model)]
        return (own or plain or named or [parse_model(name)])[0]

    def _splits(self, cell_id: str) -> Iterator[tuple[str, str, str]]:
        """Yield what may be the model, the backend and the rest of a cell's id."""
        for backend in (*names(), *self.settings.variants):
            parts = cell_id.split(f"-{backend}-")
            # A model may be named after an engine.
            for i in range(len(parts) - 1, 0, -1):
                yield f"-{backend}-".join(parts[:i]), backend, f"-{backend}-".join(parts[i:])

    def _remember(self, cell: Cell) -> Cell:
        self._cells[cell.id] = cell
        return cell
