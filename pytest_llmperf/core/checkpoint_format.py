"""The quantization mode of a checkpoint, from its configuration: the format of its linear weights.

Sources of the forms: transformers' ``quantization_config``, compressed-tensors' ``config_groups``,
ModelOpt's ``hf_quant_config.json``, and the files that AutoGPTQ and AutoAWQ wrote beside config.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoint import CONFIG, read_config, read_object
from .quantization import MIXED

BY_NAME = "by name"
"""Method of a format that only a name promises."""
_KEYS = ("quantization_config", "compression_config")
_MODELOPT_FILE = "hf_quant_config.json"
_OLD_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
_MODELOPT = {
    "FP8": "fp8-static",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8-channel",
    "FP8_PB_WO": "fp8-block",
    "FP8_PB_REAL": "fp8-block",
    "NVFP4": "nvfp4",
    "NVFP4_AWQ": "nvfp4",
    "W4A16_NVFP4": "nvfp4a16",
    "MXFP8": "mxfp8",
    "INT4_AWQ": "awq-int4",
    "W4A16_AWQ": "awq-int4",
    "W4A8_AWQ": "w4a8",
    "W8A8_SQ_PER_CHANNEL": "w8a8",
    "INT8_SQ": "w8a8",
    "MIXED_PRECISION": MIXED,
}
_TORCHAO = {
    "int8weightonly": "ao-int8wo",
    "int8dynamicactivationint8weight": "ao-int8dq",
    "int8dynamicactivationint4weight": "ao-int4dq",
    "int4weightonly": "ao-int4wo",
    "float8weightonly": "ao-fp8wo",
    "float8dynamicactivationfloat8weight": "ao-fp8dq",
}
_BY_BITS = {
    "awq": "awq",
    "gptq": "gptq",
    "auto-round": "auto-round",
    "intel/auto-round": "auto-round",
}
# What people put into the names of repositories; the first that matches counts.
_HINTS = (
    (r"nvfp4a16", "nvfp4a16"),
    (r"nvfp4", "nvfp4"),
    (r"mxfp4", "mxfp4"),
    (r"bnb-4bit|nf4", "nf4"),
    (r"bnb-8bit", "int8"),
    (r"gptq-int8|gptq-8bit", "gptq-int8"),
    (r"gptq", "gptq-int4"),
    (r"awq", "awq-int4"),
    (r"fp8-dynamic", "fp8-channel"),
    (r"fp8-block", "fp8-block"),
    (r"quantized\.w8a8|w8a8", "w8a8"),
    (r"quantized\.w4a16|w4a16", "w4a16"),
    (r"fp8", "fp8"),
)


@dataclass(frozen=True)
class CheckpointFormat:
    """How a checkpoint's linear weights are stored."""

    mode: str
    """Its name in ids."""
    method: str
    """The library or layout (``awq``, ``compressed-tensors``, ``fp8``, ...), or ``BY_NAME``."""
    group_size: int | None = None
    """Weights that share a scale; None where they are not in groups, or it is not said."""


def format_of_folder(folder: Path) -> CheckpointFormat | None:
    """Return the format of a checkpoint in a folder; None if its weights are not quantized.

    Raises:
        ValueError: a configuration cannot be read; one line.
    """
    found = format_of_config(read_config(folder)) if (folder / CONFIG).exists() else None
    if found:
        return found
    if (folder / _MODELOPT_FILE).exists():
        return _format({"quant_method": "modelopt", **read_object(folder / _MODELOPT_FILE)})
    for name, method in _OLD_FILES.items():
        if (folder / name).exists():
            return _format({"quant_method": method, **read_object(folder / name)})
    return None


def format_of_config(config: Mapping[str, Any]) -> CheckpointFormat | None:
    """Return the format that a configuration of transformers declares; None if it declares none."""
    text_config = config.get("text_config")
    for part in (config, text_config if isinstance(text_config, Mapping) else {}):
        for key in _KEYS:
            declared = part.get(key)
            if isinstance(declared, Mapping) and declared:
                return _format(declared)
    return None


def mode_of_config(config: Mapping[str, Any]) -> str:
    """Return the mode of a loaded model's configuration; ``none`` if it declares no quantization."""
    found = format_of_config(config)
    return found.mode if found else "none"


def format_by_name(repository: str) -> CheckpointFormat | None:
    """Return the format that a repository's name promises; the load then shows whether it is true."""
    name = re.sub(r"[_ ]", "-", repository.rpartition("/")[2].lower())
    for pattern, mode in _HINTS:
        if re.search(rf"(?:^|[-.])(?:{pattern})(?:$|[-.])", name):
            return CheckpointFormat(mode, BY_NAME)
    return None


def _format(declared: Mapping[str, Any]) -> CheckpointFormat | None:
    named = declared.get("quant_method")
    # Loaded, transformers has it as an enumeration.
    method = str(getattr(named, "value", named) or "").lower()
    if not method:
        method = _method_of(declared)
    mode = _mode(method, declared)
    return CheckpointFormat(mode, method, _group_size(declared)) if mode else None


def _method_of(declared: Mapping[str, Any]) -> str:
    """Return the method of a configuration that does not name it."""
    if declared.get("load_in_8bit") or declared.get("load_in_4bit"):
        return "bitsandbytes"
    if "config_groups" in declared:
        return "compressed-tensors"
    return "modelopt" if "quant_algo" in declared or "quantization" in declared else "unknown"


def _mode(method: str, declared: Mapping[str, Any]) -> str | None:
    if method == "bitsandbytes":
        return _bitsandbytes(declared)
    if method in ("compressed-tensors", "compressed_tensors"):
        return _compressed(declared)
    if method.startswith("modelopt"):
        return _modelopt(declared)
    if method == "fp8":
        if declared.get("weight_block_size"):
            return "fp8-block"
        return "fp8-static" if declared.get("activation_scheme") == "static" else "fp8"
    if method == "torchao":
        return _torchao(declared.get("quant_type"))
    if method in _BY_BITS:
        return f"{_BY_BITS[method]}-int{_number(declared, 'bits', 'w_bit') or 4}"
    if method == "hqq":
        nested = [v for v in _mappings(declared.get("quant_config")) if _number(v, "nbits")]
        return (
            f"hqq-int{_number(declared, 'nbits') or (_number(nested[0], 'nbits') if nested else 4)}"
        )
    if method == "quanto":
        weights = str(declared.get("weights") or "").replace("float", "fp")
        return f"quanto-{weights}" if re.fullmatch(r"(int|fp)\d+", weights) else "quanto"
    return re.sub(r"[^a-z0-9]+", "-", method).strip("-") or "unknown"


def _bitsandbytes(declared: Mapping[str, Any]) -> str | None:
    if declared.get("load_in_8bit") or declared.get("_load_in_8bit"):
        return "int8"
    if not (declared.get("load_in_4bit") or declared.get("_load_in_4bit")):
        return None
    four_bit_type = "nf4" if declared.get("bnb_4bit_quant_type") == "nf4" else "fp4"
    return f"{four_bit_type}-dq" if declared.get("bnb_4bit_use_double_quant") else four_bit_type


def _modelopt(declared: Mapping[str, Any]) -> str | None:
    inner = declared.get("quantization")
    algorithm = (inner if isinstance(inner, Mapping) else declared).get("quant_algo")
    if not isinstance(algorithm, str) or algorithm in ("", "NO_QUANT"):
        return _compressed(declared) if declared.get("config_groups") else None
    name = algorithm.upper()
    return _MODELOPT.get(name) or re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _torchao(quant_type: Any) -> str:
    types = quant_type
    if isinstance(quant_type, Mapping) and "_type" not in quant_type:
        types = list(quant_type.values())
    found = {_torchao_name(one) for one in (types if isinstance(types, list) else [types])}
    return found.pop() if len(found) == 1 else MIXED


def _torchao_name(one: Any) -> str:
    named = one.get("_type") if isinstance(one, Mapping) else one
    text = re.sub(r"[^a-z0-9]", "", str(named or "").lower()).removesuffix("config")
    return _TORCHAO.get(text, f"ao-{text}" if text else "torchao")


def _compressed(declared: Mapping[str, Any]) -> str | None:
    """Return the mode of compressed-tensors' groups of layers; None if none of them has its weights."""
    groups = list(_mappings(declared.get("config_groups")))
    found = {name for group in groups if (name := _of_group(group))}
    if not found:
        return None
    return found.pop() if len(found) == 1 else MIXED


def _of_group(group: Mapping[str, Any]) -> str | None:
    weights, activations = group.get("weights"), group.get("input_activations")
    if not isinstance(weights, Mapping):
        return None
    bits = _number(weights, "num_bits") or 8
    act = activations if isinstance(activations, Mapping) else None
    act_bits = (_number(act, "num_bits") or 8) if act else 16
    if weights.get("type", "int") != "float":
        return f"w{bits}a{act_bits}"
    size = _number(weights, "group_size")
    if bits == 4:
        family = "mxfp4" if size == 32 else "nvfp4"
        weights_only = family == "nvfp4" and act_bits == 16
        return f"{family}a16" if weights_only else family
    if bits != 8:
        return f"fp{bits}a{act_bits}"
    if size == 32:
        return "mxfp8"
    strategy = weights.get("strategy")
    if strategy == "block":
        return "fp8-block"
    if act is None:
        return "fp8a16"
    if act_bits != 8:
        return f"fp8a{act_bits}"
    if strategy == "channel":
        return "fp8-channel"
    return "fp8" if act.get("dynamic") else "fp8-static"


def _group_size(declared: Mapping[str, Any]) -> int | None:
    parts = [declared, *_mappings(declared.get("quantization"))]
    inner = declared.get("quantization")
    parts += [inner] if isinstance(inner, Mapping) else []
    for group in _mappings(declared.get("config_groups")):
        weights = group.get("weights")
        parts += [weights] if isinstance(weights, Mapping) else []
    for part in parts:
        size = _number(part, "group_size", "q_group_size")
        if size and size > 0:
            return size
    return None


def _mappings(value: Any) -> Iterator[Mapping[str, Any]]:
    for inner in value.values() if isinstance(value, Mapping) else ():
        if isinstance(inner, Mapping):
            yield inner


def _number(part: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = part.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None
