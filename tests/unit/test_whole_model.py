"""A checkpoint that does not hold all weights is refused: transformers would make random ones."""

import re

import pytest

from pytest_llmperf.backends.hub import whole_model


class Model:
    def named_parameters(self):
        return [("layers.0.weight", None), ("layers.1.weight", None)]


def loader(missing=(), mismatched=()):
    def from_pretrained(*source, output_loading_info=False, **options):
        notes = {"missing_keys": set(missing), "mismatched_keys": set(mismatched)}
        return (Model(), notes) if output_loading_info else Model()

    return from_pretrained


def test_a_whole_checkpoint_is_loaded():
    assert isinstance(whole_model(loader(), "folder", dtype="float32"), Model)


def test_a_buffer_that_is_not_stored_is_no_weight():
    assert isinstance(whole_model(loader(missing=["position_ids"]), "folder"), Model)


def test_missing_weights_are_named():
    line = "the checkpoint lacks 1 weights that config.json says: layers.1.weight, ..."
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        whole_model(loader(missing=["layers.1.weight"]), "folder")


def test_weights_of_another_shape_are_named():
    line = "1 weights have another shape than config.json says: a is (2, 3), not (2, 4)"
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        whole_model(loader(mismatched=[("a", (2, 3), (2, 4))]), "folder")


def test_a_user_may_want_it_so():
    load = loader(missing=["layers.1.weight"])
    assert isinstance(whole_model(load, "folder", ignore_mismatched_sizes=True), Model)
