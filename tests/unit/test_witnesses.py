"""Engines that agree on a text which a model hardly knows, with distributions from a table."""

import json
import math
from dataclasses import replace

import numpy
import pytest

from pytest_llmperf.backends.base import Backend
from pytest_llmperf.core.engine import EngineInfo
from pytest_llmperf.worker import floor
from pytest_llmperf.worker.witnesses import Witness, vouched_by

WIDTH = 64
TEXT = "".join(chr(33 + (7 * i) % WIDTH) for i in range(40))
INFO = EngineInfo(device="cpu", dtype="float32", vocabulary=WIDTH, has_tokenizer=True)


class ShiftedBackend(Backend):
    """An engine whose likeliest next token is the right one plus a shift, at a programmed loss."""

    name = "shifted"

    def __init__(self, loss, shift=0):
        self._loss, self._shift = loss, shift

    def load(self, spec):
        raise NotImplementedError

    def generate(self, requests):
        raise NotImplementedError

    def encode(self, text):
        return [ord(letter) - 33 for letter in text]

    def decode(self, ids):
        raise NotImplementedError

    def log_probabilities(self, ids):
        places = numpy.arange(len(ids) - 1)
        targets = numpy.array(ids[1:])
        likely = math.exp(-self._loss)
        likeliest = (targets + self._shift) % WIDTH
        most = max(likely, 3 / WIDTH)
        rows = numpy.full((len(places), WIDTH), (1 - likely - most) / (WIDTH - 2))
        rows[places, likeliest] = most
        rows[places, targets] = likely
        return numpy.log(rows).astype(numpy.float32)


def check(root, loss, shift=0, backend="a", mode="none"):
    engine = {"backend": backend, "version": "1", "mode": mode}
    return floor.check(ShiftedBackend(loss, shift), INFO, TEXT, "plain English", root, engine)


GUESSING = 0.8 * math.log(WIDTH)


def test_an_engine_alone_is_refused_and_the_flaw_is_a_guess(tmp_path):
    checked = check(tmp_path, GUESSING)
    assert checked.flaw.startswith(
        "its perplexity on plain English is 28, little better than guess"
    )
    assert checked.guessing


def test_two_engines_that_agree_pass_and_so_does_the_first_one_then(tmp_path):
    check(tmp_path, GUESSING)
    assert check(tmp_path, GUESSING + 0.02, backend="b") == floor.Checked(agrees_with="a 1")
    assert check(tmp_path, GUESSING) == floor.Checked(agrees_with="b 1")


def test_the_same_engine_again_is_no_other_witness(tmp_path):
    check(tmp_path, GUESSING)
    assert check(tmp_path, GUESSING).guessing
    assert check(tmp_path, GUESSING, mode="nf4").guessing


@pytest.mark.parametrize(("loss", "shift"), [(GUESSING, 5), (GUESSING + 0.3, 0)])
def test_engines_that_predict_other_tokens_or_another_loss_do_not_agree(tmp_path, loss, shift):
    check(tmp_path, GUESSING)
    assert check(tmp_path, loss, shift, backend="b").guessing


def test_random_weights_are_refused_however_many_engines_agree(tmp_path):
    for backend in "abab":
        assert check(tmp_path, math.log(WIDTH), backend=backend).guessing


def test_a_quantized_model_passes_beside_two_engines_that_agree(tmp_path):
    assert check(tmp_path, GUESSING + 0.3, mode="nf4").guessing
    check(tmp_path, GUESSING)
    check(tmp_path, GUESSING, backend="b")
    assert check(tmp_path, GUESSING + 0.3, mode="nf4").agrees_with == "a 1"


def test_a_damaged_file_is_written_again(tmp_path):
    mine = Witness("a", "1", "none", 3.0, (1, 2, 3))
    vouched_by(mine, tmp_path, "x")
    (tmp_path / "witnesses" / "x.json").write_text("[{}]")
    assert vouched_by(mine, tmp_path, "x") is None
    (kept,) = json.loads((tmp_path / "witnesses" / "x.json").read_text())
    assert kept["likeliest"] == [1, 2, 3]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path):
    (tmp_path / "witnesses").write_text("a file")
    mine = Witness("a", "1", "none", 3.0, (1, 2, 3))
    assert vouched_by(mine, tmp_path, "x") is None


def test_documents_of_other_lengths_do_not_agree():
    mine = Witness("a", "1", "none", 3.0, (1, 2, 3))
    assert not mine.agrees(replace(mine, backend="b", likeliest=(1, 2)))
    assert not mine.agrees(mine)
    assert mine.agrees(replace(mine, backend="b"))
