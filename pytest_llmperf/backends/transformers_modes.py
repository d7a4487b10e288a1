"""Quantization in transformers: what it makes of a plain checkpoint, and which checkpoints it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..core.checkpoint_format import BY_NAME, CheckpointFormat, mode_of_config
from ..core.engine import EngineSpec, Refusal, Setup
from ..core.quantization import MODES
from .online import TORCHAO, TORCHAO_MODES, table, torchao_config

if TYPE_CHECKING:
    import torch

# What a checkpoint of each method needs beside transformers itself. A method that is not known to
# transformers 5 is not refused there: its scales are left out, and the numbers are garbage.
METHODS = {
    "auto-round": "auto-round",
    "awq": "gptqmodel",
    "bitnet": "",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "eetq": "eetq",
    "fbgemm_fp8": "fbgemm-gpu-genai",
    "fp8": "",
    "fp_quant": "fp-quant",
    "gptq": "gptqmodel",
    "higgs": "flute-kernel",
    "mxfp4": "",
    "quanto": "optimum-quanto",
    "sinq": "sinq",
    "spqr": "spqr-quant",
    "torchao": "torchao",
    "vptq": "vptq",
    BY_NAME: "",
}
ONLINE = table(*TORCHAO_MODES)
"""Modes beside those of bitsandbytes."""


def refusal_of_format(
    stored: CheckpointFormat, packages: Mapping[str, str], setup: Setup
) -> Refusal | None:
    """Return why transformers cannot load a checkpoint that is quantized like this, or None."""
    if setup.random_weights:
        reason = f"transformers makes random weights for plain models only, not in {stored.mode}"
    elif stored.method not in METHODS or (stored.method == "fp8" and stored.mode != "fp8-block"):
        reason = f"transformers does not read {stored.mode} as {stored.method} stores it"
    elif (package := METHODS[stored.method]) and package not in packages:
        return Refusal(f"{stored.mode} needs {package}: pip install {package}", by_nature=False)
    else:
        return None
    return Refusal(reason, by_nature=True)


def refusal_of_quantization(args: Mapping[str, Any]) -> Refusal | None:
    """Return why an argument that quantizes is refused, with the mode to write instead, or None."""
    asked = {name: args[name] for name in ("load_in_8bit", "load_in_4bit") if args.get(name)}
    config = args.get("quantization_config") or asked
    if not config:
        return None
    mode = (
        mode_of_config({"quantization_config": config}) if isinstance(config, Mapping) else "none"
    )
    known = f"={mode}" if mode != "none" else ""
    name = "quantization_config" if args.get("quantization_config") else min(asked)
    reason = f"give --llm-quant{known}: a mode is part of the test id"
    return Refusal(f"transformers.{name}: {reason}", by_nature=True)


def quantization_config(spec: EngineSpec, dtype: torch.dtype) -> Any:
    """Return transformers' configuration of the mode that it makes while it loads; None for ``none``."""
    from transformers import BitsAndBytesConfig, TorchAoConfig

    if spec.online_mode in TORCHAO:
        return TorchAoConfig(quant_type=torchao_config(spec.online_mode))
    mode = MODES[spec.online_mode]
    if mode.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    if mode.bits == 4:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=mode.four_bit_type,
            bnb_4bit_use_double_quant=mode.double_quant,
            bnb_4bit_compute_dtype=dtype,
        )
    return None
