"""Files from a model hub: GGUF files and tokenizers."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..core.engine import EngineSpec
from ..core.progress import Progress


def downloaded_gguf(spec: EngineSpec, report: Progress) -> EngineSpec:
    """Return the spec with a GGUF file on this machine; download it if it is on the hub."""
    if spec.local:
        return spec
    report("download", 0, 0)
    from huggingface_hub import hf_hub_download

    organisation, name, file = spec.model.split("/", 2)
    path = hf_hub_download(f"{organisation}/{name}", file, revision=spec.revision)
    return replace(spec, model=path, local=True, revision=_commit_of(path))


def resolved_revision(spec: EngineSpec) -> str | None:
    """Return the commit of the loaded snapshot; None if the model is not from a hub.

    Call this after the load: a branch such as ``main`` moves, and the cache knows where to.
    """
    if spec.local:
        return spec.revision or _commit_of(os.path.realpath(spec.model)) or _commit_of(spec.model)
    from huggingface_hub import try_to_load_from_cache

    folder = spec.args.get("cache_dir") or spec.args.get("download_dir")
    path = try_to_load_from_cache(
        spec.model, "config.json", cache_dir=folder, revision=spec.revision
    )
    return _commit_of(path) if isinstance(path, str) else None


def _commit_of(path: str) -> str | None:
    """Return the commit of a path in the hub library's cache: .../snapshots/COMMIT/FILE."""
    found = _SNAPSHOT.search(path)
    return found[1] if found else None


_SNAPSHOT = re.compile(r"/models--[^/]+/snapshots/([0-9a-f]{40})(?:/|$)")


class HubTokenizer:
    """``encode`` and ``decode`` for engines with a tokenizer of transformers."""

    _tokenizer: Any
    """None with random weights."""

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text)["input_ids"]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text
