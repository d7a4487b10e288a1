"""Quantization in vLLM: what it makes of a plain checkpoint, by which argument, and what it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..core.checkpoint_format import format_of_config
from ..core.engine import EngineSpec, Refusal
from .online import TORCHAO, TORCHAO_MODES, OnlineMode, table, torchao_config

_BY_ARGUMENT = "quantization"
ONLINE = table(
    OnlineMode("nf4", {_BY_ARGUMENT: "bitsandbytes"}),
    OnlineMode("fp8", {_BY_ARGUMENT: "fp8"}, on_cpu=False),
    OnlineMode("fp8-channel", {_BY_ARGUMENT: "fp8_per_channel"}, since=(0, 32)),
    OnlineMode("fp8-block", {_BY_ARGUMENT: "fp8_per_block"}, since=(0, 20), on_cpu=False),
    OnlineMode("mxfp8", {_BY_ARGUMENT: "mxfp8"}, since=(0, 20), on_cpu=False),
    OnlineMode("mxfp4", {_BY_ARGUMENT: "mxfp4"}, since=(0, 29), on_cpu=False),
    *TORCHAO_MODES,
)
"""vLLM's modes that it makes of a plain checkpoint."""
NO_CPU_KERNELS = ("fp8", "fp8-static", "fp8-block", "mxfp8", "mxfp4", "nvfp4", "nvfp4a16")
"""Formats of checkpoints that vLLM's CPU build cannot run."""
_OLD_NAMES = {"fp8_per_tensor": "fp8"}
# They only choose among kernels for a checkpoint that is quantized already.
_KERNELS = (
    "auto_awq",
    "auto_gptq",
    "awq",
    "awq_marlin",
    "compressed-tensors",
    "gptq",
    "gptq_marlin",
    "humming",
    "modelopt",
    "modelopt_fp4",
    "moe_wna16",
)
_OBJECTS = ("quantization_config", "hf_overrides")


def online_arguments(mode: str) -> dict[str, Any]:
    """Return the engine's arguments for a mode that it makes itself; empty for ``none``."""
    if mode in TORCHAO:
        from torchao.core.config import config_to_dict

        text = json.dumps(config_to_dict(torchao_config(mode)))
        overrides = {"quantization_config_dict_json": text}
        return {_BY_ARGUMENT: "torchao", "hf_overrides": overrides}
    return dict(ONLINE[mode].arguments) if mode in ONLINE else {}


def refusal_of_quantization(args: Mapping[str, Any]) -> Refusal | None:
    """Return why an argument that quantizes is refused, with the mode to write instead, or None."""
    asked = args.get(_BY_ARGUMENT)
    if isinstance(asked, str) and asked not in _KERNELS:
        mode = _mode_by_argument(asked)
        known = f"give --llm-quant={mode}" if mode else "no mode here has this name"
        reason = f"{known}: a mode is part of the test id"
        return Refusal(f"vllm.{_BY_ARGUMENT}={asked}: {reason}", by_nature=True)
    for name in _OBJECTS:
        if "quant" in str(args.get(name) or "").lower():
            reason = "give --llm-quant: a mode is part of the test id"
            return Refusal(f"vllm.{name}: {reason}", by_nature=True)
    return None


def mode_of(model_config: Any, spec: EngineSpec) -> str:
    """Return the quantization mode that vLLM runs, by its name in ids.

    Args:
        model_config: vLLM's own configuration of the loaded model.
        spec: the requested load.
    """
    stored = format_of_config(model_config.hf_config.to_dict())
    if stored is not None:
        return stored.mode
    method = model_config.quantization
    if method is None:
        return "none"
    if method == "torchao" or spec.is_quantized:
        # torchao's own configuration was given, or it is in a file beside config.json.
        return spec.quantization
    return _mode_by_argument(str(method)) or str(method).replace("_", "-")


def _mode_by_argument(argument: str) -> str | None:
    name = _OLD_NAMES.get(argument, argument)
    for mode, online in ONLINE.items():
        if online.arguments.get(_BY_ARGUMENT) == name:
            return mode
    return None
