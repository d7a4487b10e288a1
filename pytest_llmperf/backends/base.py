"""The interface of every engine.

A backend module can be imported without its engine: only methods that run in the worker process import
the engine.
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
from ..core.traits import Traits
from ..core.version import __version__
from ..core.workload import Request
from ..machine import memory
from .arguments import reason_against
from .contract import Contract
from .conversion import cached_folder, convert
from .hub import downloaded_gguf

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from ..core.checkpoint_format import CheckpointFormat
    from ..core.models import Model
    from ..machine.memory import DeviceMemory

# Names of arguments that change what a model computes.
_OTHER_NUMBERS = re.compile("quant|type|load_in|lora|adapter|rope|override")


class Backend(ABC):
    """One engine. It is created in the worker process, used by one thread, and closed at the end."""

    name: ClassVar[str]
    distributions: ClassVar[tuple[str, ...]] = ()
    """Distributions that provide the engine: any one of them is enough."""
    companions: ClassVar[tuple[str, ...]] = ()
    """Further distributions whose versions help to explain a number."""
    variables: ClassVar[tuple[str, ...]] = ()
    """Environment variables that change the engine's speed, beside those of all engines; ``VLLM_*``."""
    install_hint: ClassVar[str] = ""
    """The command that installs the engine, for messages."""
    by_default: ClassVar[bool] = True
    """Whether a run that names no backend uses this one if it is installed."""
    modes: ClassVar[tuple[str, ...]] = ("none",)
    """Quantization modes, by their names in ids and options: the meaning of ``all`` for this engine."""
    further_modes: ClassVar[tuple[str, ...]] = ()
    """Modes that are measured only if they are named; they are not part of ``all``."""
    tells_architecture: ClassVar[bool] = False
    """Whether ``load`` reports the sizes that utilization needs; ceilings are then measured first."""
    computes_text: ClassVar[bool] = True
    """Whether generated tokens come from a model, so that they show whether it works."""
    chats: ClassVar[bool] = False
    """Whether ``encode_chat`` applies the model's chat template."""
    samples: ClassVar[bool] = False
    """Whether ``generate`` draws tokens at a request's temperature, the same ones for the same seed."""
    reuses_prefix_with: ClassVar[str] = ""
    """The argument (``KEY=VALUE``) by which it takes a known beginning of a prompt from a cache, a trait
    (``prefix``); empty: it never does."""
    peak_by_driver: ClassVar[bool] = False
    """Whether the peak on a GPU is the driver's count, which includes the CUDA context."""
    refused_args: ClassVar[Mapping[str, str]] = {}
    """Arguments for the engine itself that would change what is measured, with the reasons: see
    ``arguments``."""
    contract: ClassVar[Contract] = Contract()
    """The expectations of ``tests/engines``."""

    @classmethod
    def mode_of(cls, quantization: str, model: Model) -> str:
        """Return the mode for the test id: the requested one, unless the model's file decides it."""
        return quantization

    @classmethod
    def refusal(cls, quantization: str, packages: Mapping[str, str]) -> Refusal | None:
        """Return the reason why this engine cannot run a mode, known before a load, or None.

        Args:
            quantization: a mode, not necessarily one of this engine's modes.
            packages: versions by distribution name (lower case) in the engine's environment.
        """
        if cls.distributions and not any(name in packages for name in cls.distributions):
            return Refusal(f"{cls.name} is not installed: {cls.install_hint}", by_nature=False)
        return cls.refusal_of_mode(quantization, packages)

    @classmethod
    def traits(cls, args: Mapping[str, Any], model: Model, setup: Setup) -> Traits:
        """Return for test ids what changes speed or numbers and is not the format of the weights.

        The engine's default on a device is not a trait. What the engine resolves only when it has
        loaded, ``load`` reports in ``EngineInfo.traits``, which is compared with this.

        Args:
            args: keyword arguments for the engine itself.
            model: the model, whose files may decide a trait (the type of the key-value cache).
            setup: the settings of the load.
        """
        return Traits()

    @classmethod
    def argument_for(cls, kind: str, trait: str) -> str:
        """Return the argument that makes a trait part of test ids (``KEY=VALUE``), for messages.

        Args:
            kind: of the trait, a field of ``Traits``.
            trait: as the loaded engine reports it; empty: the default.

        Returns:
            It may be empty: then the message only says what runs.
        """
        return ""

    @classmethod
    def changes_weights(cls, args: Mapping[str, Any]) -> bool:
        """Return whether arguments for the engine itself may change what the model computes.

        Such an engine never becomes the unquantized reference that others are compared with. The
        default decides by the names of the arguments, so that it also includes arguments of
        quantization that this package does not know.

        Args:
            args: keyword arguments for the engine itself.
        """
        return any(_OTHER_NUMBERS.search(name) for name in args)

    @classmethod
    def refusal_of_args(cls, args: Mapping[str, Any]) -> Refusal | None:
        """Return the reason why an argument would change what is measured, or None.

        Args:
            args: keyword arguments for the engine itself.
        """
        for name, value in args.items():
            if reason := reason_against(cls.refused_args, name, value):
                return Refusal(f"{cls.name}.{name}: {reason}", by_nature=True)
        return None

    @classmethod
    def refusal_of_mode(cls, quantization: str, packages: Mapping[str, str]) -> Refusal | None:
        """Return the reason why the engine, once installed, cannot run a mode, or None."""
        if quantization in (*cls.modes, *cls.further_modes):
            return None
        known = (
            ""
            if cls.modes == ("none",)
            else f"; it has {', '.join((*cls.modes, *cls.further_modes))}"
        )
        return Refusal(f"{cls.name} has no quantization mode {quantization}{known}", by_nature=True)

    @classmethod
    def refusal_of_model(cls, model: Model, quantization: str, setup: Setup) -> Refusal | None:
        """Return the reason why this engine cannot load a model in a mode, or None.

        Only the model's files and name are known here.
        """
        return None

    @classmethod
    def refusal_of_format(
        cls, stored: CheckpointFormat, packages: Mapping[str, str], setup: Setup
    ) -> Refusal | None:
        """Return the reason why this engine cannot load a checkpoint that is quantized like this.

        Args:
            stored: how the checkpoint is quantized; its method is ``by name`` if only its name says so.
            packages: versions by distribution name (lower case) in the engine's environment.
            setup: the load settings of the run.
        """
        return None

    @classmethod
    def ready(cls, spec: EngineSpec, cache: Path, packages: Mapping[str, str]) -> EngineSpec | None:
        """Return the spec for ``load``, or None if ``prepare`` has to run first.

        It only looks at files. An engine of this package does so in pytest's process, another one in a
        process of its own.

        Args:
            spec: the requested load.
            cache: folder for converted models, ``--llm-cache-dir``.
            packages: versions by distribution name (lower case) in the engine's environment.
        """
        if not spec.is_gguf:
            return spec
        folder = cached_folder(Path(spec.model), cache) if spec.local else None
        return replace(spec, model=str(folder)) if folder and folder.is_dir() else None

    @classmethod
    def prepare(cls, spec: EngineSpec, cache: Path, report: Progress) -> EngineSpec:
        """Download and convert a model; return the spec for ``load``.

        It runs in a separate process, so that its memory is not part of any number. The default
        converts a GGUF file to a folder that transformers can read: dequantized to bfloat16.

        Args:
            spec: the requested load.
            cache: folder for converted models.
            report: called at the start of each phase: ``download``, ``wait`` (for another process that
                converts the same model), ``dequantize``, ``convert``.
        """
        spec = downloaded_gguf(spec, report)
        folder = cached_folder(Path(spec.model), cache)
        convert(Path(spec.model), folder, report)
        return replace(spec, model=str(folder))

    @classmethod
    def version(cls, packages: Mapping[str, str]) -> str:
        """Return the version of the installed engine, or of this plugin if it is the engine."""
        if not cls.distributions:
            return __version__
        for name in cls.distributions:
            if name in packages:
                return packages[name] if name == cls.name else f"{packages[name]} ({name})"
        return "unknown"

    @abstractmethod
    def load(self, spec: EngineSpec) -> EngineInfo:
        """Load the model; return its info once the engine is ready for its first request."""

    @abstractmethod
    def generate(self, requests: Sequence[Request]) -> list[RequestTrace]:
        """Submit all requests together; return their traces in the same order.

        Decoding is greedy unless a request has a temperature, which only engines get that have
        ``samples``. Every request gets exactly ``output_len`` tokens: the end of sequence is ignored.
        The clock (``time.perf_counter``) is read when the batch is handed to the engine, and after each
        token id has reached the host.
        """

    def continue_ids(self, requests: Sequence[Request]) -> list[list[int]]:
        """Return the token ids of each continuation; no times are needed."""
        return [list(trace.token_ids) for trace in self.generate(requests)]

    def log_probabilities(self, ids: Sequence[int]) -> NDArray[numpy.float32]:
        """Return the distribution of the next token after each token of a text except the last.

        The text is computed as the engine computes a prompt: as a whole, with the weights and kernels
        that are measured. The distributions are normalized over the whole vocabulary.

        Returns:
            Natural logarithms, (len(ids) - 1, vocabulary); row i is the distribution after
            ``ids[: i + 1]``.

        Raises:
            NotSupported: the engine does not report them.
        """
        raise NotSupported(f"{self.name} reports no log-probabilities of a prompt")

    def score(self, ids: Sequence[int]) -> list[float]:
        """Return the log-likelihood of each token after the first, given all tokens before it.

        Raises:
            NotSupported: the engine does not report it.
        """
        rows = self.log_probabilities(ids)
        return [float(row[token]) for row, token in zip(rows, ids[1:], strict=True)]

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the token ids of a prompt, including the special tokens that the tokenizer adds."""

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Return the token ids of a chat by the model's own template, ready for the model's answer.

        The template writes the special tokens: none is added a second time. Only engines with ``chats``
        are asked.

        Raises:
            ValueError: the model has no template.
        """
        raise NotSupported(f"{self.name} applies no chat template")

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens."""

    _device_memory: DeviceMemory | None = None
    """Memory by the driver's count, for an engine whose allocator reports nothing; ``load`` creates it
    before anything is on a GPU."""

    def reset_peak_memory(self) -> None:
        """Start a new window for ``peak_memory``."""
        # An engine that is counted by the driver never frees its memory on a GPU.
        if self._device_memory is None:
            memory.reset_peak()

    def peak_memory(self) -> float:
        """Return the peak since the window started in MiB: of the resident set, or of GPU memory."""
        return self._device_memory.mib() if self._device_memory else memory.peak_mib()

    def joules(self) -> float | None:
        """Return the energy used so far if the engine itself reports it; if None, counters are read."""
        return None

    def close(self) -> None:  # noqa: B027 - most engines end with their process
        """Release everything that would outlive the process, such as child processes."""


_PARALLEL = {"tp": "tensor_parallel_size", "pp": "pipeline_parallel_size"}


def parallel_traits(args: Mapping[str, Any]) -> str:
    """Return ``tp2-pp2`` for the parallel arguments of vLLM and TensorRT-LLM; empty for one GPU."""
    return "-".join(f"{k}{args[name]}" for k, name in _PARALLEL.items() if args.get(name, 1) != 1)


def parallel_devices(args: Mapping[str, Any]) -> int:
    """Return the number of GPUs that share a model with these arguments."""
    return math.prod(int(args.get(name, 1)) for name in _PARALLEL.values())
