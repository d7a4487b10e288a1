"""The quality of a model's output: perplexity, and its distance from the unquantized model.

Definitions, all over the positions of a text whose next token is known:

- perplexity: exp of the mean negative log-likelihood of the next token (natural logarithm). Documents
  are scored each by itself, each of its tokens after the first one once.
- KL divergence: mean of ``sum p (log p - log q)`` over the whole vocabulary, p the unquantized model's
  distribution, q this one's; in nats per token.
- top-1 agreement: share of positions at which the likeliest next token of both is the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

GUESSING = 0.75
"""Share of ln(vocabulary), the loss of blind guessing, above which nothing was understood."""
HOPELESS = 0.95
"""Share of ln(vocabulary) from which the weights are random, however many engines agree on that."""
ENOUGH_PLACES = 16
"""Places at which a working model predicts a token of a text that it knows at least once."""
RARE = 0.01
"""Probability below which right tokens are not guesses."""
FAR_PERPLEXITY = 3.0
"""A perplexity above this multiple of the unquantized model's is another model's."""
FAR_AGREEMENT = 0.3
"""A top-1 agreement below this is another model's. The coarsest mode measured here (fp4 of a model of
135 M parameters) has 1.4 times the perplexity and an agreement of 0.55."""


@dataclass(frozen=True)
class DocumentQuality:
    """The quality of one document on one engine."""

    tokens: int
    """Positions that were scored."""
    nll: float
    """Mean negative log-likelihood of the next token, in nats."""
    choices: int
    """Different tokens that were likeliest somewhere."""
    kl: float | None = None
    """Mean KL divergence from the reference, in nats per token."""
    agreement: float | None = None
    """Share of positions with the reference's likeliest token."""
    reference_nll: float | None = None


@dataclass(frozen=True)
class Quality:
    """The quality of a text on one engine, against the unquantized model where that is known."""

    documents: tuple[DocumentQuality, ...]
    vocabulary: int
    """Tokens that the distributions are over."""
    seconds: float
    """Time that scoring took, comparison included."""
    reference: Mapping[str, Any] | None = None
    """The source of the distributions p: ``backend``, ``version`` and ``dtype`` of the engine, and
    ``own``: true if this very measurement made them."""

    @property
    def tokens(self) -> int:
        return sum(document.tokens for document in self.documents)

    @property
    def perplexity(self) -> float:
        return _exp(self._mean([document.nll for document in self.documents]))

    @property
    def reference_perplexity(self) -> float | None:
        """Perplexity of the reference on the same documents."""
        mean = self._known_mean([document.reference_nll for document in self.documents])
        return None if mean is None else _exp(mean)

    @property
    def kl_divergence(self) -> float | None:
        return self._known_mean([document.kl for document in self.documents])

    @property
    def top1_agreement(self) -> float | None:
        return self._known_mean([document.agreement for document in self.documents])

    def _mean(self, values: Sequence[float]) -> float:
        """Return the mean over positions: a long document counts more."""
        pairs = zip(values, self.documents, strict=True)
        return math.fsum(value * document.tokens for value, document in pairs) / self.tokens

    def _known_mean(self, values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return self._mean(known) if len(known) == len(self.documents) else None

    def metrics(self) -> dict[str, float]:
        """Return the known values by metric key."""
        values = {
            "perplexity": self.perplexity,
            "kl_divergence": self.kl_divergence,
            "top1_agreement": self.top1_agreement,
        }
        return {key: value for key, value in values.items() if value is not None}

    def to_wire(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_wire(cls, data: Mapping[str, Any]) -> Quality:
        documents = tuple(DocumentQuality(**document) for document in data["documents"])
        return cls(documents, data["vocabulary"], data["seconds"], data["reference"])


@dataclass(frozen=True)
class Glimpse:
    """The next token at a few places, from an engine that reports no probabilities."""

    tokens: tuple[int, ...]
    reference_tokens: tuple[int, ...] | None = None
    """The unquantized model's likeliest tokens at the same places."""
    text_tokens: tuple[int, ...] | None = field(default=None, compare=False)
    """The tokens of the text at these places; None where the unquantized model's are known."""

    vocabulary: int = field(default=0, compare=False)
    """Number of tokens that there are; 0 if it is unknown."""

    @property
    def hits(self) -> int:
        """Places at which the token is that of the text."""
        return sum(a == b for a, b in zip(self.tokens, self.text_tokens or (), strict=False))

    @property
    def is_guessing(self) -> bool:
        """Return whether no more tokens of the text were predicted than by guessing.

        The weakest model that was tried (135 M parameters) predicts 3 to 9 of 32; guesses hit one of 32
        once in 1,000 cases with 32,000 tokens, but once in 16 with 512.
        """
        places = len(self.tokens)
        if self.text_tokens is None or places < ENOUGH_PLACES or self.vocabulary <= 2 * places:
            return False
        enough = math.ceil(math.log(RARE) / math.log(places / self.vocabulary))
        return self.hits < enough

    @property
    def agreement(self) -> float | None:
        if self.reference_tokens is None:
            return None
        pairs = zip(self.tokens, self.reference_tokens, strict=True)
        return sum(token == reference for token, reference in pairs) / len(self.tokens)


def not_finite(quality: Quality) -> str | None:
    """Return why there is no number at all, or None."""
    if not all(math.isfinite(document.nll) for document in quality.documents):
        return "its log-probabilities are not finite numbers"
    return None if math.isfinite(quality.perplexity) else "its perplexity is not a finite number"


def guessing(quality: Quality, share: float = GUESSING) -> bool:
    """Return whether the next tokens of the text were predicted hardly better than by guessing."""
    return math.log(quality.perplexity) > share * math.log(quality.vocabulary)


def flaw(quality: Quality, text: str = "plain English", vouched: bool = False) -> str | None:
    """Return why the output cannot come from a working model, or None.

    Args:
        quality: of one or more documents.
        text: the text, for the message.
        vouched: it is known that the model works, so it may know nothing about this text.
    """
    places = quality.tokens
    if problem := not_finite(quality):
        return problem
    if all(document.choices == 1 for document in quality.documents):
        return f"its likeliest next token is the same at each of {places} places of a text"
    perplexity, reference = quality.perplexity, quality.reference_perplexity
    if guessing(quality) and not vouched:
        return (
            f"its perplexity on {text} is {perplexity:,.0f}, little better than guessing among "
            f"{quality.vocabulary:,} tokens (random weights: --llm-load-format=dummy)"
        )
    if reference is not None and perplexity > FAR_PERPLEXITY * reference:
        return f"its perplexity is {perplexity:,.1f}, far from the unquantized model's {reference:,.1f}"
    agreement = quality.top1_agreement
    if agreement is not None and agreement < FAR_AGREEMENT:
        return (
            f"its likeliest next token is the unquantized model's at {agreement:.0%} of {places} "
            "places only"
        )
    return None


def flaw_at_a_glimpse(glimpse: Glimpse, text: str = "plain English") -> str | None:
    """Return why the tokens cannot come from a working model, or None.

    For an engine that reports tokens only, not their probabilities.

    Args:
        glimpse: the tokens.
        text: the text, for the message.
    """
    places = len(glimpse.tokens)
    if len(set(glimpse.tokens)) == 1:
        return f"its next token is the same at each of {places} places of a text"
    if glimpse.agreement is not None and glimpse.agreement < FAR_AGREEMENT:
        return (
            f"its next token is the unquantized model's at {glimpse.agreement:.0%} of {places} places "
            "only"
        )
    if glimpse.is_guessing:
        return (
            f"it predicts {glimpse.hits or 'none'} of the first {places} tokens of {text}, no better "
            "than guessing (random weights: --llm-load-format=dummy)"
        )
    return None


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
