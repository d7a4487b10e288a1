"""How the checkpoints of a run's models are quantized, and which of a name is the unquantized one."""

from __future__ import annotations

import os
from contextlib import suppress

from ..core.checkpoint_format import CheckpointFormat
from ..core.gguf import UNQUANTIZED
from ..core.models import Model
from .options import Settings


class Checkpoints:
    """Looks at the files of each model once: in its folder, or in the hub's cache."""

    def __init__(self, settings: Settings) -> None:
        """Remember the settings; nothing is read yet."""
        self._settings = settings
        self._located: dict[Model, Model] = {}
        self._found: dict[Model, tuple[CheckpointFormat | None, bool]] = {}

    def located(self, model: Model) -> Model:
        """Return a model that knows the folder of its configuration, as its engine will read it."""
        if model not in self._located:
            shipped = self._settings.setup.random_weights and model.shipped_config
            revision = self._settings.revision
            self._located[model] = model if shipped else model.located(revision, os.environ)
        return self._located[model]

    def stored(self, model: Model) -> CheckpointFormat | None:
        """Return how a model's checkpoint is quantized; None if it is not, or if that is not known."""
        return self._look(model)[0]

    def are_certain(self, model: Model) -> bool:
        """Return whether the files of a model are here, so that they say how it is quantized."""
        return self._look(model)[1]

    def is_plain(self, model: Model) -> bool:
        """Return whether a model is not quantized, as far as its files or its name say it."""
        with suppress(ValueError):  # Whoever loads the file says what is wrong.
            return self.stored(model) is None and model.gguf_type in (None, *UNQUANTIZED)
        return False

    def unquantized(self, model: Model) -> Model:
        """Return the model of this name that others are compared with: itself, if there is no other."""
        if self.is_plain(model):
            return model
        named = (other for other in self._settings.models or () if other.name == model.name)
        return next((other for other in named if self.is_plain(other)), model)

    def _look(self, model: Model) -> tuple[CheckpointFormat | None, bool]:
        if model not in self._found:
            self._found[model] = self.located(model).stored
        return self._found[model]
