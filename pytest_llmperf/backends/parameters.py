"""The parameters of a model as its configuration describes them, whatever its checkpoint packs."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.units import MIB
from ..core.weights import Weights
from .tensors import counted


@dataclass(frozen=True)
class Parameters:
    """The numbers of a model without quantization."""

    total: int
    linear: int
    """Weights of linear layers, experts included."""


def of_config(config: Any, code: Mapping[str, bool]) -> Parameters | None:
    """Return the parameters of a configuration; None if this transformers cannot build such a model.

    The model is built without memory, which takes some hundredths of a second.

    Args:
        config: a configuration of transformers.
        code: the argument that allows the model's own code; see ``hub.own_code``.
    """
    import torch
    from transformers import AutoModelForCausalLM

    try:
        plain = copy.deepcopy(config)
        for part in (plain, getattr(plain, "text_config", plain)):
            if hasattr(part, "quantization_config"):
                del part.quantization_config
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(plain, **code)
        model.tie_weights()
    except Exception:
        # An engine may know models that transformers does not, and it is not asked for this one.
        return None
    counts = counted(model)
    return Parameters(counts["parameters"], sum(counts["unquantized"].values()))


def total(counts: Mapping[str, Any], parameters: Parameters | None) -> int | None:
    """Return the number of parameters; None if what is in memory is packed and nothing else is known."""
    if parameters:
        return parameters.total
    return None if counts["quantized_layers"] else int(counts["parameters"])


def together(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the counts of a model that several workers share."""
    first, *others = parts
    whole = dict(first)
    for part in others:
        for key, value in part.items():
            whole[key] = (
                dict(Counter(whole[key]) + Counter(value))
                if isinstance(value, Mapping)
                else whole[key] + value
            )
    return whole


def weights(counts: Mapping[str, Any], parameters: Parameters | None) -> Weights | None:
    """Return the weights of an engine, or None without a number to compare them with.

    Args:
        counts: what ``tensors.counted`` returned, over all workers.
        parameters: of the model without quantization.
    """
    if parameters is None or not parameters.linear:
        return None
    kept = counts["unquantized"]
    return Weights(
        linear_parameters=parameters.linear,
        linear_bytes=float(counts["linear_bytes"]),
        # Workers that share a model may each have a copy of a layer.
        unquantized_share=min(1.0, sum(kept.values()) / parameters.linear),
        unquantized_type=max(kept, key=kept.__getitem__) if kept else None,
        places={place: size / MIB for place, size in counts["places"].items()},
    )
