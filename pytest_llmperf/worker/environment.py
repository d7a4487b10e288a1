"""The environment variables of an engine, which it reads when it is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from ..core.engine import EngineSpec


def prepare_environment(spec: EngineSpec) -> None:
    """Set the environment variables that engines read when they are imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if spec.local:
        os.environ["HF_HUB_OFFLINE"] = "1"
        _update_hub_library()
    if spec.threads:
        os.environ["OMP_NUM_THREADS"] = str(spec.threads)
        os.environ["MKL_NUM_THREADS"] = str(spec.threads)


def changed_since(before: Mapping[str, str]) -> dict[str, str | None]:
    """Return the earlier value of each environment variable that has changed; None if it was not set."""
    names = {*before, *os.environ}
    return {name: before.get(name) for name in names if before.get(name) != os.environ.get(name)}


def restore_environment(values: Mapping[str, str | None]) -> None:
    """Restore variables: without isolation this is pytest's process, and another model may follow."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _update_hub_library()


def _update_hub_library() -> None:
    """Apply HF_HUB_OFFLINE to a hub library that is already imported and reads it only once."""
    constants: Any = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        setting = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
        constants.HF_HUB_OFFLINE = setting.upper() in ("1", "ON", "YES", "TRUE")
