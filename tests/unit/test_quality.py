"""Quality from small distributions, compared with figures computed by hand."""

import json
import math
from dataclasses import replace

import numpy
import pytest

from pytest_llmperf.backends.base import Backend
from pytest_llmperf.core.engine import EngineInfo
from pytest_llmperf.core.errors import NotSupported
from pytest_llmperf.core.floor import Checked
from pytest_llmperf.core.text import shipped
from pytest_llmperf.core.trace import RequestTrace
from pytest_llmperf.metrics.quality import (
    DocumentQuality,
    Glimpse,
    Quality,
    flaw,
    flaw_at_a_glimpse,
)
from pytest_llmperf.worker import floor, scoring

INFO = EngineInfo(device="cpu", dtype="float32", vocabulary=4, has_tokenizer=True)
ENGINE = {"backend": "table", "version": "1", "dtype": "float32"}
# Distributions after the first, second and third token of "abcd", over a vocabulary of 4.
HALF = [[0.25, 0.5, 0.125, 0.125], [0.25, 0.25, 0.5, 0.0], [0.25, 0.25, 0.25, 0.25]]
# The same with another likeliest token at the second position.
OTHER = [[0.25, 0.5, 0.125, 0.125], [0.5, 0.25, 0.25, 0.0], [0.25, 0.25, 0.25, 0.25]]


class TableBackend(Backend):
    """An engine with distributions from a table; the letters a to d are the token ids 0 to 3."""

    name = "table"

    def __init__(self, table):
        with numpy.errstate(divide="ignore"):
            self._rows = numpy.log(numpy.array(table)).astype(numpy.float32)

    def load(self, spec):
        raise NotImplementedError

    def generate(self, requests):
        return [
            RequestTrace(0.0, (1.0,), (1,), 1, (int(self._rows[len(r.prompt_ids) - 1].argmax()),))
            for r in requests
        ]

    def encode(self, text):
        return [ord(letter) - ord("a") for letter in text]

    def decode(self, ids):
        raise NotImplementedError

    def log_probabilities(self, ids):
        return self._rows[: len(ids) - 1]


class SilentBackend(TableBackend):
    """An engine that reports tokens but no probabilities."""

    def log_probabilities(self, ids):
        raise NotSupported("silent reports nothing")


def assess(table, root, may_keep=None, texts=("abcd",)):
    return scoring.assess(TableBackend(table), INFO, texts, root, may_keep, lambda *_: None)


def test_perplexity_is_exp_of_the_mean_loss_of_the_next_tokens(tmp_path):
    # "abcd": P(b) = 1/2, P(c) = 1/2, P(d) = 1/4: the mean loss is (ln 2 + ln 2 + ln 4) / 3 = 4/3 ln 2.
    quality = assess(HALF, tmp_path)
    assert quality.perplexity == pytest.approx(2 ** (4 / 3))
    assert (quality.tokens, quality.vocabulary, quality.reference) == (3, 4, None)


def test_a_long_document_counts_as_many_times_as_it_has_tokens():
    documents = (DocumentQuality(30, 1.0, 9), DocumentQuality(10, 2.0, 9))
    # (30 x 1 + 10 x 2) / 40 = 1.25
    assert Quality(documents, 100, 0.0).perplexity == pytest.approx(math.exp(1.25))


def test_without_a_reference_there_is_no_divergence_and_no_agreement(tmp_path):
    quality = assess(HALF, tmp_path)
    assert (quality.kl_divergence, quality.top1_agreement) == (None, None)
    assert set(quality.metrics()) == {"perplexity"}


def test_the_unquantized_model_is_its_own_reference(tmp_path):
    quality = assess(HALF, tmp_path, ENGINE)
    assert (quality.kl_divergence, quality.top1_agreement) == (0.0, 1.0)
    assert quality.reference == {**ENGINE, "own": True}


def test_divergence_and_agreement_are_against_the_kept_distributions(tmp_path):
    assess(HALF, tmp_path, ENGINE)
    quality = assess(OTHER, tmp_path)
    # Only the second of 3 positions differs: 1/4 ln(1/2) + 1/4 ln 1 + 1/2 ln 2 = 1/4 ln 2.
    assert quality.kl_divergence == pytest.approx(math.log(2) / 12, rel=1e-6)
    assert quality.top1_agreement == pytest.approx(2 / 3)
    assert quality.reference == {**ENGINE, "own": False}
    assert quality.reference_perplexity == pytest.approx(2 ** (4 / 3))


def test_the_first_unquantized_engine_stays_the_reference(tmp_path):
    assess(HALF, tmp_path, ENGINE)
    quality = assess(OTHER, tmp_path, {**ENGINE, "backend": "second"})
    assert quality.reference == {**ENGINE, "own": False}
    assert quality.kl_divergence > 0


def test_a_broken_unquantized_model_becomes_no_reference(tmp_path):
    same = [[0.7, 0.1, 0.1, 0.1]] * 3
    quality = assess(same, tmp_path, ENGINE)
    assert flaw(quality) == "its likeliest next token is the same at each of 3 places of a text"
    assert quality.reference is None
    assert list(tmp_path.iterdir()) == []


def test_other_token_ids_have_another_reference(tmp_path):
    assess(HALF, tmp_path, ENGINE)
    assert assess(HALF, tmp_path, texts=("abca",)).kl_divergence is None


def test_one_document_is_compared_with_a_reference_of_several(tmp_path):
    assess(HALF, tmp_path, ENGINE, texts=("abcd", "abca"))
    assert assess(OTHER, tmp_path, texts=("abcd",)).top1_agreement == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", ["reference.json", "0.npy"])
@pytest.mark.parametrize("content", ["{", "{}"])
def test_a_damaged_reference_is_none_and_is_made_anew(tmp_path, name, content):
    assess(HALF, tmp_path, ENGINE)
    (damaged,) = tmp_path.glob(f"*/{name}")
    damaged.write_text(content)
    assert assess(OTHER, tmp_path).kl_divergence is None
    assess(HALF, tmp_path, ENGINE)
    assert assess(OTHER, tmp_path).kl_divergence > 0


def test_a_text_that_has_changed_behind_its_first_document_has_a_new_reference(tmp_path):
    assess(HALF, tmp_path, ENGINE, texts=("abcd", "abca"))
    assess(HALF, tmp_path, ENGINE, texts=("abcd", "abcb"))
    assert assess(OTHER, tmp_path, texts=("abcd", "abcb")).top1_agreement == pytest.approx(2 / 3)


def test_where_nothing_can_be_kept_the_score_is_good_all_the_same(tmp_path):
    nowhere = tmp_path / "file"
    nowhere.write_text("no folder")
    quality = assess(HALF, nowhere, ENGINE)
    assert quality.perplexity == pytest.approx(2 ** (4 / 3))
    assert quality.reference is None


def test_an_engine_without_room_for_the_text_is_seen_by_its_next_tokens(tmp_path):
    class SmallBackend(TableBackend):
        def log_probabilities(self, ids):
            raise ValueError("the context has 2 tokens")

    assert scoring.look(SmallBackend(HALF), INFO, "abcd", tmp_path) is None
    same = [[0.7, 0.1, 0.1, 0.1]] * 3
    flawed = "its next token is the same at each of 3 places of a text"
    assert scoring.look(SmallBackend(same), INFO, "abcd", tmp_path) == flawed


def test_an_engine_without_room_for_the_text_is_scored_on_its_start(tmp_path):
    class ShortBackend(TableBackend):
        def log_probabilities(self, ids):
            if len(ids) > 32:
                raise NotSupported("a window of 32 tokens")
            return numpy.full((len(ids) - 1, 4), -math.log(4), dtype=numpy.float32)

    judged = []
    scoring.look(ShortBackend(HALF), INFO, "abcd" * 10, tmp_path, judge=judged.append)
    assert [quality.tokens for quality in judged] == [31]


def test_the_start_of_a_text_is_compared_with_the_kept_distributions(tmp_path):
    text = "abcd" * 10
    table = [[0.7 if token == (i + 1) % 4 else 0.1 for token in range(4)] for i in range(39)]
    assess(table, tmp_path, ENGINE, [text])

    class ShortBackend(TableBackend):
        def log_probabilities(self, ids):
            if len(ids) > 32:
                raise NotSupported("a window of 32 tokens")
            return super().log_probabilities(ids)

    judged = []
    scoring.look(ShortBackend(table), INFO, text, tmp_path, judge=judged.append)
    assert [(quality.tokens, quality.top1_agreement) for quality in judged] == [(31, 1.0)]


def test_a_text_beyond_the_context_is_not_scored(tmp_path):
    short = replace(INFO, context=3)
    with pytest.raises(ValueError, match=r"^a request of 4 tokens .* the model's context of 3$"):
        scoring.assess(TableBackend(HALF), short, ["abcd"], tmp_path, None, lambda *_: None)


def test_an_engine_that_cannot_be_asked_at_all_has_no_flaw(tmp_path):
    class DeafBackend(SilentBackend):
        def generate(self, requests):
            raise RuntimeError("no")

    assert scoring.look(DeafBackend(HALF), INFO, "abcd", tmp_path) is None
    found = floor.check(DeafBackend(HALF), INFO, "abcd", "plain English", tmp_path, ENGINE)
    assert found == Checked(unchecked=True)


def test_a_padded_vocabulary_is_counted_with_its_last_token(tmp_path):
    assess(HALF, tmp_path, ENGINE)
    padded = [[*row[:3], row[3] / 2, row[3] / 2] for row in HALF]
    assert assess(padded, tmp_path).kl_divergence == pytest.approx(0, abs=1e-6)


def test_the_wire_form_gives_the_same_back(tmp_path):
    assess(HALF, tmp_path, ENGINE)
    quality = assess(OTHER, tmp_path)
    assert Quality.from_wire(json.loads(json.dumps(quality.to_wire()))) == quality


def test_scores_are_the_losses_of_the_next_tokens():
    scores = scoring.scores(TableBackend(HALF), [0, 1, 2, 3])
    assert scores == pytest.approx([math.log(0.5), math.log(0.5), math.log(0.25)])


def test_a_score_needs_two_tokens():
    with pytest.raises(ValueError, match="needs at least 2 tokens"):
        scoring.scores(TableBackend(HALF), [0])


def quality(nll=2.0, choices=50, vocabulary=1000, **reference):
    return Quality((DocumentQuality(100, nll, choices, **reference),), vocabulary, 0.0)


def test_a_working_model_has_no_flaw():
    assert flaw(quality()) is None
    assert flaw(quality(kl=0.5, agreement=0.55, reference_nll=1.7)) is None


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (quality(nll=math.nan), "its log-probabilities are not finite numbers"),
        (quality(nll=math.inf), "its log-probabilities are not finite numbers"),
        (
            quality(choices=1),
            "its likeliest next token is the same at each of 100 places of a text",
        ),
        (
            # 0.75 ln 1000 = 5.18 nats
            quality(nll=math.log(400)),
            "its perplexity on plain English is 400, little better than guessing among 1,000 tokens "
            "(random weights: --llm-load-format=dummy)",
        ),
        (
            quality(nll=math.log(40), reference_nll=math.log(10), kl=2.0, agreement=0.5),
            "its perplexity is 40.0, far from the unquantized model's 10.0",
        ),
        (
            quality(reference_nll=2.0, kl=2.0, agreement=0.25),
            "its likeliest next token is the unquantized model's at 25% of 100 places only",
        ),
    ],
)
def test_a_broken_model_has_a_flaw(broken, message):
    assert flaw(broken) == message


def test_an_engine_without_probabilities_is_seen_by_its_next_tokens(tmp_path):
    glimpse = scoring.glimpse(SilentBackend(HALF), "abcd", tmp_path)
    assert glimpse == Glimpse((1, 2, 0))
    assert flaw_at_a_glimpse(glimpse) is None


def test_next_tokens_are_compared_with_the_kept_distributions(tmp_path):
    assess(HALF, tmp_path, ENGINE)
    glimpse = scoring.glimpse(SilentBackend(OTHER), "abcd", tmp_path)
    assert glimpse == Glimpse((1, 0, 0), (1, 2, 0))
    assert glimpse.agreement == pytest.approx(2 / 3)


class RandomBackend(SilentBackend):
    """An engine whose next tokens have nothing to do with the text."""

    def __init__(self):
        super().__init__(HALF)

    def generate(self, requests):
        return [
            RequestTrace(0.0, (1.0,), (1,), 1, (100 + len(r.prompt_ids) % 7,)) for r in requests
        ]


def test_an_engine_without_probabilities_has_to_predict_a_token_of_the_text(tmp_path):
    info = replace(INFO, vocabulary=32000)
    text = "abcd" * 10
    found = floor.check(RandomBackend(), info, text, "plain English", tmp_path, ENGINE)
    assert found.flaw == (
        "it predicts none of the first 32 tokens of plain English, no better than guessing (random "
        "weights: --llm-load-format=dummy)"
    )
    assert found.guessing
    assert "--llm-floor-text=FILE" in found.advice


@pytest.mark.parametrize(
    ("hits", "places", "vocabulary", "is_guessing"),
    [
        (0, 32, 32000, True),
        (1, 32, 32000, False),
        # Guesses among 512 tokens hit one of 32 once in 16 cases, two once in 600.
        (1, 32, 512, True),
        (2, 32, 512, False),
        # Few places, few tokens or none known say nothing.
        (0, 15, 32000, False),
        (0, 32, 64, False),
        (0, 32, 0, False),
    ],
)
def test_right_tokens_are_more_than_guesses(hits, places, vocabulary, is_guessing):
    text = tuple(range(places))
    tokens = (*text[:hits], *range(100, 100 + places - hits))
    glimpse = Glimpse(tokens, text_tokens=text, vocabulary=vocabulary)
    assert glimpse.is_guessing is is_guessing
    assert bool(flaw_at_a_glimpse(glimpse)) is is_guessing


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Glimpse((7,) * 16), "its next token is the same at each of 16 places of a text"),
        (
            Glimpse((1, 2, 3, 4), (5, 6, 7, 4)),
            "its next token is the unquantized model's at 25% of 4 places only",
        ),
    ],
)
def test_a_broken_engine_without_probabilities_has_a_flaw(broken, message):
    assert flaw_at_a_glimpse(broken) == message


def test_the_shipped_text_has_documents_of_about_one_length():
    text = shipped()
    assert len(text.documents) == 8
    assert all(900 < len(document) < 1300 for document in text.documents)
    assert text.sha256.startswith("81d804429b39238c")
