"""Headers of GGUF files and configurations that are damaged, odd or hostile: one line each, at once."""

import random
import re
import struct

import pytest

from pytest_llmperf.core.architecture import Architecture
from pytest_llmperf.core.gguf import file_type, header
from pytest_llmperf.core.models import ModelError, parse_model

UINT32, STRING, ARRAY, UINT64 = 4, 8, 9, 10
TYPE = "general.file_type"


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def number(value):
    return struct.pack("<II", UINT32, value)


def pairs(**values):
    return b"".join(text(key.replace("__", ".")) + value for key, value in values.items())


def gguf(entries, body, tensors=0, rest=b""):
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, entries) + body + rest + bytes(64)


WORDS = struct.pack("<IIQ", ARRAY, STRING, 2) + text("a") + text("longer")
ENTRIES = pairs(
    general__architecture=struct.pack("<I", STRING) + text("llama"),
    llama__block_count=number(2),
    llama__embedding_length=number(64),
    llama__attention__head_count=number(4),
    words=WORDS,
    general__file_type=number(3),
)
TABLE = text("token_embd.weight") + struct.pack("<IQQIQ", 2, 64, 500, 0, 0)
WHOLE = gguf(6, ENTRIES, 1, TABLE)


@pytest.fixture
def write(tmp_path):
    """Write a file with some content, of a new name each time."""

    def make(content):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.gguf"
        path.write_bytes(content)
        return path

    return make


def test_the_whole_header_can_be_read(write):
    path = write(WHOLE)
    assert file_type(path) == "q4_1"
    shape = Architecture.from_gguf(header(path).values, header(path).shapes)
    assert (shape.layers, shape.heads, shape.vocabulary) == (2, 4, 500)


FILE_TYPE = pairs(general__file_type=number(3))
DAMAGED = {
    "text of 2**63 bytes": gguf(2, text("x") + struct.pack("<IQ", STRING, 2**63) + FILE_TYPE),
    "text of 1 TB": gguf(2, text("x") + struct.pack("<IQ", STRING, 2**40) + FILE_TYPE),
    "key of 2**63 bytes": gguf(1, struct.pack("<Q", 2**63)),
    "only ones": b"GGUF" + b"\xff" * 1000,
    "deep lists": gguf(
        2,
        text("x")
        + struct.pack("<I", ARRAY)
        + struct.pack("<IQ", ARRAY, 1) * 2000
        + struct.pack("<IQI", UINT32, 1, 0)
        + FILE_TYPE,
    ),
    "list of 2**40": gguf(2, text("x") + struct.pack("<IIQ", ARRAY, UINT32, 2**40) + FILE_TYPE),
    "many entries": gguf(2**50, FILE_TYPE.replace(b"file_type", b"file_kind")),
    "unknown kind": gguf(1, text("x") + struct.pack("<I", 99)),
    "key that is not UTF-8": gguf(1, struct.pack("<Q", 2) + b"\xff\xfe" + number(1)),
    "nothing else": b"GGUF",
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_header_is_one_line(write, name):
    path = write(DAMAGED[name])
    with pytest.raises(
        ValueError, match=rf"^{re.escape(path.name)}: its header cannot be read \([^\n]+\)$"
    ):
        file_type(path)


@pytest.mark.parametrize(
    ("entries", "tensor"),
    [
        (pairs(general__alignment=struct.pack("<I", STRING) + text("32")), TABLE),
        (pairs(general__alignment=number(0)), TABLE),
        (pairs(x=number(1)), text("t") + struct.pack("<I", 2**31)),
        (pairs(x=number(1)), text("t") + struct.pack("<IQ", 2, 64)),
    ],
)
def test_a_damaged_list_of_tensors_is_one_line(write, entries, tensor):
    path = write(gguf(1, entries, 1, tensor)[:-64])
    with pytest.raises(ValueError, match=rf"^{path.name}: its header cannot be read \("):
        header(path)


def test_a_tensor_of_rank_0_has_one_number(write):
    path = write(
        gguf(1, pairs(x=number(1)), 1, text("token_embd.weight") + struct.pack("<IIQ", 0, 0, 0))
    )
    assert header(path).shapes == {"token_embd.weight": (1,)}
    assert Architecture.from_gguf(header(path).values, header(path).shapes) is None


def test_sizes_that_are_no_counts_describe_no_model(write):
    odd = ENTRIES.replace(number(4), struct.pack("<II", 7, 1)[:5])  # A flag of one byte.
    path = write(gguf(6, odd, 1, TABLE))
    assert Architecture.from_gguf(header(path).values, header(path).shapes) is None


def described(path):
    return Architecture.from_gguf(header(path).values, header(path).shapes)


def why_not(read, path):
    try:
        read(path)
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.parametrize("seed", range(200))
def test_a_mutated_header_is_read_or_refused_in_one_line(write, seed):
    source = random.Random(seed)
    content = bytearray(WHOLE)
    for _ in range(source.randint(1, 4)):
        place = source.randrange(4, len(content))
        width = source.choice((1, 4, 8))
        content[place : place + width] = source.choice((b"\xff", b"\0", b"\x7f")) * width
    if seed % 3 == 0:
        del content[source.randrange(4, len(content)) :]
    path = write(bytes(content))
    for read in (file_type, described):
        problem = why_not(read, path)
        assert problem is None or problem.startswith(f"{path.name}: its header cannot be read (")
        assert "\n" not in (problem or "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "config.json is nested too deeply"),
        (b'{"a": ' * 100_000, "config.json is nested too deeply"),
        (b"[]", "config.json holds a list, not an object"),
        (b"null", "config.json holds null, not an object"),
        (b"7", "config.json holds a number, not an object"),
        (b'{"a": "\xff"}', "config.json is not valid JSON ('utf-8' codec can't decode"),
        (b"", "config.json is not valid JSON (Expecting value"),
        (b" " * (17 * 2**20), "config.json has more than 16 MiB"),
    ],
)
def test_an_odd_configuration_is_one_line(tmp_path, content, message):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelError, match=f"^{re.escape(f'{str(tmp_path)!r}: {message}')}[^\n]*$"):
        parse_model(str(tmp_path))


def test_a_configuration_that_is_a_folder_is_one_line(tmp_path):
    (tmp_path / "config.json").mkdir()
    with pytest.raises(ModelError, match=r": config\.json is not a file$"):
        parse_model(str(tmp_path))


@pytest.mark.parametrize("value", ["7", "null", "[]", "{}"])
def test_an_architecture_that_is_no_text_is_unknown(tmp_path, value):
    (tmp_path / "config.json").write_text(f'{{"model_type": {value}}}')
    assert parse_model(str(tmp_path)).model_type is None


def test_a_configuration_that_breaks_after_it_was_named_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    model = parse_model(f"tiny={tmp_path}")
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(ModelError, match=r"^tiny: config\.json is not valid JSON \("):
        _ = model.model_type
