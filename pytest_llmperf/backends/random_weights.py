"""An architecture with random weights, to measure speed and memory without a download."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.engine import EngineSpec
from .hub import own_code, text_model

_POOL = 1 << 20


def build(spec: EngineSpec, dtype: Any, device: str) -> Any:
    """Return a transformers model made only from its configuration, with seeded, finite weights.

    Args:
        spec: the requested load; its model is a folder with config.json, or a hub id.
        dtype: a torch dtype.
        device: the device to build it on, ``cpu`` or ``cuda:0``.
    """
    import torch
    from transformers import AutoConfig
    from transformers.initialization import no_init_weights

    code = own_code(spec)
    config = AutoConfig.from_pretrained(spec.model, revision=spec.revision, **code)
    with no_init_weights(), torch.device(device):
        built = text_model("from_config", config, dtype=dtype, **code)
    built.tie_weights()
    _fill(built)
    return built


def save(spec: EngineSpec, dtype: Any, folder: Path) -> None:
    """Write such a model as a checkpoint, for loaders that only read checkpoints."""
    build(spec, dtype, "cpu").save_pretrained(folder)


def _fill(model: Any) -> None:
    """Fill the weights from one small pool, because drawing 7 billion numbers would take minutes."""
    import torch

    generator = torch.Generator().manual_seed(0)
    pool = torch.randn(_POOL, generator=generator) * 0.02
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
                continue
            flat = parameter.view(-1)
            piece = pool.to(device=parameter.device, dtype=parameter.dtype)
            for begin in range(0, flat.numel(), _POOL):
                part = flat[begin : begin + _POOL]
                part.copy_(piece[: part.numel()])
