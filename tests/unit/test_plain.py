"""Whatever a test was given can be written."""

import json
from types import MappingProxyType

import pytest

from pytest_llmperf.store.plain import plain


class Silent:
    def __str__(self):
        raise RuntimeError("no")


class Empty(dict):
    def items(self):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"a": (1, 2.5, None, True)}, {"a": [1, 2.5, None, True]}),
        ({(1, 2): {None: {3}}}, {"(1, 2)": {"None": "{3}"}}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        (Silent(), "a Silent whose text raises RuntimeError"),
        ([Empty()], ["a Empty whose text raises RuntimeError"]),
        pytest.param(2**20_000, hex(2**20_000), id="6,021 digits"),
    ],
)
def test_what_json_cannot_hold_becomes_text(value, written):
    assert json.loads(json.dumps(plain(value))) == written


def test_what_holds_itself_several_times_is_written_once():
    circle = {"a": 1}
    circle["again"] = [circle, circle, circle]
    assert plain(circle) == {"a": 1, "again": ["...", "...", "..."]}


def test_the_same_value_in_two_places_is_written_twice():
    value = [1]
    assert plain([value, value]) == [[1], [1]]


def test_what_is_nested_too_deeply_is_text_from_some_level_on():
    deep = [1]
    for _ in range(900):
        deep = [deep]
    assert "[[1]]" in json.dumps(plain(deep), indent=4)
