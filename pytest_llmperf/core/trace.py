"""Traces: timestamps of token ids, read in the process that received them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class RequestTrace:
    """One request: when it was submitted and when each of its output tokens arrived.

    All times are readings of one monotonic clock in seconds: only differences have a meaning.
    """

    submitted: float
    """Clock reading when the request was handed to the engine."""
    times: tuple[float, ...]
    """Clock reading of every arrival, in order."""
    counts: tuple[int, ...]
    """Output tokens in each arrival: all ones where token boundaries are known."""
    input_tokens: int
    """Prompt tokens, counted by the engine's own ids."""
    token_ids: tuple[int, ...] = ()
    """Output token ids, where the engine gives them."""
    cached_tokens: int = 0
    """Prompt tokens that the engine took from a prefix cache instead of computing them."""

    @classmethod
    def token_by_token(
        cls, submitted: float, input_tokens: int, times: Sequence[float], token_ids: Sequence[int]
    ) -> RequestTrace:
        """Return the trace of an engine that gives each token a stamp of its own, and its id."""
        return cls(submitted, tuple(times), (1,) * len(times), input_tokens, tuple(token_ids))

    @property
    def output_tokens(self) -> int:
        return sum(self.counts)

    @property
    def first(self) -> float:
        return self.times[0]

    @property
    def last(self) -> float:
        return self.times[-1]

    @property
    def has_token_boundaries(self) -> bool:
        """Every arrival was exactly one token."""
        return all(count == 1 for count in self.counts)


@dataclass(frozen=True)
class RoundTrace:
    """The requests of one round: one batch, submitted together."""

    requests: tuple[RequestTrace, ...]

    @property
    def wall_time(self) -> float:
        """Seconds from the first submission to the last token of the round."""
        return max(r.last for r in self.requests) - min(r.submitted for r in self.requests)

    def to_wire(self) -> list[dict[str, Any]]:
        """Return builtin types only, for the way from the worker process."""
        return [asdict(request) for request in self.requests]

    @classmethod
    def from_wire(cls, requests: list[dict[str, Any]]) -> RoundTrace:
        def frozen(request: dict[str, Any]) -> dict[str, Any]:
            return {k: tuple(v) if isinstance(v, list) else v for k, v in request.items()}

        return cls(tuple(RequestTrace(**frozen(request)) for request in requests))
