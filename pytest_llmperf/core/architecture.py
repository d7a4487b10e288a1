"""The shape of a decoder-only transformer: it sets the key-value cache and the matrix products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any


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
            experts=first("num_local_experts", "num_experts", "n_routed_experts") or 1,
        )

    @classmethod
    def counted(cls, config: Mapping[str, Any]) -> Architecture | None:
        """Return the shape in a transformers configuration if its decode step can be counted, or None.

        A model cannot be counted if it has towers for images or sound (text tokens do not read their
        weights), or layers that store something other than keys and values. If only some layers have
        a window, it is applied to every layer: a context beyond it is counted too small, never too
        large.
        """
        towers = ("vision_config", "audio_config")
        text = config.get("text_config")
        inner = text if isinstance(text, Mapping) else config
        kinds = set(inner.get("layer_types") or ())
        if any(config.get(name) for name in towers) or inner.get("kv_lora_rank"):
            return None
        if kinds - {"full_attention", "sliding_attention"}:
            return None
        architecture = cls.from_config(config)
        window = inner.get("sliding_window")
        if architecture and "sliding_attention" in kinds and isinstance(window, int):
            architecture = replace(architecture, window=window)
        return architecture

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
        return cls(
            layers=layers,
            hidden=hidden,
            heads=heads,
            kv_heads=value("attention.head_count_kv") or heads,
            head_dim=value("attention.key_length") or hidden // heads,
            vocabulary=table[-1],
            tied="output.weight" not in shapes,
            window=value("attention.sliding_window") or None,
            experts=value("expert_count") or 1,
        )

    def kv_bytes_per_token(self, value_bytes: float = 2) -> float:
        """Return the bytes of one token in the cache: one key and one value per layer and head.

        Args:
            value_bytes: bytes of one number in the cache (2 for bfloat16).
        """
        return 2 * self.layers * self.kv_heads * self.head_dim * value_bytes

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embedding table."""
        return self.vocabulary * self.hidden

    def to_wire(self) -> dict[str, Any]:
        """Return the fields as builtin types."""
        return asdict(self)
