"""Tests of two sides whose cells differ, by the names in their records."""

import pytest

from pytest_llmperf.gate.matching import match
from pytest_llmperf.store.stored import cell_name, judged_test


@pytest.fixture
def record(stored_record):
    """A record of a cell; ``traits=None``: as an early file has it."""

    def make(cell, mode="none", engine="vllm", traits=None):
        made = stored_record(
            f"test_speed.py::test_x[{cell}]",
            backend={"name": engine},
            quantization={"mode": mode},
            ttft=0.1,
        )
        made["cell"] = cell
        if traits is not None:
            made["backend"]["traits"] = list(traits)
        return made

    return make


@pytest.fixture
def side(record):
    """The tests of a side, by id."""

    def make(*cells):
        tests = [judged_test(record(*cell), ()) for cell in cells]
        return {test.nodeid: test for test in tests}

    return make


def pairs(matched):
    return [
        tuple(i.partition("[")[2].rstrip("]") for i in (m.baseline_id, m.candidate_id))
        for m in matched
    ]


@pytest.mark.parametrize(
    ("cell", "mode", "engine", "traits", "backend", "of_cell"),
    [
        ("m-vllm-none", "none", "vllm", None, "vllm", ()),
        ("m-vllm-none-tp2", "none", "vllm", None, "vllm", ("tp2",)),
        ("m-vllm@next-nf4-dq-tp2-pp2", "nf4-dq", "vllm", None, "vllm@next", ("tp2", "pp2")),
        ("m-vllm-fp8-tp2-kvfp8", "fp8", "vllm", ("tp2", "kvfp8"), "vllm", ("tp2", "kvfp8")),
        # A label may look like a mode, once the traits are known.
        ("m-vllm@x-none-none", "none", "vllm", (), "vllm@x-none", ()),
        ("m-vllm@x-none-none-kvfp8", "none", "vllm", ("kvfp8",), "vllm@x-none", ("kvfp8",)),
    ],
)
def test_the_parts_of_a_cell(record, cell, mode, engine, traits, backend, of_cell):
    name = cell_name(record(cell, mode, engine, traits))
    assert (name.id, name.backend, name.mode, name.traits) == (cell, backend, mode, of_cell)
    assert name.variant == cell.removeprefix("m-")


def test_an_id_of_an_earlier_file_is_the_same_test(side):
    before, after = side(("m-vllm-none-tp2",)), side(("m-vllm-none-tp2", "none", "vllm", ("tp2",)))
    assert pairs(match(before, after)) == [("m-vllm-none-tp2", "m-vllm-none-tp2")]


def test_a_trait_on_one_side_only_matches(side):
    before = side(("m-vllm-none", "none", "vllm", ()), ("m-vllm-fp8", "fp8", "vllm", ()))
    after = side(
        ("m-vllm-none-kvfp8", "none", "vllm", ("kvfp8",)),
        ("m-vllm-fp8-kvfp8", "fp8", "vllm", ("kvfp8",)),
    )
    assert pairs(match(before, after)) == [
        ("m-vllm-none", "m-vllm-none-kvfp8"),
        ("m-vllm-fp8", "m-vllm-fp8-kvfp8"),
    ]


def test_an_argument_that_had_no_name_in_earlier_files_matches(side):
    before, after = side(("m-vllm-none",)), side(("m-vllm-none-kvfp8", "none", "vllm", ("kvfp8",)))
    assert pairs(match(before, after)) == [("m-vllm-none", "m-vllm-none-kvfp8")]


def test_modes_match_within_the_same_traits(side):
    before = side(
        ("m-vllm-none", "none", "vllm", ()), ("m-vllm-none-tp2", "none", "vllm", ("tp2",))
    )
    after = side(("m-vllm-fp8", "fp8", "vllm", ()), ("m-vllm-fp8-tp2", "fp8", "vllm", ("tp2",)))
    assert pairs(match(before, after)) == [
        ("m-vllm-none", "m-vllm-fp8"),
        ("m-vllm-none-tp2", "m-vllm-fp8-tp2"),
    ]


def test_a_label_on_one_side_only_matches(side):
    before = side(
        ("m-vllm-none", "none", "vllm", ()), ("m-vllm-none-tp2", "none", "vllm", ("tp2",))
    )
    after = side(
        ("m-vllm@next-none", "none", "vllm", ()),
        ("m-vllm@next-none-tp2", "none", "vllm", ("tp2",)),
    )
    assert pairs(match(before, after)) == [
        ("m-vllm-none", "m-vllm@next-none"),
        ("m-vllm-none-tp2", "m-vllm@next-none-tp2"),
    ]


def test_an_engine_matches_whatever_its_traits_are(side):
    before = side(("m-vllm-none-eager", "none", "vllm", ("eager",)))
    after = side(("m-transformers-none-static", "none", "transformers", ("static",)))
    assert pairs(match(before, after)) == [("m-vllm-none-eager", "m-transformers-none-static")]


def test_traits_that_could_match_in_two_ways_do_not(side):
    before = side(("m-vllm-none", "none", "vllm", ()))
    after = side(
        ("m-vllm-none-kvfp8", "none", "vllm", ("kvfp8",)),
        ("m-vllm-none-eager", "none", "vllm", ("eager",)),
    )
    assert match(before, after) == []
