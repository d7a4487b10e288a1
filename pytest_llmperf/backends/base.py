"""The contract that every engine keeps.

A backend file may be imported where its engine is not installed: whatever imports the engine stands
inside a method that only the worker process calls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from .. import __version__
from ..trace import RequestTrace
from ..workload import Request


@dataclass(frozen=True)
class EngineSpec:
    """Everything a backend needs to load one cell; plain values, so that it travels to the worker."""

    backend: str
    quantization: str
    model: str
    """Folder with config.json (and weights, unless they are random), or a hub id."""
    local: bool = True
    """Whether ``model`` is a folder: then no hub is asked for anything."""
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


@dataclass(frozen=True)
class Refusal:
    """Why a backend cannot run a cell."""

    reason: str
    by_nature: bool
    """True: no installation helps, so asking for it is a mistake. False: something is missing here."""


class Backend(ABC):
    """One engine. Made in the worker process, used by one thread, closed before the process ends."""

    name: ClassVar[str]
    distributions: ClassVar[tuple[str, ...]] = ()
    """Installed distributions that provide the engine: any one of them will do."""
    companions: ClassVar[tuple[str, ...]] = ()
    """Further distributions whose versions explain a number."""
    install_hint: ClassVar[str] = ""
    by_default: ClassVar[bool] = True
    """Whether a run that names no backend uses this one when it is installed."""

    @classmethod
    def refusal(cls, quantization: str, packages: Mapping[str, str]) -> Refusal | None:
        """Why this engine cannot run a mode, known before anything is loaded; None when it can.

        Args:
            quantization: a key of ``quantization.MODES``.
            packages: versions by distribution name (lower case) in the engine's environment.
        """
        if cls.distributions and not any(name in packages for name in cls.distributions):
            return Refusal(f"{cls.name} is not installed: {cls.install_hint}", by_nature=False)
        return cls.refusal_of_mode(quantization, packages)

    @classmethod
    def degree(cls, args: Mapping[str, Any]) -> str:
        """How many devices share the model, for test ids (``tp2``); empty for one.

        Args:
            args: the engine's own keyword arguments.
        """
        return ""

    @classmethod
    def refusal_of_mode(cls, quantization: str, packages: Mapping[str, str]) -> Refusal | None:
        """The same, once the engine itself is known to be installed."""
        if quantization == "none":
            return None
        return Refusal(f"{cls.name} has no quantization mode {quantization}", by_nature=True)

    @classmethod
    def version(cls, packages: Mapping[str, str]) -> str:
        """Version of the installed engine; of the plugin itself where there is no engine."""
        if not cls.distributions:
            return __version__
        for name in cls.distributions:
            if name in packages:
                return packages[name] if name == cls.name else f"{packages[name]} ({name})"
        return "unknown"

    @abstractmethod
    def load(self, spec: EngineSpec) -> EngineInfo:
        """Load the model; returns when the engine is ready for its first request."""

    @abstractmethod
    def generate(self, requests: Sequence[Request]) -> list[RequestTrace]:
        """Submit all requests together and return their traces, in order.

        Every request gets exactly ``output_len`` tokens, end-of-sequence ignored, greedy. The clock
        (``time.perf_counter``) is read when the batch is handed over, and after each token id has
        reached the host.
        """

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, special tokens as the model's own tokenizer adds them."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""

    def reset_peak_memory(self) -> None:
        """Start a new window for ``peak_memory``."""
        from ..worker import memory

        memory.reset_peak()

    def peak_memory(self) -> float:
        """MiB at the peak since the window started: the resident set unless a device says otherwise."""
        from ..worker import memory

        return memory.peak_mib()

    def close(self) -> None:  # noqa: B027 - most engines end with their process
        """Give back whatever outlives the process otherwise (child processes)."""


class HubTokenizer:
    """``encode`` and ``decode`` of engines whose tokenizer is a transformers one."""

    _tokenizer: Any
    """None with random weights."""

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text)["input_ids"]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text
