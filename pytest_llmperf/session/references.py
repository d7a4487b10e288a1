"""The folder of an unquantized model's distributions, for KL divergence and agreement."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..backends.conversion import file_digest, folder_digest
from ..core.models import Model

# Part of a digest: raise it when the format of the files changes.
_VERSION = 1


def references_of(model: Model, revision: str | None, cache: Path) -> Path:
    """Return the folder of a model's distributions: the same for every engine and mode of it.

    Args:
        revision: revision of a hub model, where it is known.
        cache: ``--llm-cache-dir``.
    """
    path = model.gguf or Path(model.source)
    if path.is_dir():
        content = folder_digest(path, _VERSION)
    elif path.is_file():
        content = file_digest(path, _VERSION)
    else:
        name = f"{model.source}@{revision or 'main'}"
        content = hashlib.sha256(name.encode()).hexdigest()[:12]
    return cache / "references" / f"{model.name}-{content}"
