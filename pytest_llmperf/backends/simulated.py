"""An engine with programmed times, which every metric must recover."""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.architecture import Architecture
from ..core.engine import EngineInfo, EngineSpec, Setup
from ..core.trace import RequestTrace
from ..core.traits import Traits, cache_trait
from ..core.workload import Request
from .base import Backend

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from ..core.models import Model

_VOCABULARY = 256  # One token id per byte.
_HEAD = 64
_PR_SET_TIMERSLACK = 29
_LEAST = {"chunk": 1, "crash_at": -1, "hang_at": -1, "stop_at": -1, "seed": -(2**63)}


@dataclass(frozen=True)
class Program:
    """The programmed values (``--llm-backend-arg simulated.KEY=VALUE``); all times are in seconds."""

    ttft: float = 0.020
    tpot: float = 0.002
    ttft_per_input_token: float = 0.0
    """Added to ttft for each prompt token of the batch's longest prompt."""
    batch_penalty: float = 0.0
    """Relative growth of tpot for each further request of the batch."""
    jitter: float = 0.0
    """Coefficient of variation of a log-normal factor, drawn once per round."""
    run_jitter: float = 0.0
    """Coefficient of variation of a log-normal factor, drawn once per process."""
    seed: int = 0
    load_time: float = 0.0
    memory_mib: float = 64.0
    power_w: float = 0.0
    """Power while the engine answers, 0 in between; with 0 the engine reports no energy."""
    crash_at: int = -1
    """Number of the request, counted from 0 with warm-up, at which the process kills itself."""
    hang_at: int = -1
    """Number of the request at which the engine stops answering."""
    stop_at: int = -1
    """Number of output tokens after which a request ends early."""
    cached_tokens: int = 0
    """Prompt tokens of each request that are reported as cached."""
    hidden_cache: int = 0
    """1: a prompt that was seen before takes a tenth of its ttft, without a report of a cache."""
    nll: float = 2.0
    """Negative log-likelihood of each next token of a text, in nats; all other tokens are equally
    likely."""
    broken: int = 0
    """Kind of broken log-probabilities: 1 NaN, 2 the same token everywhere, 3 a uniform distribution."""
    chunk: int = 1
    """Number of tokens that arrive together; above 1, token boundaries are unknown."""
    layers: int = 0
    """Layers of the model that is reported for utilization; 0: no model is reported."""
    heads: int = 8
    """Number of heads with 64 numbers each, the same for keys and values."""
    parameters: int = 0
    """Reported number of parameters."""
    cache_bits: int = 0
    """Bits of a number in the key-value cache, a trait (``kvint8``); 0: those of the compute type."""
    found_cache_bits: int = 0
    """The same as the engine resolves it when it loads, if ``cache_bits`` does not say it."""
    speculation: int = 0
    """1: the engine drafts tokens, a trait (``spec``); ``chunk`` is how many arrive together."""
    prefix_cache: int = 0
    """1: the longest beginning of a prompt that was seen before is taken from a cache, a trait
    (``prefix``)."""

    @classmethod
    def from_args(cls, args: Mapping[str, Any]) -> Program:
        """Return the program from the backend's arguments.

        Raises:
            ValueError: one line, for an unknown key or a wrong value.
        """
        known = {f.name: f.type for f in fields(cls)}
        values: dict[str, Any] = {}
        for key, value in args.items():
            if key not in known:
                raise ValueError(f"simulated has no {key!r}; known: {', '.join(known)}")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"simulated.{key} must be a number, not {value!r}")
            if known[key] == "int" and value != int(value):
                raise ValueError(f"simulated.{key} must be a whole number, not {value!r}")
            values[key] = int(value) if known[key] == "int" else float(value)
            least = _LEAST.get(key, 0)
            if values[key] < least:
                raise ValueError(f"simulated.{key} must be at least {least}, not {value!r}")
        return cls(**values)


class SimulatedBackend(Backend):
    """Waits until absolute deadlines: a busy machine can delay a token, but delays never add up."""

    name = "simulated"
    by_default = False
    computes_text = False
    chats = True
    samples = True
    reuses_prefix_with = "prefix_cache=1"

    @classmethod
    def traits(cls, args: Mapping[str, Any], model: Model, setup: Setup) -> Traits:
        return Traits(
            cache=_cache(args.get("cache_bits")),
            speculation="spec" if args.get("speculation") else "",
            reuse="prefix" if args.get("prefix_cache") else "",
        )

    @classmethod
    def argument_for(cls, kind: str, trait: str) -> str:
        return f"cache_bits={trait.removeprefix('kvint') or 0}" if kind == "cache" else ""

    @classmethod
    def ready(cls, spec: EngineSpec, cache: Path, packages: Mapping[str, str]) -> EngineSpec | None:
        return spec  # This engine reads no file.

    @classmethod
    def changes_weights(cls, args: Mapping[str, Any]) -> bool:
        return False  # This engine has no weights: its arguments define its output.

    def load(self, spec: EngineSpec) -> EngineInfo:
        start = time.perf_counter()
        self._program = program = Program.from_args(spec.args)
        _ask_for_exact_timers()
        self._served = 0
        self._busy = 0.0
        self._seen: set[tuple[int, ...]] = set()
        # With only a seed, every process would draw the same numbers: if processes are meant to differ,
        # the pid distinguishes them.
        pid = f"/{os.getpid()}" if program.run_jitter else ""
        self._factor = _log_normal(random.Random(f"{program.seed}{pid}"), program.run_jitter)
        self._round_random = random.Random(f"{program.seed}{pid}/rounds")
        _sleep_until(start + program.load_time)
        cache_bits = program.cache_bits or program.found_cache_bits
        return EngineInfo(
            device="simulated",
            dtype=spec.compute_dtype,
            vocabulary=_VOCABULARY,
            has_tokenizer=True,
            parameters=program.parameters,
            memory={"model_memory": program.memory_mib},
            settings={f.name: getattr(program, f.name) for f in fields(program)},
            architecture=_architecture(program),
            arithmetic=spec.compute_dtype,
            cache_value_bytes=cache_bits / 8 if cache_bits else 2,
            traits={"cache": _cache(cache_bits)},
        )

    def generate(self, requests: Sequence[Request]) -> list[RequestTrace]:
        program = self._program
        submitted = time.perf_counter()
        for _ in requests:
            if self._served == program.crash_at:
                os.kill(os.getpid(), signal.SIGKILL)
            if self._served == program.hang_at:
                threading.Event().wait()
            self._served += 1
        factor = self._factor * _log_normal(self._round_random, program.jitter)
        cached = [self._cached(request) for request in requests]
        longest = max(
            len(request.prompt_ids) - n for request, n in zip(requests, cached, strict=True)
        )
        first = (program.ttft + program.ttft_per_input_token * longest) * factor
        prompts = {request.prompt_ids for request in requests}
        if program.hidden_cache and prompts <= self._seen:
            first /= 10
        self._seen |= prompts
        step = program.tpot * (1 + program.batch_penalty * (len(requests) - 1)) * factor
        lengths = [self._length(request) for request in requests]
        times: list[list[float]] = [[] for _ in requests]
        counts: list[list[int]] = [[] for _ in requests]
        for begin in range(0, max(lengths), program.chunk):
            # A chunk leaves the engine with its last token.
            end = min(begin + program.chunk, max(lengths))
            _sleep_until(submitted + first + step * (end - 1))
            now = time.perf_counter()
            for i, length in enumerate(lengths):
                if length > begin:
                    times[i].append(now)
                    counts[i].append(min(end, length) - begin)
        self._busy += max(row[-1] for row in times) - submitted
        return [
            RequestTrace(
                submitted=submitted,
                times=tuple(times[i]),
                counts=tuple(counts[i]),
                input_tokens=len(request.prompt_ids),
                token_ids=_token_ids(request, lengths[i]),
                cached_tokens=program.cached_tokens or cached[i],
            )
            for i, request in enumerate(requests)
        ]

    def _cached(self, request: Request) -> int:
        """Return the tokens at the beginning of a prompt that a prompt before it had; never all."""
        if not self._program.prefix_cache:
            return 0
        ids = request.prompt_ids
        return max((_common(ids[:-1], seen) for seen in self._seen), default=0)

    def _length(self, request: Request) -> int:
        stop = self._program.stop_at
        return min(request.output_len, stop) if stop > 0 else request.output_len

    def joules(self) -> float | None:
        return self._program.power_w * self._busy if self._program.power_w else None

    def log_probabilities(self, ids: Sequence[int]) -> NDArray[numpy.float32]:
        import numpy

        likely = math.exp(-self._program.nll)
        rest = (1 - likely) / (_VOCABULARY - 1)
        rows = numpy.full((len(ids) - 1, _VOCABULARY), rest, dtype=numpy.float64)
        rows[range(len(rows)), [0] * len(rows) if self._program.broken == 2 else list(ids[1:])] = (
            likely
        )
        if self._program.broken == 3:
            rows[:] = 1 / _VOCABULARY
        if self._program.broken == 1:
            rows[:] = math.nan
        return numpy.log(rows).astype(numpy.float32)

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        turns = "".join(f"<{message['role']}>{message['content']}\n" for message in messages)
        return self.encode(f"{turns}<assistant>")

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode(errors="replace")

    def reset_peak_memory(self) -> None:
        """Do nothing: the simulated memory never changes."""

    def peak_memory(self) -> float:
        return self._program.memory_mib


def _cache(bits: object) -> str:
    """Return the trait of a cache whose numbers have that many bits."""
    return cache_trait(f"int{bits}") if bits else ""


def _architecture(program: Program) -> Architecture | None:
    """Return a model of the programmed size with tied embeddings, or None without layers."""
    if not program.layers:
        return None
    return Architecture(
        layers=program.layers,
        hidden=program.heads * _HEAD,
        heads=program.heads,
        kv_heads=program.heads,
        head_dim=_HEAD,
        vocabulary=_VOCABULARY,
        tied=True,
    )


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """Return the number of equal tokens at the beginning."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _log_normal(source: random.Random, cv: float) -> float:
    """Return a factor with median 1 and the given coefficient of variation."""
    return math.exp(source.gauss(0, math.sqrt(math.log1p(cv * cv)))) if cv else 1.0


def _sleep_until(deadline: float) -> None:
    while (left := deadline - time.perf_counter()) > 0:
        time.sleep(left)


def _token_ids(request: Request, length: int) -> tuple[int, ...]:
    """Return lower-case letters that depend only on the prompt and, at a temperature, on the seed."""
    drawn = f"/{request.temperature}/{request.seed}" if request.temperature else ""
    seed = hashlib.sha256(f"{request.prompt_ids!r}{drawn}".encode()).digest()
    return tuple(ord("a") + seed[i % len(seed)] % 26 for i in range(length))


def _ask_for_exact_timers() -> None:
    """Ask the kernel to end sleeps on time (the default timer slack is 50 microseconds)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
