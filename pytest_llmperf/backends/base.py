"""The interface of every engine.

A backend file may be imported where its engine is not installed: whatever imports the engine stands
inside a method that only the worker process calls.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..core.engine import EngineInfo, EngineSpec, Refusal, Setup
from ..core.errors import NotSupported
from ..core.progress import Progress
from ..core.trace import RequestTrace
from ..core.version import __version__
from ..core.workload import Request
from ..machine import memory
from .contract import Contract
from .conversion import cached_folder, convert
from .hub import downloaded_gguf

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from ..core.models import Model
    from ..machine.memory import DeviceMemory

# Names of arguments that change what a model computes.
_OTHER_NUMBERS = re.compile("quant|type|load_in|lora|adapter|rope|override")


class Backend(ABC):
    """One engine. Made in the worker process, used by one thread, closed before the process ends."""

    name: ClassVar[str]
    distributions: ClassVar[tuple[str, ...]] = ()
    """Installed distributions that provide the engine: any one of them is enough."""
    companions: ClassVar[tuple[str, ...]] = ()
    """Further distributions whose versions explain a number."""
    install_hint: ClassVar[str] = ""
    by_default: ClassVar[bool] = True
    """Whether a run that names no backend uses this one when it is installed."""
    modes: ClassVar[tuple[str, ...]] = ("none",)
    """Quantization modes, as ids and options name them: what ``all`` means for this engine."""
    further_modes: ClassVar[tuple[str, ...]] = ()
    """Modes that are measured where they are named, and are not part of ``all``."""
    tells_architecture: ClassVar[bool] = False
    """Whether ``load`` reports what utilization needs: then ceilings are measured before it."""
    peak_by_driver: ClassVar[bool] = False
    """Whether its peak on a GPU is the driver's count, which includes the CUDA context."""
    contract: ClassVar[Contract] = Contract()
    """What ``tests/engines`` expects of it."""

    @classmethod
    def mode_of(cls, quantization: str, model: Model) -> str:
        """Return the mode that stands in the id: the one asked for, unless the model's file decides."""
        return quantization

    @classmethod
    def refusal(cls, quantization: str, packages: Mapping[str, str]) -> Refusal | None:
        """Return why this engine cannot run a mode, as known before anything loads; None when it can.

        Args:
            quantization: a mode, not necessarily one of this engine.
            packages: versions by distribution name (lower case) in the engine's environment.
        """
        if cls.distributions and not any(name in packages for name in cls.distributions):
            return Refusal(f"{cls.name} is not installed: {cls.install_hint}", by_nature=False)
        return cls.refusal_of_mode(quantization, packages)

    @classmethod
    def degree(cls, args: Mapping[str, Any]) -> str:
        """Return how many devices share the model, for test ids (``tp2``); empty for one.

        Args:
            args: the engine's own keyword arguments.
        """
        return ""

    @classmethod
    def changes_weights(cls, args: Mapping[str, Any]) -> bool:
        """Return whether the engine's own arguments may change what the model computes.

        Such an engine never becomes the unquantized reference that others are compared with. The
        default judges by the arguments' names, so that an argument of quantization which nobody
        here knows is among them.
        """
        return any(_OTHER_NUMBERS.search(name) for name in args)

    @classmethod
    def refusal_of_mode(cls, quantization: str, packages: Mapping[str, str]) -> Refusal | None:
        """Return why an installed engine cannot run a mode; None when it can."""
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
        """Return why this engine cannot load a model in a mode, as far as its files or name show."""
        return None

    @classmethod
    def ready(cls, spec: EngineSpec, cache: Path, packages: Mapping[str, str]) -> EngineSpec | None:
        """Return what ``load`` gets, or None where ``prepare`` has to make something first.

        Runs in pytest's process, so it only looks.

        Args:
            spec: what was asked for.
            cache: folder for what engines convert, ``--llm-cache-dir``.
            packages: versions by distribution name in the engine's environment.
        """
        if not spec.model.endswith(".gguf"):
            return spec
        folder = cached_folder(Path(spec.model), cache) if spec.local else None
        return replace(spec, model=str(folder)) if folder and folder.is_dir() else None

    @classmethod
    def prepare(cls, spec: EngineSpec, cache: Path, report: Progress) -> EngineSpec:
        """Download and convert; return what ``load`` gets.

        Runs in a process of its own, so that its memory is in no number. The default takes a GGUF
        file to a folder that transformers reads: dequantized, bfloat16.

        Args:
            spec: what was asked for.
            cache: folder for what engines convert.
            report: called with a phase when it begins: ``download``, ``dequantize``, ``convert``.
        """
        spec = downloaded_gguf(spec, report)
        folder = cached_folder(Path(spec.model), cache)
        convert(Path(spec.model), folder, report)
        return replace(spec, model=str(folder))

    @classmethod
    def version(cls, packages: Mapping[str, str]) -> str:
        """Return the version of the installed engine; of the plugin itself where there is no engine."""
        if not cls.distributions:
            return __version__
        for name in cls.distributions:
            if name in packages:
                return packages[name] if name == cls.name else f"{packages[name]} ({name})"
        return "unknown"

    @abstractmethod
    def load(self, spec: EngineSpec) -> EngineInfo:
        """Load the model; return when the engine is ready for its first request."""

    @abstractmethod
    def generate(self, requests: Sequence[Request]) -> list[RequestTrace]:
        """Submit all requests together and return their traces, in order.

        Every request gets exactly ``output_len`` tokens, end-of-sequence ignored, greedy. The clock
        (``time.perf_counter``) is read when the batch is handed over, and after each token id has
        reached the host.
        """

    def continue_ids(self, requests: Sequence[Request]) -> list[list[int]]:
        """Return the token ids of each greedy continuation, for text instead of times."""
        return [list(trace.token_ids) for trace in self.generate(requests)]

    def log_probabilities(self, ids: Sequence[int]) -> NDArray[numpy.float32]:
        """Return the distribution of the next token after each token of a text but its last.

        Computed as the engine computes a prompt: as a whole, by the weights and kernels that are
        measured, normalized over the whole vocabulary.

        Returns:
            Natural logarithms, (len(ids) - 1, vocabulary); row i is the distribution after
            ``ids[: i + 1]``.

        Raises:
            NotSupported: the engine does not report them.
        """
        raise NotSupported(f"{self.name} reports no log-probabilities of a prompt")

    def score(self, ids: Sequence[int]) -> list[float]:
        """Return the log-likelihood of each token after the first, given those before it.

        Raises:
            NotSupported: the engine does not report it.
        """
        rows = self.log_probabilities(ids)
        return [float(row[token]) for row, token in zip(rows, ids[1:], strict=True)]

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the token ids of a prompt, special tokens as the model's own tokenizer adds them."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, special tokens left out."""

    _device_memory: DeviceMemory | None = None
    """Made by ``load``, before anything is on a GPU, where the engine's allocator reports nothing."""

    def reset_peak_memory(self) -> None:
        """Start a new window for ``peak_memory``."""
        # What such an engine has taken on a GPU it keeps.
        if self._device_memory is None:
            memory.reset_peak()

    def peak_memory(self) -> float:
        """Return MiB at the peak since the window started: the resident set, or a GPU's memory."""
        return self._device_memory.mib() if self._device_memory else memory.peak_mib()

    def joules(self) -> float | None:
        """Return the energy used so far, where the engine itself knows it; None: counters are read."""
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
