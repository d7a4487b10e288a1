import re
import sys

import pytest

from pytest_llmperf.backends.conversion import cached_folder, convert


@pytest.fixture
def gguf(tmp_path):
    path = tmp_path / "tiny.Q4_1.gguf"
    path.write_bytes(b"GGUF" + bytes(range(256)) * 100)
    return path


def test_the_folder_is_named_after_file_and_content(gguf, tmp_path):
    folder = cached_folder(gguf, tmp_path / "cache")
    assert folder.parent == tmp_path / "cache" / "models"
    assert re.fullmatch(r"tiny\.Q4_1-bf16-[0-9a-f]{12}", folder.name)


def test_a_file_that_moves_keeps_its_folder(gguf, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    cache = tmp_path / "cache"
    before = cached_folder(gguf, cache)
    moved = gguf.rename(tmp_path / "elsewhere" / gguf.name)
    assert cached_folder(moved, cache) == before


@pytest.mark.parametrize("position", [4, -1])
def test_other_content_of_the_same_size_has_another_folder(gguf, tmp_path, position):
    before = cached_folder(gguf, tmp_path)
    content = bytearray(gguf.read_bytes())
    content[position] ^= 1
    gguf.write_bytes(content)
    assert cached_folder(gguf, tmp_path) != before


def test_the_end_of_a_large_file_counts(gguf, tmp_path):
    gguf.write_bytes(b"GGUF" + bytes(9 * 2**20))
    before = cached_folder(gguf, tmp_path)
    gguf.write_bytes(b"GGUF" + bytes(9 * 2**20 - 1) + b"x")
    assert cached_folder(gguf, tmp_path) != before


def test_another_size_has_another_folder(gguf, tmp_path):
    before = cached_folder(gguf, tmp_path)
    gguf.write_bytes(gguf.read_bytes() + b"\0")
    assert cached_folder(gguf, tmp_path) != before


def test_looking_for_the_folder_does_not_make_it(gguf, tmp_path):
    cached_folder(gguf, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_what_was_converted_before_is_left_as_it_is(gguf, tmp_path, monkeypatch):
    # None in sys.modules makes an import fail.
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    folder = cached_folder(gguf, tmp_path / "cache")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    convert(gguf, folder)
    assert [path.name for path in folder.iterdir()] == ["config.json"]
