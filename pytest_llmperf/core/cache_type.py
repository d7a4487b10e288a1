"""The type of the key-value cache that a checkpoint asks for: engines take it where none is given."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .checkpoint import CONFIG, read_optional

_BESIDE = "hf_quant_config.json"
"""The file that ModelOpt writes beside the configuration."""


def cache_type_of_folder(folder: Path) -> str | None:
    """Return ``cache_type_of`` of a checkpoint's folder, by whichever of its files says it."""
    return cache_type_of(read_optional(folder / CONFIG)) or cache_type_of(
        {"quantization_config": read_optional(folder / _BESIDE)}
    )


def cache_type_of(config: Mapping[str, Any]) -> str | None:
    """Return the type of the key-value cache in a model's configuration (``fp8``); None without one.

    Args:
        config: of transformers, with ``quantization_config``, also under ``text_config``.
    """
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, Mapping) else {}):
        quantization = part.get("quantization_config") or part.get("compression_config")
        if isinstance(quantization, Mapping):
            of_modelopt = quantization.get("quantization")
            parts = (quantization, of_modelopt if isinstance(of_modelopt, Mapping) else {})
            for scheme in (p.get(k) for p in parts for k in _KEYS):
                if name := _name(scheme):
                    return name
    return None


_KEYS = ("kv_cache_scheme", "kv_cache_quant_algo")


def _name(scheme: object) -> str | None:
    if isinstance(scheme, str):
        return scheme.lower()
    if not isinstance(scheme, Mapping) or not scheme:
        return None
    kind, bits = str(scheme.get("type", "float")), scheme.get("num_bits", 8)
    if kind != "float":
        return f"{kind}{bits}"
    return "nvfp4" if bits == 4 else f"fp{bits}"
