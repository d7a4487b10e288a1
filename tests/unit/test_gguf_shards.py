"""GGUF models in several files: known by their first, refused by who reads only one, all counted."""

import struct

import pytest

from pytest_llmperf.backends.gguf_file import described
from pytest_llmperf.core.cell import Cell
from pytest_llmperf.core.gguf_shards import Shard, whole_header
from pytest_llmperf.core.models import ModelError, parse_model
from pytest_llmperf.session.model_files import refusal_of_kind

NAMES = [f"Tiny.Q8_0-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]
UINT16, UINT32, STRING = 2, 4, 8


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def number(key, value, kind=UINT32):
    return string(key) + struct.pack("<IH" if kind == UINT16 else "<II", kind, value)


FAMILY = string("general.architecture") + struct.pack("<I", STRING) + string("llama")
SIZES = [
    number("llama.block_count", 2),
    number("llama.embedding_length", 64),
    number("llama.attention.head_count", 2),
]


def write(path, entries, tensors):
    """Write a GGUF file with float32 tensors, given by name and dimensions."""
    text, offset = b"", 0
    for name, shape in tensors.items():
        text += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)
        offset += 4 * shape[0] * shape[1]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries) + text
    path.write_bytes(head + bytes(-len(head) % 32) + bytes(offset))


@pytest.fixture
def shards(tmp_path):
    """The first of three files; the last one has the output layer."""
    tensors = [
        {"token_embd.weight": (64, 100)},
        {"blk.0.attn_q.weight": (64, 64)},
        {"output.weight": (64, 100)},
    ]
    for i, (name, content) in enumerate(zip(NAMES, tensors, strict=True)):
        split = [number("split.no", i, UINT16), number("split.count", 3, UINT16)]
        write(tmp_path / name, [*([FAMILY, *SIZES] if i == 0 else []), *split], content)
    return tmp_path / NAMES[0]


def test_a_shard_is_known_by_its_name():
    shard = Shard.of_name(NAMES[1])
    assert (shard.stem, shard.number, shard.count) == ("Tiny.Q8_0", 2, 3)
    assert shard.file_names == tuple(NAMES)
    assert Shard.of_name("Tiny.Q8_0.gguf") is None
    assert Shard.of_name("Tiny-00001-of-00001.gguf") is None


def test_its_header_has_the_tensors_of_all_files(shards):
    header = whole_header(shards)
    assert list(header.shapes) == ["token_embd.weight", "blk.0.attn_q.weight", "output.weight"]
    assert header.sizes["output.weight"] == 4 * 64 * 100
    # With the first file alone the embedding table would be taken for the output layer, too.
    assert described(shards, False, 1, 1)["architecture"].tied is False


def test_a_whole_file_may_be_called_like_a_shard(tmp_path):
    write(tmp_path / NAMES[0], [FAMILY, *SIZES], {"token_embd.weight": (64, 100)})
    assert parse_model(str(tmp_path / NAMES[0])).shards == 1
    assert list(whole_header(tmp_path / NAMES[0]).shapes) == ["token_embd.weight"]


def refused(text):
    with pytest.raises(ModelError) as raised:
        parse_model(str(text))
    return str(raised.value)


def test_another_file_than_the_first_is_refused(shards):
    later = shards.with_name(NAMES[1])
    line = f"{str(later)!r}: shard 2 of 3 of a model: name the first, {NAMES[0]}"
    assert refused(later) == line
    assert refused(f"org/name/{NAMES[2]}") == (
        f"'org/name/{NAMES[2]}': shard 3 of 3 of a model: name the first, {NAMES[0]}"
    )


def test_a_missing_file_is_named(shards):
    shards.with_name(NAMES[2]).unlink()
    assert refused(shards) == (
        f"{str(shards)!r}: the first of 3 shards, and {NAMES[2]} is not there"
    )
    shards.with_name(NAMES[1]).unlink()
    assert refused(shards) == (
        f"{str(shards)!r}: the first of 3 shards, and {NAMES[1]} and 1 more are not there"
    )


@pytest.mark.parametrize("backend", ["transformers", "vllm", "ctranslate2"])
def test_engines_that_read_one_file_refuse_it(shards, backend):
    reason = (
        f"{NAMES[0]} is the first of 3 shards, and {backend} reads a GGUF file only as a whole: "
        "merge them (llama-gguf-split --merge)"
    )
    for text in (shards, f"org/name/{NAMES[0]}"):
        refusal = refusal_of_kind(Cell(parse_model(str(text)), backend, "none"), False)
        assert refusal.reason == reason
        assert refusal.by_nature


@pytest.mark.parametrize("backend", ["llama-cpp", "llama-cpp-python"])
def test_llama_cpp_reads_all_of_them(shards, backend):
    for text in (shards, f"org/name/{NAMES[0]}"):
        assert refusal_of_kind(Cell(parse_model(str(text)), backend, "q8_0"), False) is None
