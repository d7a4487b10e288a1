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
from ..core.checkpoint_format import BY_NAME, CheckpointFormat
from ..core.engine import Refusal, Setup
from ..core.errors import BackendError, EngineError
from ..core.models import MISSING_EMBEDDED, Model, embedded_gguf, parse_model
from ..core.printable import printable
from ..core.quantization import ALL, MIXED, MODES, OF_CHECKPOINTS
from ..core.traits import Traits
from ..machine.host import has_accelerator, runs_on_cpu
from .checkpoints import Checkpoints
from .installed import installed_packages_of
from .marker import Wanted, nothing_left
from .model_files import context_of_cell, refusal_of_kind
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

    def __post_init__(self) -> None:
        """Prepare to look at the models' files."""
        self.checkpoints = Checkpoints(self.settings)

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
            for mode in self._modes(wanted, backend, model)
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
        by_engine = "--llm-backend" in typed
        by_mode = "--llm-quant" in typed and cell.quantization in (settings.quantizations or ())
        with suppress(EngineError, BackendError):
            packages = self.packages(cell.backend)
            refusals = [_refused(cell.backend, "refusal", "none", packages)] if by_engine else []
            if cell.is_quantized and (by_engine or by_mode):
                refusals.append(self._refusal(cell, packages))
            elif by_mode:
                refusals.append(_refused(cell.backend, "refusal", cell.quantization, packages))
            return any(refusal and not refusal.by_nature for refusal in refusals)
        return False

    def _has_no_gpu(self) -> bool:
        return self.settings.device.startswith("cuda") and not has_accelerator()

    def _has_no_file(self, cell: Cell) -> bool:
        needs_file = cell.model.kind == "embedded" and self.settings.load_format != "dummy"
        return needs_file and family(cell.backend) != "simulated" and embedded_gguf() is None

    def check_requested(self) -> None:
        """Raise pytest.UsageError if the command line names a pair that can never work."""
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
            for mode in self._modes(Wanted(None, None, None), backend, model):
                if models.setdefault(self._cell(model, backend, mode).id, model) != model:
                    raise pytest.UsageError(
                        f"--llm-model: two models would be called {model.name!r} in test ids; "
                        "name one of them: NAME=PATH"
                    )

    def _check_modes(self) -> None:
        if not self.settings.backends or not self.settings.quantizations:
            return
        reasons = []
        for backend in self.settings.backends:
            for mode in self._asked(Wanted(None, None, None), backend, None) or ("none",):
                if mode in (*OF_CHECKPOINTS, MIXED):
                    return  # It depends on the model.
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
                modes = self._modes(Wanted(None, None, None), backend, model)
                for mode in dict.fromkeys((*modes, *any_mode)):
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
        stored = self.checkpoints.stored(model)
        may_be = stored is None and not self.checkpoints.are_certain(model)
        if may_be and mode in OF_CHECKPOINTS and mode not in backend_class(backend).further_modes:
            stored = CheckpointFormat(mode, BY_NAME)
        return Cell(model, backend, mode, self._traits(model, backend), stored)

    def _refusal(self, cell: Cell, packages: Mapping[str, str]) -> Refusal | None:
        settings, stored, mode = self.settings, cell.stored, cell.quantization
        if refusal := refusal_of_kind(cell, settings.load_format == "dummy"):
            return refusal
        if stored and not cell.is_quantized and self.checkpoints.are_certain(cell.model):
            reason = (
                f"the weights of {cell.model.recorded_source} are {stored.mode}, not {mode}: leave out "
                f"--llm-quant={mode}, or give --llm-quant={stored.mode}"
            )
            return Refusal(reason, by_nature=True)
        setup, backend = self._setup, cell.backend
        refusal = _refused(backend, "refusal", "none" if cell.is_quantized else mode, packages)
        refusal = refusal or _refused(backend, "refusal_of_model", cell.model, mode, setup)
        if refusal is None and cell.is_quantized:
            return _refused(backend, "refusal_of_format", stored, packages, setup)
        return refusal

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

    def _modes(self, wanted: Wanted, backend: str, model: Model) -> tuple[str, ...]:
        """Return the modes of a model that are asked for; its file's own if nothing is asked.

        ``none`` alone is nothing asked, too: nobody wants the engine to quantize.
        """
        asked = self._asked(wanted, backend, model)
        stored = self.checkpoints.stored(model)
        nothing = asked is None or (asked == ("none",) and self.checkpoints.are_certain(model))
        if stored is not None and nothing:
            return (stored.mode,)
        return ("none",) if asked is None else asked

    def _asked(self, wanted: Wanted, backend: str, model: Model | None) -> tuple[str, ...] | None:
        """Return the modes that both test and command line allow; None if both leave the choice open.

        Args:
            model: the model, whose own mode is all there is if it is quantized; None: any model.
        """
        modes, given = wanted.quantizations, self.settings.quantizations
        stored = self.checkpoints.stored(model) if model is not None else None
        everything = (stored.mode,) if stored else backend_class(backend).modes
        if given and ALL in given:
            given = None if modes else everything
        if modes and ALL in modes:
            modes = (*everything, *(m for m in given or () if m not in everything))
        if modes is None or given is None:
            return modes or given
        return tuple(mode for mode in modes if mode in given)

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
                if engine.by_default and not _refused(name, "refusal", "none", self.packages(name)):
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
                cell = self._cell(self._named(name, backend, mode), backend, mode)
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
            return stored.mode if stored else self._cell(model, backend, "none").quantization

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
