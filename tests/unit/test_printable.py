"""Text of others on a terminal."""

import pytest

from pytest_llmperf.core.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        (
            "test_a[x-1] 12.3 ms \u00b1 4 %, \u6771\u4eac, \U0001f600",
            "test_a[x-1] 12.3 ms \u00b1 4 %, \u6771\u4eac, \U0001f600",
        ),
        ("\x1b]0;owned\x07\x1b[31mred", r"\x1b]0;owned\x07\x1b[31mred"),
        ("two\nlines\r\n", r"two\nlines\r\n"),
        ("a\0b\tc", r"a\x00b\tc"),
        ("c1 \x9b31m", r"c1 \x9b31m"),
        ("right \u202eto left", r"right \u202eto left"),
        ("line\u2028end", r"line\u2028end"),
        ("lone \ud800", r"lone \ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped_and_all_else_stays(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


def test_what_is_no_text_becomes_one():
    assert printable(None) == "None"
