"""Data about an engine: what is asked of it, what it reports, and why it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .architecture import Architecture


@dataclass(frozen=True)
class EngineSpec:
    """Everything a backend needs to load one cell: plain values, which travel to the worker."""

    backend: str
    quantization: str
    model: str
    """Folder with config.json (and weights, unless they are random), a GGUF file, or either of them
    on the hub: ``organisation/name``, ``organisation/name/FILE.gguf``."""
    local: bool = True
    """Whether ``model`` is on this machine: then no hub is asked for anything."""
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    load_format: str = "auto"
    threads: int | None = None
    """Engine threads; None leaves the engine's own choice (a GPU)."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """The engine's own keyword arguments (``--llm-backend-arg``)."""

    @property
    def random_weights(self) -> bool:
        return self.load_format == "dummy"

    @property
    def compute_dtype(self) -> str:
        """The type of activations, and of weights where they are not quantized."""
        return "bfloat16" if self.dtype == "auto" else self.dtype

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class EngineInfo:
    """What is loaded, as the engine reports it."""

    device: str
    """For instance ``cpu`` or ``cuda:0``."""
    dtype: str
    vocabulary: int
    """Token ids that a prompt may hold."""
    has_tokenizer: bool
    parameters: int | None = None
    revision: str | None = None
    """The revision that was resolved, where a hub was asked."""
    memory: Mapping[str, float] = field(default_factory=dict)
    """MiB by metric key: ``model_memory``, and ``kv_cache_memory`` where a pool is reserved."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Engine settings that this backend chose, worth knowing when reading a number."""
    threads: int | None = None
    """Threads that compute on a CPU; None on a GPU, or where the engine does not report them."""
    architecture: Architecture | None = None
    """Sizes of the model, where the engine reports them."""
    embedding_bytes: float | None = None
    """Bytes of the input embedding table as it is in memory, where the engine reports them."""
    cache_value_bytes: float = 2
    """Bytes of one number in the key-value cache."""
    arithmetic: str | None = None
    """Floating-point type of matrix products, as torch names it; None for integers or unknown."""
    devices: int = 1
    """GPUs (or processes of a CPU build) that share the model."""

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_wire(cls, data: Mapping[str, Any]) -> EngineInfo:
        shape = data["architecture"]
        return cls(**{**data, "architecture": Architecture(**shape) if shape else None})


@dataclass(frozen=True)
class Setup:
    """The settings of a run that an engine may refuse before it loads a model."""

    random_weights: bool
    dtype: str
    """The compute type that was asked for; ``auto`` where none was."""
    on_cpu: bool


@dataclass(frozen=True)
class Refusal:
    """The reason why a backend cannot run a cell."""

    reason: str
    by_nature: bool
    """True: no installation helps, so asking for it is a mistake. False: something is not installed."""


@dataclass(frozen=True)
class LoadedEngine:
    """An engine that is ready, as the worker reports it."""

    info: EngineInfo
    load_time: float
    """Seconds from asking for the engine to ready, its imports included."""
    version: str
    versions: Mapping[str, str]
    environment: Mapping[str, Any]
    pid: int
    number: int
    """Engines that this run has loaded so far, this one included."""
