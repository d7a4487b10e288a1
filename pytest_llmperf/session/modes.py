"""The quantization modes of a model that a run has, and the cell of each."""

from __future__ import annotations

from ..backends import ask, backend_class
from ..core.cell import Cell
from ..core.checkpoint_format import BY_NAME, CheckpointFormat
from ..core.models import Model
from ..core.quantization import ALL, OF_CHECKPOINTS
from ..core.traits import Traits
from .checkpoints import Checkpoints
from .marker import Wanted
from .options import Settings


class Modes:
    """Decides modes: by the checkpoint, the test's marker and the command line."""

    def __init__(self, settings: Settings, checkpoints: Checkpoints) -> None:
        """Keep both; nothing is read yet."""
        self._settings = settings
        self._checkpoints = checkpoints

    def of(self, wanted: Wanted, backend: str, model: Model) -> tuple[str, ...]:
        """Return the modes of a model that are asked for; its file's own if nothing is asked.

        ``none`` alone is nothing asked, too: nobody wants the engine to quantize.
        """
        asked = self.asked(wanted, backend, model)
        stored = self._checkpoints.stored(model)
        nothing = asked is None or (asked == ("none",) and self._checkpoints.are_certain(model))
        if stored is not None and nothing:
            return (stored.mode,)
        return ("none",) if asked is None else asked

    def asked(self, wanted: Wanted, backend: str, model: Model | None) -> tuple[str, ...] | None:
        """Return the modes that both test and command line allow; None if both leave the choice open.

        Args:
            wanted: what the test's marker asks for.
            backend: an engine, whose modes are the meaning of ``all``.
            model: the model, whose own mode is all there is if it is quantized; None: any model.
        """
        modes, given = wanted.quantizations, self._settings.quantizations
        stored = self._checkpoints.stored(model) if model is not None else None
        everything = (stored.mode,) if stored else backend_class(backend).modes
        if given and ALL in given:
            given = None if modes else everything
        if modes and ALL in modes:
            modes = (*everything, *(m for m in given or () if m not in everything))
        if modes is None or given is None:
            return modes or given
        return tuple(mode for mode in modes if mode in given)

    def cell(self, model: Model, backend: str, mode: str) -> Cell:
        """Return the cell of an asked mode, in which the model's file has the last word.

        Raises:
            BackendError: the backend's class itself fails.
        """
        model = self._checkpoints.located(model)
        mode = ask(backend, "mode_of", str, mode, model)
        stored = self._checkpoints.stored(model)
        may_be = stored is None and not self._checkpoints.are_certain(model)
        if may_be and mode in OF_CHECKPOINTS and mode not in backend_class(backend).further_modes:
            stored = CheckpointFormat(mode, BY_NAME)
        return Cell(model, backend, mode, self._traits(model, backend), stored)

    def _traits(self, model: Model, backend: str) -> Traits:
        args = self._settings.args_of(backend)
        traits: Traits = ask(backend, "traits", Traits, args, model, self._settings.setup)
        return traits
