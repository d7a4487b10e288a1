"""Texts of a user's own, divided into documents."""

import hashlib

import pytest

from pytest_llmperf.core.text import MOST_BYTES, text_of_file


@pytest.fixture
def text(tmp_path):
    def make(content):
        (tmp_path / "t.txt").write_text(content, "utf-8", newline="")
        return text_of_file(tmp_path / "t.txt")

    return make


def test_a_short_text_is_one_document(text):
    made = text("One line.\n\nAnother one.\n")
    assert made.documents == ("One line.\n\nAnother one.",)
    assert made.name == "t.txt"
    assert made.sha256 == hashlib.sha256(b"One line.\n\nAnother one.\n").hexdigest()


@pytest.mark.parametrize("separator", ["\n\n", "\n", " ", "\r\n"])
def test_documents_end_with_paragraphs_lines_or_words(text, separator):
    documents = text(separator.join(["word" * 20] * 50)).documents
    assert len(documents) > 3
    assert all(len(document) <= 1000 for document in documents)
    assert all(document.startswith("word") for document in documents)
    assert "".join(documents).count("word") == 1000


def test_a_text_without_spaces_is_divided_all_the_same(text):
    documents = text("M" * 2500).documents
    assert [len(document) for document in documents] == [1000, 1000, 500]


def test_a_short_rest_belongs_to_the_document_before_it(text):
    assert [len(document) for document in text("M" * 2050).documents] == [1000, 1050]


def test_a_paragraph_is_not_divided_for_a_short_end_before_it(text):
    documents = text("a\n\n" + "b" * 1500).documents
    assert [len(document) for document in documents] == [1000, 503]


def test_the_largest_text_is_scored(text):
    assert sum(map(len, text("M" * MOST_BYTES).documents)) == MOST_BYTES
