"""Prompts from a JSONL file."""

import json
import re

import pytest

from pytest_llmperf.core.prompt_file import read_prompts

CHAT = [{"role": "user", "content": "Say yes."}]


@pytest.fixture
def file(tmp_path):
    def write(*lines):
        path = tmp_path / "prompts.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        path.write_text("\n".join(texts), "utf-8")
        return path

    return write


def test_a_line_is_a_text_token_ids_or_a_chat(file):
    read = read_prompts(
        file({"prompt": "a\u2028b", "id": 5}, "", {"prompt": [1, 2]}, {"messages": CHAT})
    )
    assert read.prompts == ("a\u2028b", (1, 2), tuple(CHAT))
    assert read.lengths(64) == 64


def test_lines_may_have_their_own_output_length(file):
    read = read_prompts(file({"prompt": "a", "output_len": 8}, {"prompt": "b"}))
    assert read.lengths(64) == [8, 64]
    with pytest.raises(ValueError, match=r"^output_len is a list, and the file of prompts has"):
        read.lengths([1, 2])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON: '{'"),
        (
            "[1]",
            "line 2: a line is an object with one of prompt (a text or token ids) and messages",
        ),
        ({"text": "a"}, "line 2: a line is an object with one of prompt"),
        ({"prompt": "a", "messages": CHAT}, "line 2: a line is an object with one of prompt"),
        ({"prompt": ""}, "line 2: prompt must not be empty"),
        ({"prompt": [1, -2]}, "line 2: prompt: a token id is a whole number from 0 on, not -2"),
        ({"messages": []}, "line 2: prompt must not be empty"),
        (
            {"messages": [{"role": "user"}]},
            "line 2: a message of a chat has the texts role and content",
        ),
        (
            {"prompt": "a", "output_len": 0},
            "line 2: output_len must be a whole number of at least 1",
        ),
    ],
)
def test_a_wrong_line_is_named_by_its_number(file, line, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_prompts(file({"prompt": "a"}, line))


def test_a_file_without_prompts_and_one_that_is_not_there_are_one_line(file, tmp_path):
    with pytest.raises(ValueError, match=r"holds no prompt$"):
        read_prompts(file("", " "))
    with pytest.raises(ValueError, match=r"is not a text file in UTF-8 that can be read$"):
        read_prompts(tmp_path / "none.jsonl")
