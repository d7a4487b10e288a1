"""The tensors of a loaded torch model: bytes of all, of linear layers, and what is not quantized.

vLLM runs this module inside its workers, where it is sent as code: it imports nothing of this package,
and its answers have builtin types.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

# Classes by name, because the libraries that define them are not imported here.
_TABLES = {"Embedding", "VocabParallelEmbedding"}
_NOT_LINEAR = {"_ConvNd"}
_NOT_WEIGHTS = ("bias", "scale", "zero", "shape")
_PACKED = ("torch.int32", "torch.int8", "torch.uint8")


class _Tensor(NamedTuple):
    """A tensor that a module owns."""

    name: str
    value: Any
    parameter: bool


class _Held(NamedTuple):
    """The weights of a layer that only a kernel has."""

    number: int
    size: int
    """Bytes of each."""
    kind: str | None
    """Their floating-point type of 16 bits or more; None if they are quantized."""


def counted(model: Any, place_of: Callable[[str], str] | None = None) -> dict[str, Any]:
    """Count the weights, buffers and quantization constants of a model; shared ones count once.

    Args:
        model: a module of torch.
        place_of: returns where the weights of a module are that are on the meta device, by its name.

    Returns:
        ``bytes`` and ``places`` (bytes by place) of everything; ``linear_bytes``, the part of linear
        layers; ``unquantized``, the number of weights by type in linear layers that are not quantized;
        ``quantized_layers``, the number of the other linear layers; ``parameters``, the numbers in all
        parameters, packed ones as they are.
    """
    tables = {id(table) for table in _tables(model)}
    entries: dict[int, tuple[int, str, bool]] = {}
    numbers: dict[int, int] = {}
    unquantized: Counter[str] = Counter()
    held_bytes = quantized_layers = 0
    for name, module in model.named_modules():
        kinds = {base.__name__ for base in type(module).__mro__}
        own = list(_own(module))
        held = _held_by_a_kernel(module)
        table = id(module) in tables or kinds & _TABLES
        linear = not table and not kinds & _NOT_LINEAR and (held or any(map(_is_weights, own)))
        for tensor in own:
            of_weights = bool(linear) and "bias" not in tensor.name
            if tensor.parameter:
                numbers[_key(tensor.value)] = tensor.value.numel()
            for leaf in (*leaves(tensor.value), *_constants(tensor.value)):
                place = str(leaf.device)
                place = place_of(name) if place == "meta" and place_of else place
                entry = (leaf.numel() * leaf.element_size(), place, of_weights)
                entries[_key(leaf)] = max(entries.get(_key(leaf), entry), entry)
        if held:
            held_bytes += held.number * held.size
            numbers[id(module)] = held.number
        if linear:
            kept = _kept_by(held) if held else _unquantized(own)
            unquantized += kept
            quantized_layers += not kept
    # Only on a CPU does a kernel have a copy of its own.
    places = Counter({"cpu": held_bytes} if held_bytes else {})
    for size, place, _ in entries.values():
        places[place] += size
    return {
        "bytes": sum(places.values()),
        "linear_bytes": sum(size for size, _, linear in entries.values() if linear) + held_bytes,
        "unquantized": dict(unquantized),
        "quantized_layers": quantized_layers,
        "parameters": sum(numbers.values()),
        "places": dict(places),
    }


def leaves(tensor: Any) -> Iterator[Any]:
    """Yield the tensors that hold the numbers of a tensor: itself, or those that it wraps."""
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        yield tensor
        return
    for name in flatten()[0]:
        yield from leaves(getattr(tensor, name))


def pool_bytes(caches: Any) -> int:
    """Return the bytes of a key-value pool: tensors, which some kinds of layers have in lists."""
    sizes: dict[int, int] = {}

    def add(part: Any) -> None:
        if isinstance(part, list | tuple):
            for inner in part:
                add(inner)
        elif part is not None:
            # Layers of different kinds may have views of the same memory.
            storage = part.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()

    add(caches)
    return sum(sizes.values())


def _tables(model: Any) -> Iterator[Any]:
    """Yield the embedding table and the output layer, as far as the model names them."""
    for method in ("get_input_embeddings", "get_output_embeddings"):
        try:
            yield getattr(model, method)()
        except (AttributeError, NotImplementedError, TypeError):
            continue


def _own(module: Any) -> Iterator[_Tensor]:
    """Yield a module's own parameters and buffers, without empty ones."""
    for tensors, parameter in ((module._parameters, True), (module._buffers, False)):
        for name, value in tensors.items():
            if value is not None and value.numel():
                yield _Tensor(name, value, parameter)


def _is_weights(tensor: _Tensor) -> bool:
    """Return whether a tensor is the weights of a linear layer, or those of experts."""
    if tensor.value.dim() < 2 or any(word in tensor.name for word in _NOT_WEIGHTS):
        return False
    # Buffers of floating-point numbers are tables of positions.
    return tensor.parameter or str(tensor.value.dtype) in _PACKED


def _unquantized(own: list[_Tensor]) -> Counter[str]:
    """Return the number of a layer's weights by type, unless they are quantized."""
    parts = [leaf for tensor in own if _is_weights(tensor) for leaf in leaves(tensor.value)]
    largest = max(parts, key=lambda leaf: leaf.numel() * leaf.element_size())
    if not _is_float(largest):
        return Counter()
    kind = largest.dtype
    return Counter(
        {_named(kind): sum(part.numel() for part in parts if part.dtype == kind and part.dim() > 1)}
    )


def _kept_by(held: _Held) -> Counter[str]:
    return Counter({held.kind: held.number} if held.kind else {})


def _held_by_a_kernel(module: Any) -> _Held | None:
    """Return what a kernel of vLLM's CPU build has copied into its own layout.

    It leaves an empty tensor of the weights' type behind; the one for 8-bit integers leaves None.
    """
    left = module._parameters.get("weight", module)
    rows = getattr(module, "output_size_per_partition", getattr(module, "output_size", 0))
    columns = getattr(module, "input_size_per_partition", getattr(module, "input_size", 0))
    if not rows or not columns or left is module or (left is not None and left.numel()):
        return None
    if left is None:
        return _Held(rows * columns, 1, None)
    return _Held(
        rows * columns, left.element_size(), _named(left.dtype) if _is_float(left) else None
    )


def _is_float(tensor: Any) -> bool:
    """Return whether numbers are in a floating-point type of at least 16 bits."""
    return bool(tensor.is_floating_point()) and tensor.element_size() >= 2


def _named(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def _constants(tensor: Any) -> Iterator[Any]:
    """Yield the quantization constants that bitsandbytes keeps as attributes of a parameter."""
    states = [getattr(tensor, "SCB", None), getattr(tensor, "quant_state", None)]
    for state in (*states, *(getattr(tensor, "bnb_quant_state", None) or {}).values()):
        if hasattr(state, "data_ptr"):
            yield state  # The factors of 8-bit rows.
            continue
        while state is not None:
            parts = (getattr(state, name, None) for name in ("absmax", "code", "offset"))
            yield from (part for part in parts if part is not None)
            state = getattr(state, "state2", None)


def _key(tensor: Any) -> int:
    """Return a key that tensors of the same memory share; wrappers and the meta device have none."""
    return int(tensor.data_ptr()) or id(tensor)
