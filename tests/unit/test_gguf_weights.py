"""What the linear layers of a GGUF file are, from its header alone."""

import struct

import pytest

from pytest_llmperf.backends.gguf_file import weights
from pytest_llmperf.core.models import embedded_gguf

F32, F16, Q8_0 = 0, 1, 8
BYTES = {F32: 4, F16: 2, Q8_0: 34 / 32}


@pytest.fixture
def written(tmp_path):
    """Write a file of tensors: name, type, dimensions."""

    def write(*tensors):
        infos, data = b"", b""
        for name, kind, shape in tensors:
            infos += struct.pack("<Q", len(name)) + name.encode()
            infos += struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
            numbers = 1
            for length in shape:
                numbers *= length
            data += bytes(int(numbers * BYTES[kind]))
        head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 0) + infos
        path = tmp_path / "model.gguf"
        path.write_bytes(head + bytes(-len(head) % 32) + data)
        return path

    return write


TABLE = ("token_embd.weight", Q8_0, (64, 100))
NORM = ("output_norm.weight", F32, (64,))


def test_tables_and_norms_are_not_linear(written):
    found = weights(written(TABLE, ("blk.0.ffn_up.weight", Q8_0, (64, 128)), NORM))
    assert found.linear_parameters == 64 * 128
    assert found.linear_bits == 8.5
    assert (found.unquantized_share, found.unquantized_type) == (0, None)


def test_layers_that_the_file_leaves_at_sixteen_bits_are_a_share(written):
    experts = ("blk.0.ffn_up_exps.weight", Q8_0, (64, 32, 3))
    found = weights(written(TABLE, experts, ("blk.0.attn_q.weight", F16, (64, 32)), NORM))
    assert found.linear_parameters == 4 * 64 * 32
    assert (found.unquantized_share, found.unquantized_type) == (0.25, "float16")


def test_a_file_without_linear_layers_says_nothing(written):
    assert weights(written(TABLE, NORM)) is None


def test_the_embedded_model():
    found = weights(embedded_gguf())
    assert found.linear_parameters == 106_168_320
    assert 5 <= found.linear_bits < 5.5
    assert found.unquantized_share == 0
