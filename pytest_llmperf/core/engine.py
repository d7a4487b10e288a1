"""Data about an engine: its load request, its report, and its reason for a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .architecture import Architecture
from .weights import Weights


@dataclass(frozen=True)
class EngineSpec:
    """Everything that a backend needs to load one cell: plain values, which are sent to the worker."""

    backend: str
    quantization: str
    model: str
    """Folder with config.json (and weights, unless they are random), a GGUF file, or either of them
    on the hub: ``organisation/name``, ``organisation/name/FILE.gguf``."""
    local: bool = True
    """Whether ``model`` is on this machine; if so, no hub is contacted."""
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    load_format: str = "auto"
    threads: int | None = None
    """Engine threads; None leaves the choice to the engine (as on a GPU)."""
    args: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments for the engine itself (``--llm-backend-arg``)."""
    is_quantized: bool = False
    """Whether the checkpoint itself has the mode, so that the engine has nothing to quantize."""

    @property
    def online_mode(self) -> str:
        """Return the mode that the engine has to quantize to while it loads; ``none`` if it has not."""
        return "none" if self.is_quantized else self.quantization

    @property
    def is_gguf(self) -> bool:
        """Return whether ``model`` is a GGUF file: on this machine, whatever its name is."""
        return Path(self.model).is_file() if self.local else self.model.lower().endswith(".gguf")

    @property
    def random_weights(self) -> bool:
        """Return whether the weights are random (``--llm-load-format=dummy``)."""
        return self.load_format == "dummy"

    @property
    def compute_dtype(self) -> str:
        """Type of the activations, and of the weights unless they are quantized."""
        return "bfloat16" if self.dtype == "auto" else self.dtype

    def to_wire(self) -> dict[str, Any]:
        """Return the fields as builtin types."""
        return asdict(self)


@dataclass(frozen=True)
class EngineInfo:
    """The loaded model, as the engine reports it."""

    device: str
    """For instance ``cpu`` or ``cuda:0``."""
    dtype: str
    vocabulary: int
    """Number of token ids that a prompt may contain."""
    has_tokenizer: bool
    parameters: int | None = None
    revision: str | None = None
    """The resolved revision, if a hub was contacted."""
    memory: Mapping[str, float] = field(default_factory=dict)
    """MiB by metric key: ``model_memory``, and ``kv_cache_memory`` if a pool is reserved."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Engine settings that this backend chose and that help to interpret a number."""
    threads: int | None = None
    """Threads that compute on a CPU; None on a GPU, or if the engine does not report them."""
    architecture: Architecture | None = None
    """Sizes of the model, if the engine reports them."""
    embedding_bytes: float | None = None
    """Bytes of the input embedding table in memory, if the engine reports them."""
    cache_value_bytes: float = 2
    """Bytes of one number in the key-value cache."""
    arithmetic: str | None = None
    """Floating-point type of matrix products, by its name in torch; None for integers or if unknown."""
    devices: int = 1
    """GPUs (or processes of a CPU build) that share the model."""
    traits: Mapping[str, str] = field(default_factory=dict)
    """Traits by kind (``core.traits``) as the loaded engine runs them; a kind that it does not report is
    missing. One that differs from the test id's fails the cell."""
    least_warmup: int = 0
    """Warm-up rounds that the engine needs at least, unless the command line sets their number."""
    context: int | None = None
    """Most tokens of a request, prompt and output together; None if the engine does not report it."""
    mode: str | None = None
    """Quantization mode that the engine runs, by its name in ids; None if it does not report it."""
    weights: Weights | None = None
    """What the linear layers are in memory; None if the engine does not report it."""
    speculation: bool = False
    """Whether a step may give several tokens, which then have one stamp: every stamp is a step."""

    def to_wire(self) -> dict[str, Any]:
        """Return the fields as builtin types."""
        return asdict(self)

    @classmethod
    def from_wire(cls, data: Mapping[str, Any]) -> EngineInfo:
        """Return the object that ``to_wire`` took apart."""
        shape, weights = data["architecture"], data["weights"]
        parts = {
            "architecture": Architecture(**shape) if shape else None,
            "weights": Weights(**weights) if weights else None,
        }
        return cls(**{**data, **parts})


@dataclass(frozen=True)
class Setup:
    """The load settings of a run, for ``Backend.refusal_of_model``."""

    random_weights: bool
    dtype: str
    """The requested compute type; ``auto`` if none was requested."""
    on_cpu: bool


@dataclass(frozen=True)
class Refusal:
    """The reason why a backend cannot run a cell."""

    reason: str
    by_nature: bool
    """True: no installation can help, so the request is a mistake. False: a package is missing."""


@dataclass(frozen=True)
class LoadedEngine:
    """A loaded engine, as the worker reports it."""

    info: EngineInfo
    load_time: float
    """Seconds from the request until the engine is ready, imports included."""
    version: str
    versions: Mapping[str, str]
    environment: Mapping[str, Any]
    pid: int
    number: int
    """Number of engines that this run has loaded so far, this one included."""
