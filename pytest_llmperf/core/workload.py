"""The work of one measurement: prompts, lengths, batch, rounds."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

from .defaults import DEFAULT_ROUNDS, DEFAULT_WARMUP
from .prompts import Chat, Prompt, batch_of, is_ids
from .values import (
    MOST_REQUESTS,
    MOST_ROUNDS,
    MOST_TOKENS,
    check_text,
    check_whole,
    plain_whole,
    shown,
)

MOST_SEED = 2**31 - 1
_MOST_TEMPERATURE = 100
_ADDED = {
    "prompts": None,
    "output_lens": None,
    "temperature": 0.0,
    "sampling_seed": 0,
    "prefix_len": 0,
}


@dataclass(frozen=True)
class Request:
    """One request: the token ids of the prompt, and the exact number of tokens to generate."""

    prompt_ids: tuple[int, ...]
    output_len: int
    temperature: float = 0.0
    """0: the likeliest token; above: each token is drawn from the model's whole distribution."""
    seed: int = 0
    """Of what is drawn."""
    prefix_len: int = 0
    """Prompt tokens from the beginning that the engine may take from a cache."""


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

    Exactly one of ``prompt``, ``prompts`` and ``input_len`` is set. ``prompt`` is a text, which the
    model's tokenizer encodes. ``prompts`` are taken in turn by the requests of the batch. ``input_len``
    is a number of random token ids, which differ in every request so that no cache can help.
    """

    output_len: int
    """Of each request; of the longest if ``output_lens`` is set. A list sets both."""
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
    prompts: tuple[Prompt, ...] | None = None
    output_lens: tuple[int, ...] | None = None
    """Taken in turn, as the prompts are; None: all are ``output_len``."""
    temperature: float = 0.0
    """0: greedy decoding."""
    sampling_seed: int = 0
    prefix_len: int = 0
    """Random tokens that all prompts of all rounds begin with, which the engine takes from a cache; part
    of ``input_len``. 0: nothing comes from a cache."""
    need: Need | None = None
    """When the rounds end; None: after ``rounds``."""

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.prompt, self.prompts, self.input_len)) != 1:
            raise ValueError("give exactly one of prompt=, prompts= and input_len=")
        if isinstance(self.prompt, str) and not self.prompt:
            raise ValueError("prompt= must not be empty")
        if self.prompt is not None:
            _check_prompt(self.prompt)
        if self.prompts is not None:
            object.__setattr__(self, "prompts", batch_of(self.prompts))
        self._set_lengths()
        for name in ("output_len", "batch_size", "rounds", "warmup", "input_len", "sampling_seed"):
            # numpy's, say: what is sent to the worker has to be a plain number.
            object.__setattr__(self, name, plain_whole(getattr(self, name)))
        check_whole("output_len", self.output_len, 1, MOST_TOKENS)
        check_whole("batch_size", self.batch_size, 1, MOST_REQUESTS)
        check_whole("rounds", self.rounds, 1, MOST_ROUNDS)
        check_whole("warmup", self.warmup, 0, MOST_ROUNDS)
        if self.input_len is not None:
            check_whole("input_len", self.input_len, 1, MOST_TOKENS)
        check_sampling(self.temperature, self.sampling_seed)
        self._check_prefix()

    def _check_prefix(self) -> None:
        object.__setattr__(self, "prefix_len", plain_whole(self.prefix_len))
        check_whole("prefix_len", self.prefix_len, 0, MOST_TOKENS)
        if self.prefix_len and self.input_len is None:
            raise ValueError("prefix_len= is a part of input_len=: give that instead of a prompt")
        if self.prefix_len and self.prefix_len >= (self.input_len or 0):
            raise ValueError(
                f"prefix_len must be less than input_len, which is {self.input_len}, not "
                f"{self.prefix_len}"
            )

    def _set_lengths(self) -> None:
        """Set the list of output lengths and the longest; lengths that are all equal are one."""
        given = self.output_len if isinstance(self.output_len, list | tuple) else self.output_lens
        if given is None:
            return
        lengths = tuple(plain_whole(length) for length in given)
        if not lengths:
            raise ValueError("output_len must not be empty")
        for length in lengths:
            check_whole("output_len", length, 1, MOST_TOKENS)
        if self.prompts is not None and len(lengths) != len(self.prompts):
            raise ValueError(
                f"output_len has {len(lengths)} lengths for {len(self.prompts)} prompts: give one each"
            )
        object.__setattr__(self, "output_len", max(lengths))
        object.__setattr__(self, "output_lens", lengths if len(set(lengths)) > 1 else None)

    @property
    def output_lengths(self) -> tuple[int, ...]:
        """The output tokens of each request of the batch."""
        lengths = self.output_lens or (self.output_len,)
        return tuple(lengths[i % len(lengths)] for i in range(self.batch_size))

    @property
    def known_input_len(self) -> int:
        """The longest prompt in tokens, as far as it is known without a tokenizer."""
        ids = [len(prompt) for prompt in self.prompts or () if is_ids(prompt)]
        return max(ids, default=self.input_len or 0)

    @property
    def repeats_prompts(self) -> bool:
        """Whether every round has the same prompts, so that a cache could answer them."""
        return self.input_len is None

    @property
    def hash(self) -> str:
        """Digest of the work, the same on every machine and in every run.

        Rounds and warm-up are left out because they only repeat the work. The salt is left out because
        random prompts of another salt have the same number of tokens, so the work is the same. Fields
        that earlier commits did not have are left out where they say what those did.
        """
        repeats = ("rounds", "warmup", "need", "salt")
        fields = {k: v for k, v in asdict(self).items() if k not in repeats}
        for name, usual in _ADDED.items():
            if fields[name] == usual:
                del fields[name]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]

    def requests(
        self, round_index: int, encode: Callable[[str | Chat], list[int]], vocabulary: int
    ) -> list[Request]:
        """Return the requests of one round.

        Args:
            round_index: index of the round from 0; warm-up rounds have negative indices.
            encode: the engine's tokenizer, from a text or a chat to token ids.
            vocabulary: number of token ids that random prompts may use.
        """
        if self.input_len is None:
            given = self.prompts or ((self.prompt,) if self.prompt else ())
            encoded = [_encoded(prompt, encode) for prompt in given[: self.batch_size]]
            prompts = [encoded[i % len(encoded)] for i in range(self.batch_size)]
        else:
            # The name includes the length: otherwise a long prompt would begin with a short one.
            name = (self.salt, self.seed, self.input_len, round_index)
            rest = self.input_len - self.prefix_len
            shared = random_ids((*name[:3], "prefix"), self.prefix_len, vocabulary)
            prompts = [
                shared + random_ids((*name, i), rest, vocabulary) for i in range(self.batch_size)
            ]
        return [
            sampled(
                Request(ids, length, prefix_len=self.prefix_len),
                self.temperature,
                self.sampling_seed,
                i,
            )
            for i, (ids, length) in enumerate(zip(prompts, self.output_lengths, strict=True))
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


def _encoded(prompt: Prompt, encode: Callable[[str | Chat], list[int]]) -> tuple[int, ...]:
    """Return the token ids of a prompt."""
    if is_ids(prompt):
        return cast("tuple[int, ...]", prompt)
    return tuple(encode(cast("str | Chat", prompt)))


def _check_prompt(prompt: object) -> None:
    """Raise ValueError unless a prompt is one text."""
    if isinstance(prompt, str):
        check_text("prompt", prompt)
        return
    is_list = isinstance(prompt, Sequence) and not isinstance(prompt, bytes) and len(prompt) > 0
    first = prompt[0] if isinstance(prompt, Sequence) and is_list else None
    instead = ""
    if isinstance(prompt, Mapping) or isinstance(first, Mapping):
        instead = "give a chat as prompts=[[{'role': 'user', 'content': '...'}]]"
    elif isinstance(first, int):
        instead = "give token ids as prompts=[[1, 2, 3]]; input_len= takes that many random ones"
    elif is_list:
        instead = "give several as prompts=[...]"
    raise ValueError(
        f"prompt must be a text, not {shown(prompt)}" + (f": {instead}" if instead else "")
    )


def check_sampling(value: object, seed: object) -> None:
    """Raise ValueError unless a temperature and a seed can be those of sampling."""
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not 0 <= value <= _MOST_TEMPERATURE
    ):
        raise ValueError(
            f"temperature must be a number from 0 (greedy) to {_MOST_TEMPERATURE}, not {shown(value)}"
        )
    check_whole("seed", seed, 0, MOST_SEED)
    if seed and not value:
        raise ValueError("seed= is that of sampling: give temperature=, too")


def sampled(request: Request, temperature: float, seed: int, index: int) -> Request:
    """Return a request of a batch with its own seed, so that equal prompts are drawn independently."""
    if not temperature:
        return request
    digest = hashlib.sha256(f"{seed}/{index}".encode()).digest()
    own = int.from_bytes(digest[:4], "big") >> 1
    return replace(request, temperature=float(temperature), seed=own)


def random_ids(name: object, length: int, vocabulary: int) -> tuple[int, ...]:
    """Return random token ids, the same for a name in every process.

    Args:
        name: anything with a repr; another one gives other ids.
        length: number of the ids.
        vocabulary: number of token ids that a model has.
    """
    # The first ids of a vocabulary are usually control tokens: skip them if there are enough others.
    low = min(256, vocabulary // 2)
    source = random.Random(repr(name))
    return tuple(source.randrange(low, vocabulary) for _ in range(length))
