"""The measuring loop: warm-up, rounds, checks, memory. It runs in the engine's process."""

from __future__ import annotations

import secrets
import statistics
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from ..backends.base import Backend
from ..core.context import why_too_long
from ..core.engine import EngineInfo
from ..core.errors import InvalidMeasurement
from ..core.measurement import Measurement
from ..core.progress import Progress
from ..core.prompts import Chat
from ..core.trace import RequestTrace, RoundTrace
from ..core.turns import ROUND, WARM_UP, Asks
from ..core.workload import Request, Workload, random_ids
from ..machine import canary
from ..machine.conditions import Snapshot, between
from . import outputs
from .ending import Ending
from .energy import Meter
from .turns import Turns

_PROBES = 3
_COMPARED = 5
"""Rounds that the new prompts are compared with: the last ones, so that one slow round among hundreds
does not hide a cache."""
_CACHED = 1.5
"""Minimum ratio of the times of new and repeated prompts that is taken for a cache: a stall in each
of the three probes is too unlikely to explain it."""
_TWO_ENGINES = (
    "rounds alternated with another engine's (pytest-llmperf ab --no-in-turns measures it)"
)


def measure(
    backend: Backend,
    info: EngineInfo,
    workload: Workload,
    progress: Progress,
    meter: Meter | None = None,
    clock: Callable[[], float] = time.perf_counter,
    turns: Turns | None = None,
) -> Measurement:
    """Run a workload and return its rounds: first unmeasured warm-up rounds, then the measured ones.

    Args:
        backend: the loaded engine.
        info: the engine's report of what it loaded.
        workload: the work.
        progress: called before each round.
        meter: measures the energy of the rounds.
        clock: the clock that the engine has to read.
        turns: those of this measurement beside another engine's; None: it runs alone.

    Raises:
        InvalidMeasurement: the tokens of an answer differ from the request, or come from a cache, or
            the engine returned something that cannot be true.
    """

    def answered(requests: Sequence[Request], where: str) -> list[RequestTrace]:
        check_fits(info, requests)
        begin = clock()
        returned = backend.generate(requests)
        return outputs.traces(requests, returned, where, (begin, clock()))

    turns = turns or Turns(None, progress)
    encode = encoder(backend, info)
    canary_before = canary.run(info.device)
    for i in range(workload.warmup):
        turns.goes_on(Asks.NEEDS, (WARM_UP, i))
        progress("warm-up", i + 1, workload.warmup)
        requests = workload.requests(i - workload.warmup, encode, info.vocabulary)
        answered(requests, f"warm-up round {i + 1}")
    meter = meter or Meter()
    backend.reset_peak_memory()
    before = Snapshot.take()
    meter.start()
    waited, beside = turns.waited, 0
    ending = Ending(workload, lambda: clock() - (turns.waited - waited))
    while True:
        i = len(ending.rounds)
        begin = Snapshot.take() if turns.are_shared else None
        if not turns.goes_on(ending.asks(), (ROUND, i)):
            break
        if begin is not None:
            before = before.moved(begin, Snapshot.take())
        beside += turns.beside
        progress("round", i + 1, 0 if workload.need else workload.rounds)
        requests = workload.requests(i, encode, info.vocabulary)
        ending.add(RoundTrace(tuple(answered(requests, f"round {i + 1}"))))
        check_reuse(workload, ending.rounds[-1], f"round {i + 1}")
        meter.mark()
    rounds = ending.rounds
    energy = outputs.energy(meter.stop())
    end = Snapshot.take() if begin is None else begin
    conditions: dict[str, Any] = between(before, end)
    if beside:
        conditions["in_turns"] = beside / len(rounds)
        # The counters went on while the other side worked.
        energy = energy and {"unavailable": _TWO_ENGINES}
    # Before the canary, whose memory does not belong to the engine.
    peak_memory = outputs.peak_memory(backend.peak_memory())
    canary_after = canary.run(info.device)
    if workload.repeats_prompts:
        check_no_hidden_cache(backend, info, rounds)
    return Measurement(
        tuple(rounds), peak_memory, conditions, canary.joined(canary_before, canary_after), energy
    )


def check_reuse(workload: Workload, measured: RoundTrace, where: str) -> None:
    """Raise InvalidMeasurement if the work has a shared prefix and none of it came from the cache."""
    if workload.prefix_len and not all(trace.cached_tokens for trace in measured.requests):
        raise InvalidMeasurement(
            f"{where}: none of the {workload.prefix_len} tokens of prefix_len came from the cache: it "
            "needs a round of warm-up, and a prefix longer than a block of the engine's cache"
        )


def check_fits(info: EngineInfo, requests: Sequence[Request]) -> None:
    """Raise ValueError if a request is longer than the context, before the engine gets it."""
    for request in requests:
        reason = why_too_long(len(request.prompt_ids), request.output_len, info.context)
        if reason:
            raise ValueError(reason)


def check_no_hidden_cache(backend: Backend, info: EngineInfo, rounds: Sequence[RoundTrace]) -> None:
    """Raise InvalidMeasurement if prompts that the engine has never seen take much longer.

    A prefix cache, if there is one, answers a prompt that every round repeats, and not every engine
    reports that. It cannot answer random prompts of the same lengths.
    """
    repeated = rounds[0].requests
    # A new name, so that no cache has these prompts, neither in this process nor on disk.
    name = secrets.token_hex(8)
    probes = []
    for i in range(_PROBES):
        requests = [
            Request(random_ids((name, i, j), trace.input_tokens, info.vocabulary), 1)
            for j, trace in enumerate(repeated)
        ]
        traces = outputs.traces(requests, backend.generate(requests), f"new prompt {i + 1}")
        probes.append(_mean_ttft(traces))
    slowest = max(_mean_ttft(r.requests) for r in rounds[-_COMPARED:])
    if min(probes) > _CACHED * slowest:
        raise InvalidMeasurement(
            f"ttft is at most {slowest * 1e3:.1f} ms for the test's prompt and at least "
            f"{min(probes) * 1e3:.1f} ms for new prompts of the same length: the engine uses a prefix "
            "cache"
        )


def _mean_ttft(traces: Sequence[RequestTrace]) -> float:
    return statistics.fmean(trace.first - trace.submitted for trace in traces)


def encoder(backend: Backend, info: EngineInfo) -> Callable[[str | Chat], list[int]]:
    """Return the engine's tokenizer; without one (random weights), return one stable id per word."""

    def encode(prompt: str | Chat) -> list[int]:
        if not isinstance(prompt, str):
            return outputs.token_ids(backend.encode_chat(prompt), "encode_chat")
        if info.has_tokenizer:
            return outputs.token_ids(backend.encode(prompt), "encode")
        return [zlib.crc32(word.encode()) % info.vocabulary for word in prompt.split()]

    return encode


def continuations(backend: Backend, requests: Sequence[Request]) -> list[list[int]]:
    """Return the token ids of each greedy continuation.

    Raises:
        InvalidMeasurement: a continuation does not have the requested length.
    """
    returned = outputs.items(backend.continue_ids(requests), "the answer of continue_ids")
    if len(returned) != len(requests):
        raise InvalidMeasurement(f"generate: {len(returned)} of {len(requests)} requests came back")
    continued = [outputs.token_ids(ids, "continue_ids") for ids in returned]
    for i, (request, ids) in enumerate(zip(requests, continued, strict=True)):
        if len(ids) != request.output_len:
            raise InvalidMeasurement(
                f"generate, request {i + 1} of {len(requests)}: the engine gave {len(ids)} output "
                f"tokens instead of {request.output_len}"
            )
    return continued
