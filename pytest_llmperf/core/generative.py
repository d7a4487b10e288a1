"""Whether a model continues a text: only such models are measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Encoder-decoders by their names in transformers and llama.cpp; most configurations say so themselves.
_ENCODER_DECODERS = re.compile(
    r"(m|um|long|by)?t5(gemma.*|encoder)?|(m|pl)?bart|(bigbird_)?pegasus(_x)?|blenderbot.*|led|"
    r"m2m_100|marian|mvp|nllb-moe|prophetnet|switch_transformers|fsmt|whisper|.*encoder-decoder"
)
_ENCODERS = re.compile(r".*bert.*|.*roberta.*|deberta.*|electra|mpnet|xmod|ernie|data2vec-text")
# Classes of transformers whose output is not the next token of a text.
_OTHER_HEADS = re.compile(
    r".*For(MaskedLM|PreTraining|SequenceClassification|TokenClassification|QuestionAnswering|"
    r"MultipleChoice|NextSentencePrediction|ImageClassification|AudioClassification|CTC)"
)


def why_no_text(config: Mapping[str, Any]) -> str | None:
    """Return why a transformers configuration describes no model that continues a text, or None.

    An engine would load some of them: the decoder of an encoder-decoder with an empty encoder, an
    encoder as if each token saw only those before it. Their numbers would be another model's.
    """
    name = config.get("model_type")
    name = name if isinstance(name, str) else ""
    if config.get("is_encoder_decoder") is True or _ENCODER_DECODERS.fullmatch(name):
        return _reason(name, "an encoder-decoder")
    architectures = config.get("architectures")
    heads = architectures if isinstance(architectures, list) else []
    others = [head for head in heads if isinstance(head, str) and _OTHER_HEADS.fullmatch(head)]
    if others and len(others) == len(heads):
        return _reason(others[0], "no model that generates")
    if _ENCODERS.fullmatch(name) and not config.get("is_decoder"):
        is_decoder = name.endswith("-decoder") or any("Decoder" in str(head) for head in heads)
        return None if is_decoder else _reason(name, "an encoder")
    return None


def why_no_text_of_gguf(values: Mapping[str, Any]) -> str | None:
    """Return why a GGUF file's header describes no model that continues a text, or None."""
    family = values.get("general.architecture")
    return why_no_text({"model_type": family})


def _reason(name: str, kind: str) -> str:
    return (
        f"{name or 'the model'} is {kind}; only models that continue a text (decoders) are measured"
    )
