"""The contract that every engine keeps.

A backend file may be imported where its engine is not installed: whatever imports the engine stands
inside a method that only the worker process calls.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.engine import EngineInfo, EngineSpec, Refusal, Setup
from ..core.errors import NotSupported
from ..core.trace import RequestTrace
from ..core.version import __version__
from ..core.workload import Request
from ..machine import memory
from .conversion import cached_folder, convert
from .hub import downloaded_gguf

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from ..core.models import Model
    from ..machine.memory import DeviceMemory


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
    modes: ClassVar[tuple[str, ...]] = ("none",)
    """Quantization modes, as ids and options name them: what ``all`` means for this engine."""
    further_modes: ClassVar[tuple[str, ...]] = ()
    """Modes that are measured where they are named, and no part of ``all``."""
    tells_architecture: ClassVar[bool] = False
    """Whether ``load`` tells what utilization needs; then the machine's ceilings are measured first."""

    @classmethod
    def mode_of(cls, quantization: str, model: Model) -> str:
        """The mode that stands in the id: the one asked for, unless the model's file decides."""
        return quantization

    @classmethod
    def refusal(cls, quantization: str, packages: Mapping[str, str]) -> Refusal | None:
        """Why this engine cannot run a mode, known before anything is loaded; None when it can.

        Args:
            quantization: a mode, not necessarily one of this engine.
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
        if quantization in (*cls.modes, *cls.further_modes):
            return None
        own = (
            ""
            if cls.modes == ("none",)
            else f"; it has {', '.join((*cls.modes, *cls.further_modes))}"
        )
        return Refusal(f"{cls.name} has no quantization mode {quantization}{own}", by_nature=True)

    @classmethod
    def refusal_of_model(cls, model: Model, quantization: str, setup: Setup) -> Refusal | None:
        """Why this engine cannot load a model in a mode, as far as its files or its name tell."""
        return None

    @classmethod
    def ready(cls, spec: EngineSpec, cache: Path) -> EngineSpec | None:
        """What ``load`` gets, when nothing has to be made first; None: ``prepare`` makes it.

        Runs in pytest's process, so it only looks.

        Args:
            cache: folder for what engines convert, ``--llm-cache-dir``.
        """
        if not spec.model.endswith(".gguf"):
            return spec
        folder = cached_folder(Path(spec.model), cache) if spec.local else None
        return replace(spec, model=str(folder)) if folder and folder.is_dir() else None

    @classmethod
    def prepare(cls, spec: EngineSpec, cache: Path) -> EngineSpec:
        """Download and convert; runs in a process of its own, so that its memory is in no number.

        The default takes a GGUF file to a folder that transformers reads: dequantized, bfloat16.
        """
        spec = downloaded_gguf(spec)
        folder = cached_folder(Path(spec.model), cache)
        convert(Path(spec.model), folder)
        return replace(spec, model=str(folder))

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

    def continue_ids(self, requests: Sequence[Request]) -> list[list[int]]:
        """Token ids of each greedy continuation, for text instead of times."""
        return [list(trace.token_ids) for trace in self.generate(requests)]

    def log_probabilities(self, ids: Sequence[int]) -> NDArray[numpy.float32]:
        """The engine's distribution of the next token after each token of a text but its last.

        Computed as the engine computes a prompt: as a whole, by the weights and kernels it measures
        with, normalized over the whole vocabulary.

        Returns:
            Natural logarithms, (len(ids) - 1, vocabulary); row i is the distribution after
            ``ids[: i + 1]``.

        Raises:
            NotSupported: the engine does not tell.
        """
        raise NotSupported(f"{self.name} tells no log-probabilities of a prompt")

    def score(self, ids: Sequence[int]) -> list[float]:
        """Log-likelihood of each token after the first, given those before it.

        Raises:
            NotSupported: the engine does not tell.
        """
        rows = self.log_probabilities(ids)
        return [float(row[token]) for row, token in zip(rows, ids[1:], strict=True)]

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, special tokens as the model's own tokenizer adds them."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special tokens left out."""

    peak_by_driver: ClassVar[bool] = False
    """Whether its peak on a GPU is the driver's count, which holds the CUDA context too."""
    _device_memory: DeviceMemory | None = None
    """Made by ``load``, before anything is on a GPU, where the engine's own allocator does not tell."""

    def reset_peak_memory(self) -> None:
        """Start a new window for ``peak_memory``."""
        # What such an engine has taken on a GPU it keeps.
        if self._device_memory is None:
            memory.reset_peak()

    def peak_memory(self) -> float:
        """MiB at the peak since the window started: the resident set unless a device says otherwise."""
        return self._device_memory.mib() if self._device_memory else memory.peak_mib()

    def joules(self) -> float | None:
        """Energy used so far, where the engine itself knows it; None: the machine's counters do."""
        return None

    def close(self) -> None:  # noqa: B027 - most engines end with their process
        """Give back whatever outlives the process otherwise (child processes)."""


_PARALLEL = {"tp": "tensor_parallel_size", "pp": "pipeline_parallel_size"}


def parallel_degree(args: Mapping[str, Any]) -> str:
    """Return ``tp2-pp2`` for the two arguments of vLLM and TensorRT-LLM; empty for one GPU."""
    return "-".join(f"{k}{args[name]}" for k, name in _PARALLEL.items() if args.get(name, 1) != 1)


def parallel_devices(args: Mapping[str, Any]) -> int:
    """Return how many GPUs these arguments share a model over."""
    return math.prod(int(args.get(name, 1)) for name in _PARALLEL.values())
