"""The type of a GGUF file's weights, read from headers written here by hand."""

import struct

import pytest

from pytest_llmperf.core.gguf import OTHER, file_type, metadata, named_type
from pytest_llmperf.core.models import embedded_gguf, parse_model

UINT32, INT32, STRING, ARRAY = 4, 5, 8, 9


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def entry(key, kind, value):
    return string(key) + struct.pack("<I", kind) + value


@pytest.fixture
def header(tmp_path):
    """Writes a GGUF file with these metadata entries and no tensor."""

    def write(*entries, name="some.gguf"):
        path = tmp_path / name
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries))
        return path

    return write


WORDS = entry("words", ARRAY, struct.pack("<IQ", STRING, 2) + string("a") + string("longer"))
KINDS = entry("kinds", ARRAY, struct.pack("<IQ", INT32, 3) + struct.pack("<3i", 3, 1, 3))
NAME = entry("general.name", STRING, string("Some Model"))


def of_type(number):
    return entry("general.file_type", UINT32, struct.pack("<I", number))


@pytest.mark.parametrize(
    ("number", "name"), [(0, "f32"), (1, "f16"), (3, "q4_1"), (15, "q4_k_m"), (32, "bf16")]
)
def test_the_type_is_the_headers(header, number, name):
    assert file_type(header(NAME, WORDS, KINDS, of_type(number))) == name


def test_a_type_that_is_newer_than_the_table_is_another_one(header):
    assert file_type(header(of_type(999), name="m.Q4_0.gguf")) == OTHER


def test_a_header_without_a_type_leaves_it_to_the_name(header):
    assert file_type(header(NAME, name="m.Q5_K_M.gguf")) == "q5_k_m"


def test_a_cut_header_is_one_line_with_the_files_name(header):
    path = header(NAME, of_type(3))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"^some\.gguf: its header cannot be read"):
        file_type(path)


def test_values_of_every_kind_are_read(header):
    path = header(WORDS, NAME, KINDS)
    assert metadata(path, "general.name") == "Some Model"
    assert metadata(path, "kinds") == [3, 1, 3]
    assert metadata(path, "absent") is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "q4_1"),
        ("qwen2.5-0.5b-instruct-q4_k_m.gguf", "q4_k_m"),
        ("model-f16.gguf", "f16"),
        ("big-Q8_0-00001-of-00003.gguf", "q8_0"),
        ("model.gguf", OTHER),
    ],
)
def test_a_file_that_is_not_here_is_taken_at_its_name(name, kind):
    assert named_type(name) == kind
    assert parse_model(f"some/repo/{name}").gguf_type == kind


def test_the_embedded_model_is_what_its_name_says():
    assert file_type(embedded_gguf()) == "q4_1"
    assert metadata(embedded_gguf(), "llama.block_count") == 30


def test_a_model_that_is_no_gguf_file_has_no_type():
    assert parse_model("phi-2").gguf_type is None
