"""The shape of a decoder-only transformer: it sets the key-value cache and the matrix products."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

# Of layers that keep a state, that share keys and values, or that have heads of their own sizes.
_OTHER_LAYERS = re.compile(
    r"kv_lora_rank|mamba_.*|ssm_.*|state_size|linear_.*|attn_layer_.*|.*block_types?|block_configs|"
    r"hybrid_.*|lru_width|rwkv.*|recurrent.*|num_kv_shared_layers|use_cla|num_global_.*heads|"
    r"global_head_dim"
)
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
# By llama.cpp's name of the family: the last layer of so many sees everything, the others a window.
_GGUF_PERIODS = {
    "gemma2": 2,
    "gemma3": 6,
    "gpt-oss": 2,
    "cohere2": 4,
    "exaone4": 4,
    "olmo2": 4,
}


@dataclass(frozen=True)
class Architecture:
    """The sizes that set what a decode step reads and what a prompt computes."""

    layers: int
    hidden: int
    """Width of the residual stream."""
    heads: int
    """Query heads of a layer."""
    kv_heads: int
    """Key-value heads of a layer: fewer than ``heads`` with grouped-query attention."""
    head_dim: int
    vocabulary: int
    """Rows of the embedding table."""
    tied: bool
    """Whether the output layer is the embedding table."""
    window: int | None = None
    """Maximum number of tokens that attention looks back, in every layer; None if it sees all."""
    experts: int = 1
    """Feed-forward blocks per layer; above 1, each token uses only a few of them."""
    window_layers: int | None = None
    """Layers that have the window, if others see everything; None if all have it."""

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Architecture | None:
        """Return the shape in a transformers configuration, or None if it describes something else."""
        text = config.get("text_config")
        config = text if isinstance(text, Mapping) else config

        def first(*names: str) -> int | None:
            value = next((config[name] for name in names if config.get(name) is not None), None)
            return value if isinstance(value, int) else None

        layers, hidden = first("num_hidden_layers", "n_layer"), first("hidden_size", "n_embd")
        heads, vocabulary = first("num_attention_heads", "n_head"), first("vocab_size")
        if not layers or not hidden or not heads or not vocabulary:
            return None
        # Falcon's older models and StarCoder have one head, whatever else the configuration names.
        multi_query = config.get("multi_query") and not config.get("new_decoder_architecture")
        # Some models have a window that they do not use, or use only in some layers.
        everywhere = config.get("use_sliding_window", True) and not config.get("layer_types")
        return cls(
            layers=layers,
            hidden=hidden,
            heads=heads,
            kv_heads=1 if multi_query else first("num_key_value_heads", "num_kv_heads") or heads,
            head_dim=first("head_dim") or hidden // heads,
            vocabulary=vocabulary,
            tied=bool(config.get("tie_word_embeddings", False)),
            window=first("sliding_window") if everywhere else None,
            experts=first(*_EXPERTS) or 1,
        )

    @classmethod
    def counted(cls, config: Mapping[str, Any]) -> Architecture | None:
        """Return the shape in a transformers configuration if its decode step can be counted, or None.

        A model cannot be counted if it has towers for images or sound (text tokens do not read their
        weights), layers that store something other than keys and values or differ in their sizes, or
        experts whose number is unknown here.
        """
        towers = ("vision_config", "audio_config")
        text = config.get("text_config")
        inner = text if isinstance(text, Mapping) else config
        kinds = inner.get("layer_types") or ()
        if any(config.get(name) for name in towers):
            return None
        if any(_OTHER_LAYERS.fullmatch(str(name)) and value for name, value in inner.items()):
            return None
        if set(kinds) - {"full_attention", "sliding_attention"} or _has_unequal_heads(inner):
            return None
        architecture = cls.from_config(config)
        if architecture is None or (architecture.experts == 1 and _has_experts(inner)):
            return None
        if inner.get("word_embed_proj_dim", architecture.hidden) != architecture.hidden:
            return None
        window, windowed = inner.get("sliding_window"), list(kinds).count("sliding_attention")
        if not windowed or not isinstance(window, int):
            return architecture
        is_mixed = len(kinds) == architecture.layers and windowed < architecture.layers
        return replace(architecture, window=window, window_layers=windowed if is_mixed else None)

    @classmethod
    def from_gguf(
        cls, values: Mapping[str, Any], shapes: Mapping[str, Sequence[int]]
    ) -> Architecture | None:
        """Return the shape in a GGUF file's header, or None if it describes something else.

        Args:
            values: the header's keys and values.
            shapes: dimensions of each tensor by name, the innermost first.
        """
        family = values.get("general.architecture")

        def value(key: str) -> int | None:
            number = values.get(f"{family}.{key}")
            # Some families have a list here, with one number per layer.
            is_count = isinstance(number, int) and not isinstance(number, bool) and number > 0
            return number if is_count else None

        layers, hidden = value("block_count"), value("embedding_length")
        heads, table = value("attention.head_count"), shapes.get("token_embd.weight")
        per_layer = isinstance(values.get(f"{family}.attention.head_count_kv"), list)
        # Latent attention, and layers that store a state instead of keys and values.
        others = ("attention.kv_lora_rank", "ssm.state_size", "full_attention_interval")
        if not layers or not hidden or not heads or not table or per_layer:
            return None
        if any(f"{family}.{key}" in values for key in others):
            return None
        window = value("attention.sliding_window")
        period = _GGUF_PERIODS.get(str(family)) if window else None
        return cls(
            layers=layers,
            hidden=hidden,
            heads=heads,
            kv_heads=value("attention.head_count_kv") or heads,
            head_dim=value("attention.key_length") or hidden // heads,
            vocabulary=table[-1],
            tied="output.weight" not in shapes,
            window=window,
            experts=value("expert_count") or 1,
            window_layers=layers - layers // period if period else None,
        )

    def kv_bytes_per_token(self, value_bytes: float = 2) -> float:
        """Return the bytes of one token in the cache: one key and one value per layer and head.

        Args:
            value_bytes: bytes of one number in the cache (2 for bfloat16).
        """
        return 2 * self.layers * self.kv_heads * self.head_dim * value_bytes

    @property
    def window_share(self) -> float:
        """Share of the layers that have the window."""
        if self.window is None:
            return 0.0
        return 1.0 if self.window_layers is None else self.window_layers / self.layers

    def seen(self, tokens: int) -> float:
        """Return the tokens of a context that attention sees, on average over the layers."""
        share = self.window_share
        return (1 - share) * tokens + share * min(tokens, self.window or tokens)

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embedding table."""
        return self.vocabulary * self.hidden

    def to_wire(self) -> dict[str, Any]:
        """Return the fields as builtin types; early records have no ``window_layers``."""
        fields = asdict(self)
        if self.window_layers is None:
            del fields["window_layers"]
        return fields


def window_of(config: Mapping[str, Any]) -> int | None:
    """Return the window in a transformers configuration that at least one layer has, or None."""
    text = config.get("text_config")
    config = text if isinstance(text, Mapping) else config
    window, kinds = config.get("sliding_window"), config.get("layer_types")
    is_used = "sliding_attention" in kinds if kinds else config.get("use_sliding_window", True)
    return window if is_used and isinstance(window, int) else None


def _has_unequal_heads(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration has lists of heads, with one number per layer."""
    names = ("num_key_value_heads", "num_kv_heads", "num_attention_heads")
    return any(isinstance(config.get(name), list | tuple) for name in names)


def _has_experts(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration names a number of experts, under whatever name."""
    counts = [value for name, value in config.items() if "experts" in str(name)]
    return any(
        isinstance(value, list) or (isinstance(value, int) and value > 1) for value in counts
    )
