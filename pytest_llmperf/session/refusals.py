"""Why a cell cannot run here, before anything loads, and whether the command line asked for it."""

from __future__ import annotations

from contextlib import suppress
from types import NoneType
from typing import Any

from ..backends import ask, family
from ..core.cell import Cell
from ..core.engine import Refusal
from ..core.errors import BackendError, EngineError
from ..core.models import MISSING_EMBEDDED, embedded_gguf
from ..core.printable import printable
from ..machine.host import has_accelerator
from .checkpoints import Checkpoints
from .installed import Packages
from .model_files import refusal_of_kind
from .options import Settings


class Refusals:
    """Asks the backends, the models' files and the machine."""

    def __init__(self, settings: Settings, packages: Packages, checkpoints: Checkpoints) -> None:
        """Keep what is asked; nothing is read yet."""
        self._settings = settings
        self._packages = packages
        self._checkpoints = checkpoints

    def of(self, cell: Cell) -> Refusal | None:
        """Return why a cell's engine cannot run it, or None.

        Raises:
            BackendError: the backend's class itself fails.
            EngineError: the engine's interpreter cannot be run.
        """
        packages, setup = self._packages.of(cell.backend), self._settings.setup
        stored, mode, backend = cell.stored, cell.quantization, cell.backend
        if refusal := refusal_of_kind(cell, setup.random_weights):
            return refusal
        if stored and not cell.is_quantized and self._checkpoints.are_certain(cell.model):
            reason = (
                f"the weights of {cell.model.recorded_source} are {stored.mode}, not {mode}: leave out "
                f"--llm-quant={mode}, or give --llm-quant={stored.mode}"
            )
            return Refusal(reason, by_nature=True)
        refusal = refusal_by(backend, "refusal", "none" if cell.is_quantized else mode, packages)
        refusal = refusal or refusal_by(backend, "refusal_of_model", cell.model, mode, setup)
        if refusal is None and cell.is_quantized:
            return refusal_by(backend, "refusal_of_format", stored, packages, setup)
        return refusal

    def problem(self, cell: Cell) -> str | None:
        """Return why a cell cannot run here, as far as that is known before it loads, or None.

        Raises:
            BackendError: the backend's class itself fails.
        """
        try:
            refusal = self.of(cell)
        except EngineError as error:
            return str(error)
        if refusal:
            return printable(refusal.reason)
        if self._has_no_gpu():
            return f"this machine has no GPU (--llm-device={self._settings.device})"
        return MISSING_EMBEDDED if self._has_no_file(cell) else None

    def is_named(self, cell: Cell) -> bool:
        """Return whether the command line itself names what is missing to run a cell.

        Ini values and defaults are for every machine; who types a name wants it here and now.
        """
        typed, settings = self._settings.typed, self._settings
        if "--llm-device" in typed and self._has_no_gpu():
            return True
        if "--llm-model" in typed and self._has_no_file(cell):
            return True
        by_engine = "--llm-backend" in typed
        by_mode = "--llm-quant" in typed and cell.quantization in (settings.quantizations or ())
        with suppress(EngineError, BackendError):
            packages = self._packages.of(cell.backend)
            refusals = [refusal_by(cell.backend, "refusal", "none", packages)] if by_engine else []
            if cell.is_quantized and (by_engine or by_mode):
                refusals.append(self.of(cell))
            elif by_mode:
                refusals.append(refusal_by(cell.backend, "refusal", cell.quantization, packages))
            return any(refusal and not refusal.by_nature for refusal in refusals)
        return False

    def nothing_is_missing(self, cell: Cell) -> bool:
        """Return whether the run named no engines and this one can run the cell on no machine.

        Such a cell is left out, whatever ``--llm-require`` says.
        """
        if self._settings.backends:
            return False
        with suppress(EngineError, BackendError):
            refusal = self.of(cell)
            return refusal is not None and refusal.by_nature
        return False

    def _has_no_gpu(self) -> bool:
        return self._settings.device.startswith("cuda") and not has_accelerator()

    def _has_no_file(self, cell: Cell) -> bool:
        needs_file = cell.model.kind == "embedded" and self._settings.load_format != "dummy"
        return needs_file and family(cell.backend) != "simulated" and embedded_gguf() is None


def refusal_by(backend: str, method: str, *arguments: Any) -> Refusal | None:
    """Return the refusal of a backend's class, or None.

    Raises:
        BackendError: the method fails.
    """
    refusal: Refusal | None = ask(backend, method, (Refusal, NoneType), *arguments)
    return refusal
