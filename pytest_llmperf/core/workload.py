"""The work of one measurement: prompts, lengths, batch, rounds."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .defaults import DEFAULT_ROUNDS, DEFAULT_WARMUP
from .values import (
    MOST_REQUESTS,
    MOST_ROUNDS,
    MOST_TOKENS,
    check_text,
    check_whole,
    plain_whole,
    shown,
)


@dataclass(frozen=True)
class Request:
    """One request: the token ids of the prompt, and the exact number of tokens to generate."""

    prompt_ids: tuple[int, ...]
    output_len: int


@dataclass(frozen=True)
class Need:
    """When the rounds of a measurement end, if their number is not fixed."""

    precision: float
    """Reach of the 95 % interval of a median, as a share of it: 0.01 is 1 %."""
    max_time: float
    """Seconds that the rounds may take."""
    metrics: tuple[str, ...]
    """The metrics whose medians have to be known (keys of ``metrics.rounds.OF_ROUND``)."""
    rounds: int = 0
    """Rounds that are needed for another reason: percentiles need many samples."""


@dataclass(frozen=True)
class Workload:
    """A fixed amount of work, the same in every round.

    Exactly one of ``prompt`` and ``input_len`` is set. ``prompt`` is a text, which the model's
    tokenizer encodes. ``input_len`` is a number of random token ids, which differ in every request so
    that no cache can help.
    """

    output_len: int
    prompt: str | None = None
    input_len: int | None = None
    batch_size: int = 1
    rounds: int = DEFAULT_ROUNDS
    """Measured rounds; with ``need``, the smallest number of them."""
    warmup: int = DEFAULT_WARMUP
    seed: int = 0
    salt: str = ""
    """Name of the measurement. Random prompts of two salts have nothing in common; random prompts of
    one salt are the same in every run, so that both sides of a comparison answer the same prompts."""
    need: Need | None = None
    """When the rounds end; None: after ``rounds``."""

    def __post_init__(self) -> None:
        if (self.prompt is None) == (self.input_len is None):
            raise ValueError("give exactly one of prompt= and input_len=")
        if isinstance(self.prompt, str) and not self.prompt:
            raise ValueError("prompt= must not be empty")
        if self.prompt is not None:
            _check_prompt(self.prompt)
        for name in ("output_len", "batch_size", "rounds", "warmup", "input_len"):
            # numpy's, say: what is sent to the worker has to be a plain number.
            object.__setattr__(self, name, plain_whole(getattr(self, name)))
        check_whole("output_len", self.output_len, 1, MOST_TOKENS)
        check_whole("batch_size", self.batch_size, 1, MOST_REQUESTS)
        check_whole("rounds", self.rounds, 1, MOST_ROUNDS)
        check_whole("warmup", self.warmup, 0, MOST_ROUNDS)
        if self.input_len is not None:
            check_whole("input_len", self.input_len, 1, MOST_TOKENS)

    @property
    def hash(self) -> str:
        """Digest of the work, the same on every machine and in every run.

        Rounds and warm-up are left out because they only repeat the work. The salt is left out because
        random prompts of another salt have the same number of tokens, so the work is the same.
        """
        repeats = ("rounds", "warmup", "need", "salt")
        fields = {k: v for k, v in asdict(self).items() if k not in repeats}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

    def requests(
        self, round_index: int, encode: Callable[[str], list[int]], vocabulary: int
    ) -> list[Request]:
        """Return the requests of one round.

        Args:
            round_index: index of the round from 0; warm-up rounds have negative indices.
            encode: the engine's tokenizer, from text to token ids.
            vocabulary: number of token ids that random prompts may use.
        """
        if self.prompt is not None:
            ids = tuple(encode(self.prompt))
            return [Request(ids, self.output_len)] * self.batch_size
        assert self.input_len is not None
        return [
            Request(_random_ids(self, round_index, i, vocabulary), self.output_len)
            for i in range(self.batch_size)
        ]

    def to_wire(self) -> dict[str, Any]:
        """Return the fields as builtin types."""
        return asdict(self)

    @classmethod
    def from_wire(cls, data: Mapping[str, Any]) -> Workload:
        """Return the object that ``to_wire`` took apart."""
        need = data["need"]
        if need is not None:
            need = Need(**{**need, "metrics": tuple(need["metrics"])})
        return cls(**{**data, "need": need})


def _check_prompt(prompt: object) -> None:
    """Raise ValueError unless a prompt is one text."""
    if isinstance(prompt, str):
        check_text("prompt", prompt)
        return
    first = prompt[0] if isinstance(prompt, Sequence) and prompt else None
    instead = ""
    if isinstance(prompt, Mapping) or isinstance(first, Mapping):
        instead = "apply the chat template to messages first (docs/how-to/faq.md)"
    elif isinstance(first, int) and not isinstance(prompt, bytes):
        instead = "llm.generate_ids takes token ids, and input_len= measures that many random ones"
    elif isinstance(prompt, Sequence) and not isinstance(prompt, bytes):
        instead = (
            "it is that of every request of the batch; parametrize the test over several prompts"
        )
    raise ValueError(
        f"prompt must be a text, not {shown(prompt)}" + (f": {instead}" if instead else "")
    )


def _random_ids(
    workload: Workload, round_index: int, request_index: int, vocabulary: int
) -> tuple[int, ...]:
    assert workload.input_len is not None
    # The first ids of a vocabulary are usually control tokens: skip them if there are enough others.
    low = min(256, vocabulary // 2)
    # The name includes the length: otherwise a long prompt would begin with a short one of its salt.
    name = (workload.salt, workload.seed, workload.input_len, round_index, request_index)
    source = random.Random(repr(name))
    return tuple(source.randrange(low, vocabulary) for _ in range(workload.input_len))
