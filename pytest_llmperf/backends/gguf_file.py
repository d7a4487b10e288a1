"""Engines that run a GGUF file directly: the type of its weights is the quantization mode."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.architecture import Architecture
from ..core.context import context_of_gguf
from ..core.engine import EngineSpec, Refusal, Setup
from ..core.gguf import FILE_TYPES, OTHER, file_type, header
from ..core.gguf_shards import whole_header
from ..core.progress import Progress
from ..core.traits import Traits, cache_trait, in_id
from ..core.units import MIB
from ..core.weights import Weights
from ..machine.host import visible_gpus
from ..machine.memory import DeviceMemory
from .base import Backend
from .contract import Contract
from .hub import downloaded_gguf

if TYPE_CHECKING:
    from ..core.models import Model

CACHE_BYTES = {
    0: 4,
    1: 2,
    2: 18 / 32,
    3: 20 / 32,
    6: 22 / 32,
    7: 24 / 32,
    8: 34 / 32,
    20: 18 / 32,
    30: 2,
}
"""Bytes per number in the key-value pool, by ggml type: whole blocks with their scales."""
_CACHE_TYPES = {
    0: "f32",
    1: "f16",
    2: "q4_0",
    3: "q4_1",
    6: "q5_0",
    7: "q5_1",
    8: "q8_0",
    20: "iq4_nl",
    30: "bf16",
}
"""Names of the types that llama.cpp takes for the key-value pool, by ggml type."""
_DEFAULT_CACHE = 1
_FLOATS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
_FLOAT_TENSORS = {0: "float32", 1: "float16", 30: "bfloat16"}
"""Names in torch, by ggml type."""
_TABLES = ("token_embd.weight", "position_embd.weight", "output.weight")


class GgufBackend(Backend):
    """The common part of llama.cpp's bindings: modes, refusals, and the source of the file."""

    further_modes = (*FILE_TYPES.values(), OTHER)
    peak_by_driver = True
    tells_architecture = True
    # The embedding table of the embedded model's file is Q8_0: 34 bytes for 32 weights.
    contract = Contract(weights_mib={"q4_1": (92, 93)}, products={"q4_1": (None, 34 / 32)})

    cache_args: ClassVar[tuple[str, str]]
    """Names of the arguments for the types of keys and values in the pool."""

    @classmethod
    def traits(cls, args: Mapping[str, Any], model: Model, setup: Setup) -> Traits:
        types = [args.get(name, _DEFAULT_CACHE) for name in cls.cache_args]
        speculates = any(name.partition(".")[0] == "speculative" for name in args)
        return Traits(cache=_cache(*types), speculation="spec" if speculates else "")

    @classmethod
    def mode_of(cls, quantization: str, model: Model) -> str:
        # The engine quantizes nothing: the weights keep the type that they have in the file.
        weights_type = model.gguf_type
        return weights_type if weights_type and quantization == "none" else quantization

    @classmethod
    def refusal_of_mode(cls, quantization: str, packages: Mapping[str, str]) -> Refusal | None:
        if super().refusal_of_mode(quantization, packages) is None:
            return None
        return Refusal(
            f"llama.cpp cannot quantize to {quantization}: it runs a GGUF file in the file's own type",
            by_nature=True,
        )

    @classmethod
    def refusal_of_model(cls, model: Model, quantization: str, setup: Setup) -> Refusal | None:
        weights_type = model.gguf_type
        if weights_type is None:
            reason = f"llama.cpp reads GGUF files, and {model.name} is not one"
        elif setup.random_weights:
            reason = (
                "llama.cpp takes its weights from the GGUF file: --llm-load-format=dummy has none"
            )
        elif setup.dtype != "auto":
            reason = f"llama.cpp chooses its compute types: leave out --llm-dtype={setup.dtype}"
        elif quantization != weights_type:
            reason = (
                f"the weights of {model.recorded_source} are {weights_type}, not {quantization}"
            )
        else:
            return None
        return Refusal(reason, by_nature=True)

    @classmethod
    def ready(cls, spec: EngineSpec, cache: Path, packages: Mapping[str, str]) -> EngineSpec | None:
        return spec if spec.local else None

    @classmethod
    def prepare(cls, spec: EngineSpec, cache: Path, report: Progress) -> EngineSpec:
        return downloaded_gguf(spec, report)

    def _use_gpu(self, spec: EngineSpec, available: bool) -> bool:
        """Return whether layers go to a GPU; if so, start to count its memory.

        Args:
            spec: the requested load.
            available: whether this build can use a GPU.

        Raises:
            ValueError: a GPU is requested, but not available.
        """
        if spec.device.startswith("cuda") and not available:
            raise ValueError(
                f"this {self.distributions[0]} is a CPU build; --llm-device={spec.device} needs another"
            )
        on_gpu = spec.device != "cpu" and available
        self._device_memory = DeviceMemory() if on_gpu else None
        return on_gpu


def device_name(spec: EngineSpec, on_gpu: bool) -> str:
    """Return the value for ``EngineInfo.device``."""
    if not on_gpu:
        return "cpu"
    return spec.device if ":" in spec.device else "cuda:0"


def cpu_threads(count: int, on_gpu: bool) -> int | None:
    """Return the value for ``EngineInfo.threads``; below 1, llama.cpp chooses the number itself."""
    return None if on_gpu or count <= 0 else count


def memory_mib(weights: float, pool: float) -> dict[str, float]:
    """Return ``EngineInfo.memory`` from bytes; a pool of 0 bytes is unknown."""
    memory = {"model_memory": weights / MIB}
    return memory | {"kv_cache_memory": pool / MIB} if pool else memory


def described(path: Path, on_gpu: bool, key_type: int, value_type: int) -> dict[str, Any]:
    """Return fields of ``EngineInfo``: those of the file's header, and the pool's trait.

    Args:
        path: the GGUF file.
        on_gpu: whether layers are on a GPU.
        key_type: ggml type of the keys in the pool.
        value_type: ggml type of the values in the pool.
    """
    architecture, value_bytes = _architecture(path), _value_bytes(key_type, value_type)
    of_file: dict[str, Any] = {
        "context": context_of_gguf(header(path).values),
        "weights": weights(path),
        "traits": {"cache": _cache(key_type, value_type)},
    }
    # llama.cpp distributes the layers over all GPUs that it sees.
    if architecture is None or not value_bytes or (on_gpu and visible_gpus() > 1):
        return of_file
    return of_file | {
        "architecture": architecture,
        "embedding_bytes": float(whole_header(path).sizes["token_embd.weight"]),
        "cache_value_bytes": value_bytes,
        # Products with quantized weights are products of integers.
        "arithmetic": _FLOATS.get(file_type(path)),
    }


def weights(path: Path) -> Weights | None:
    """Return what a file's linear layers are: the engine keeps them so. None if it has none."""
    file = whole_header(path)
    linear = [n for n, shape in file.shapes.items() if len(shape) > 1 and n not in _TABLES]
    numbers = {name: math.prod(file.shapes[name]) for name in linear}
    kept: Counter[str] = Counter()
    for name in linear:
        if kind := _FLOAT_TENSORS.get(file.types[name]):
            kept[kind] += numbers[name]
    total = sum(numbers.values())
    if not total:
        return None
    return Weights(
        linear_parameters=total,
        linear_bytes=float(sum(file.sizes[name] for name in linear)),
        unquantized_share=sum(kept.values()) / total,
        unquantized_type=max(kept, key=kept.__getitem__) if kept else None,
    )


def pool_bytes(path: Path, tokens: int, key_type: int, value_type: int) -> float:
    """Return the bytes of a key-value pool; 0 if its type or the model's shape is unknown here.

    Args:
        path: the GGUF file.
        tokens: tokens of all sequences together.
        key_type: ggml type of the keys.
        value_type: ggml type of the values.
    """
    architecture, value_bytes = _architecture(path), _value_bytes(key_type, value_type)
    return tokens * architecture.kv_bytes_per_token(value_bytes) if architecture else 0.0


def cache_type(value: object) -> object:
    """Return the ggml type of a name (``q8_0``); any other value as it is."""
    numbers = {name: number for number, name in _CACHE_TYPES.items()}
    return numbers.get(value.lower(), value) if isinstance(value, str) else value


def _cache(key_type: object, value_type: object) -> str:
    """Return the trait of the pool's types: one part if keys and values have the same type."""
    names = [
        in_id(str(_CACHE_TYPES.get(t, t) if isinstance(t, int) else t))
        for t in (key_type, value_type)
    ]
    if names[0] == names[1]:
        return "" if names[0] == _CACHE_TYPES[_DEFAULT_CACHE] else cache_trait(names[0])
    return f"k{names[0]}-v{names[1]}"


def _architecture(path: Path) -> Architecture | None:
    file_header = whole_header(path)
    return Architecture.from_gguf(file_header.values, file_header.shapes)


def _value_bytes(key_type: int, value_type: int) -> float:
    """Return the mean bytes per number in the pool, over keys and values; 0 if unknown."""
    key, value = CACHE_BYTES.get(key_type), CACHE_BYTES.get(value_type)
    return (key + value) / 2 if key and value else 0.0
