"""Counts of a model's tensors, on small layers of torch that keep their weights as engines do."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pytest_llmperf.backends.tensors import counted, leaves, pool_bytes

OUT, IN = 64, 128


class Model(nn.Module):
    """An embedding table of 100 x IN, one layer, a norm and the table again as the output layer."""

    def __init__(self, layer):
        super().__init__()
        self.table = nn.Embedding(100, IN, dtype=torch.bfloat16)
        self.layer = layer
        self.norm = nn.LayerNorm(IN, bias=False, dtype=torch.bfloat16)
        self.head = nn.Linear(IN, 100, bias=False, dtype=torch.bfloat16)
        self.head.weight = self.table.weight
        self.register_buffer("positions", torch.zeros(8, 16))

    def get_input_embeddings(self):
        return self.table

    def get_output_embeddings(self):
        return self.head


REST = (100 * IN + IN) * 2 + 8 * 16 * 4
"""Bytes of everything but the layer."""


def layer_of(**tensors):
    layer = nn.Module()
    for name, tensor in tensors.items():
        layer.register_parameter(name, nn.Parameter(tensor, requires_grad=False))
    return layer


def linear(**more):
    return nn.Linear(IN, OUT, bias=False, dtype=torch.bfloat16, **more)


def test_a_plain_layer_is_not_quantized_and_a_shared_table_counts_once():
    counts = counted(Model(linear()))
    assert counts["bytes"] == REST + OUT * IN * 2
    assert counts["parameters"] == 100 * IN + OUT * IN + IN
    assert counts["linear_bytes"] == OUT * IN * 2
    assert counts["unquantized"] == {"bfloat16": OUT * IN}
    assert counts["quantized_layers"] == 0
    assert counts["places"] == {"cpu": counts["bytes"]}


PACKED = {
    "int8": (
        {
            "weight": torch.zeros(OUT, IN, dtype=torch.int8),
            "weight_scale": torch.ones(OUT, 1, dtype=torch.bfloat16),
        },
        OUT * IN + OUT * 2,
    ),
    "fp8": (
        {
            "weight": torch.zeros(OUT, IN, dtype=torch.float8_e4m3fn),
            "weight_scale": torch.ones(OUT, 1),
        },
        OUT * IN + OUT * 4,
    ),
    "four bits in int32": (
        {
            "qweight": torch.zeros(IN // 8, OUT, dtype=torch.int32),
            "qzeros": torch.zeros(2, OUT // 8, dtype=torch.int32),
            "scales": torch.ones(2, OUT, dtype=torch.float16),
        },
        OUT * IN // 2 + OUT + 4 * OUT,
    ),
    "four bits in bytes": (
        {
            "weight_packed": torch.zeros(OUT, IN // 2, dtype=torch.uint8),
            "weight_scale": torch.ones(OUT, IN // 16, dtype=torch.float8_e4m3fn),
            "weight_global_scale": torch.ones(1),
        },
        OUT * IN // 2 + OUT * IN // 16 + 4,
    ),
}


@pytest.mark.parametrize("kind", PACKED)
def test_a_quantized_layer_has_its_constants_and_nothing_unquantized(kind):
    tensors, size = PACKED[kind]
    counts = counted(Model(layer_of(**tensors)))
    assert counts["linear_bytes"] == size
    assert counts["bytes"] == REST + size
    assert counts["unquantized"] == {}
    assert counts["quantized_layers"] == 1


def test_a_layer_that_was_unpacked_keeps_its_scales():
    weight = torch.zeros(OUT, IN, dtype=torch.bfloat16)
    scale = torch.ones(OUT, IN // 64, dtype=torch.bfloat16)
    counts = counted(Model(layer_of(weight=weight, weight_scale=scale)))
    assert counts["linear_bytes"] == (OUT * IN + OUT * 2) * 2
    assert counts["unquantized"] == {"bfloat16": OUT * IN}


def test_experts_are_linear_weights_and_a_bias_is_not():
    experts = layer_of(
        gate_up_proj=torch.zeros(4, 2 * OUT, IN, dtype=torch.bfloat16),
        gate_up_proj_bias=torch.zeros(4, 2 * OUT, dtype=torch.bfloat16),
        down_proj=torch.zeros(4, IN, OUT, dtype=torch.bfloat16),
    )
    counts = counted(Model(experts))
    assert counts["unquantized"] == {"bfloat16": 4 * 3 * OUT * IN}
    assert counts["linear_bytes"] == 4 * 3 * OUT * IN * 2


class Wrapper(torch.Tensor):
    """A tensor without memory of its own, as those of torchao."""

    @staticmethod
    def __new__(cls, values, scale):
        return torch.Tensor._make_wrapper_subclass(cls, values.shape, dtype=torch.bfloat16)

    def __init__(self, values, scale):
        self.values, self.scale = values, scale

    def __tensor_flatten__(self):
        return ["values", "scale"], None

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return function(
            *[a.values if isinstance(a, Wrapper) else a for a in args], **(kwargs or {})
        )


def wrapped():
    return Wrapper(torch.zeros(OUT, IN, dtype=torch.int8), torch.ones(OUT, dtype=torch.bfloat16))


def test_a_wrapper_has_the_bytes_of_what_it_wraps():
    layers = nn.ModuleList([nn.Module(), nn.Module()])
    for layer in layers:
        layer._parameters["weight"] = wrapped()
    counts = counted(Model(layers))
    assert counts["linear_bytes"] == 2 * (OUT * IN + OUT * 2)
    assert counts["unquantized"] == {}
    assert counts["parameters"] == 100 * IN + 2 * OUT * IN + IN
    assert [leaf.dtype for leaf in leaves(wrapped())] == [torch.int8, torch.bfloat16]


def held(left, columns=IN):
    """A layer of vLLM whose weights only a kernel has."""
    layer = nn.Module()
    layer._parameters["weight"] = left
    layer._parameters["weight_scale"] = torch.ones(OUT, 1, dtype=torch.bfloat16)
    layer.output_size_per_partition, layer.input_size_per_partition = OUT, columns
    return layer


def test_integers_that_only_a_kernel_has_are_counted_by_their_shape():
    counts = counted(Model(held(None)))
    assert counts["linear_bytes"] == OUT * IN + OUT * 2
    assert counts["bytes"] == REST + OUT * IN + OUT * 2
    assert counts["unquantized"] == {}
    assert counts["quantized_layers"] == 1


def test_plain_weights_that_only_a_kernel_has_are_counted_by_the_type_they_leave():
    counts = counted(Model(held(torch.empty(0, dtype=torch.bfloat16))))
    assert counts["linear_bytes"] == OUT * IN * 2 + OUT * 2
    assert counts["unquantized"] == {"bfloat16": OUT * IN}


def test_constants_of_bitsandbytes_are_found_as_tensors_and_as_states():
    eight = torch.zeros(OUT, IN, dtype=torch.int8)
    eight.bnb_quant_state = {0: torch.ones(OUT // 2), 1: torch.ones(OUT // 2)}
    four = torch.zeros(OUT * IN // 2, 1, dtype=torch.uint8)
    nested = SimpleNamespace(absmax=torch.ones(2), code=torch.ones(256))
    absmax = torch.zeros(OUT * IN // 64, dtype=torch.uint8)
    four.quant_state = SimpleNamespace(absmax=absmax, code=torch.ones(16), state2=nested)
    layers = nn.ModuleList([nn.Module(), nn.Module()])
    for layer, weight in zip(layers, (eight, four), strict=True):
        layer._parameters["weight"] = weight
    counts = counted(Model(layers))
    of_eight = OUT * IN + OUT * 4
    of_four = OUT * IN // 2 + OUT * IN // 64 + 16 * 4 + 2 * 4 + 256 * 4
    assert counts["linear_bytes"] == of_eight + of_four


def test_weights_that_are_not_in_memory_are_counted_where_they_are():
    counts = counted(Model(linear(device="meta")), {"layer": "disk"}.__getitem__)
    assert counts["places"] == {"cpu": REST, "disk": OUT * IN * 2}
    assert counts["linear_bytes"] == OUT * IN * 2
    assert counts["unquantized"] == {"bfloat16": OUT * IN}


def test_a_pool_counts_views_of_the_same_memory_once():
    memory = torch.zeros(1000, dtype=torch.uint8)
    other = torch.zeros(2, 50, dtype=torch.bfloat16)
    caches = [memory[:500].view(torch.float8_e4m3fn), memory.view(torch.bfloat16), [other, None]]
    assert pool_bytes(caches) == 1000 + 200
    assert pool_bytes([]) == 0
