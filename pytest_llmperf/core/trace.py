"""Traces: timestamps of token ids, taken in the process that received them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class RequestTrace:
    """One request: when it was submitted and when each of its output tokens arrived.

    All times are readings of one monotonic clock in seconds: only their differences are meaningful.
    """

    submitted: float
    """Clock reading when the request was handed to the engine."""
    times: tuple[float, ...]
    """Clock reading of each arrival, in order."""
    counts: tuple[int, ...]
    """Output tokens in each arrival: all ones if token boundaries are known."""
    input_tokens: int
    """Prompt tokens, as the engine counts them."""
    token_ids: tuple[int, ...] = ()
    """Output token ids, if the engine reports them."""
    cached_tokens: int = 0
    """Prompt tokens that the engine took from a prefix cache instead of computing them."""

    @classmethod
    def token_by_token(
        cls, submitted: float, input_tokens: int, times: Sequence[float], token_ids: Sequence[int]
    ) -> RequestTrace:
        """Return the trace of a request whose engine reports a timestamp and an id for each token."""
        return cls(submitted, tuple(times), (1,) * len(times), input_tokens, tuple(token_ids))

    @property
    def output_tokens(self) -> int:
        """Number of output tokens."""
        return sum(self.counts)

    @property
    def first(self) -> float:
        """Clock reading of the first arrival."""
        return self.times[0]

    @property
    def last(self) -> float:
        """Clock reading of the last arrival."""
        return self.times[-1]

    @property
    def has_token_boundaries(self) -> bool:
        """Return whether every arrival was exactly one token."""
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
        """Return the requests as builtin types, which the worker process can send."""
        return [asdict(request) for request in self.requests]

    @classmethod
    def from_wire(cls, requests: list[dict[str, Any]]) -> RoundTrace:
        """Return the object that ``to_wire`` took apart."""

        def frozen(request: dict[str, Any]) -> dict[str, Any]:
            return {k: tuple(v) if isinstance(v, list) else v for k, v in request.items()}

        return cls(tuple(RequestTrace(**frozen(request)) for request in requests))
