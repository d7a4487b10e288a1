"""Files from a model hub: GGUF files and tokenizers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..core.engine import EngineSpec
from ..core.gguf_shards import Shard
from ..core.progress import Progress

_OWN_CODE = "trust_remote_code"
_OTHER_SHAPES = "ignore_mismatched_sizes"
# Models with towers for images continue a text, too, but most of them only have the second class.
_CLASSES = ("AutoModelForCausalLM", "AutoModelForImageTextToText")
_NOT_OF_CLASS = re.compile(r"Unrecognized configuration class <class '(?:[\w.]*\.)?(\w+)'>")


def downloaded_gguf(spec: EngineSpec, report: Progress) -> EngineSpec:
    """Return the spec with a GGUF file on this machine; download it if it is on the hub.

    Of a model in several files all are downloaded; the spec names the first.
    """
    if spec.local:
        return spec
    report("download", 0, 0)
    from huggingface_hub import hf_hub_download

    organisation, name, file = spec.model.split("/", 2)
    shard = Shard.of_name(file.rpartition("/")[2])
    files = [file]
    if shard:
        files = [str(PurePosixPath(file).with_name(other)) for other in shard.file_names]
    path, *_ = [
        hf_hub_download(f"{organisation}/{name}", part, revision=spec.revision) for part in files
    ]
    return replace(spec, model=path, local=True, revision=_commit_of(path))


def resolved_revision(spec: EngineSpec) -> str | None:
    """Return the commit of the loaded snapshot; None if the model is not from a hub.

    Call this after the load: a branch such as ``main`` moves, and the cache knows where to.
    """
    if spec.local:
        return spec.revision or _commit_of(os.path.realpath(spec.model)) or _commit_of(spec.model)
    from huggingface_hub import try_to_load_from_cache

    folder = spec.args.get("cache_dir") or spec.args.get("download_dir")
    path = try_to_load_from_cache(
        spec.model, "config.json", cache_dir=folder, revision=spec.revision
    )
    return _commit_of(path) if isinstance(path, str) else None


def _commit_of(path: str) -> str | None:
    """Return the commit of a path in the hub library's cache: .../snapshots/COMMIT/FILE."""
    found = _SNAPSHOT.search(path)
    return found[1] if found else None


_SNAPSHOT = re.compile(r"/models--[^/]+/snapshots/([0-9a-f]{40})(?:/|$)")


def own_code(spec: EngineSpec) -> dict[str, bool]:
    """Return the argument by which the model's own code is run, if the user asks for that.

    It has to reach everything that reads the model: configuration, weights and tokenizer.
    """
    return {_OWN_CODE: True} if spec.args.get(_OWN_CODE) is True else {}


@contextmanager
def own_code_explained(spec: EngineSpec) -> Iterator[None]:
    """Make transformers' refusal to run a model's own code one line with the argument that allows it."""
    try:
        yield
    except ValueError as error:
        if _OWN_CODE not in str(error) or own_code(spec):
            raise
        raise ValueError(
            f"{Path(spec.model).name} needs code of its own, which runs only with "
            f"--llm-backend-arg={spec.backend}.{_OWN_CODE}=true: read it before"
        ) from None


def text_model(method: str, *source: Any, **options: Any) -> Any:
    """Return a model of transformers that continues a text.

    Args:
        method: of the class that fits the model: ``from_pretrained`` or ``from_config``.
        source: positional arguments for the method.
        options: keyword arguments for the method.

    Raises:
        ValueError: the model does something else.
    """
    import transformers

    kind = "it"
    for name in _CLASSES:
        try:
            return getattr(getattr(transformers, name), method)(*source, **options)
        except ValueError as error:
            unknown = _NOT_OF_CLASS.match(str(error))
            if unknown is None:
                raise
            kind = unknown[1]
    raise ValueError(f"transformers has no class for {kind} that continues a text")


def whole_model(from_pretrained: Callable[..., Any], *source: Any, **options: Any) -> Any:
    """Return a model of transformers whose weights all come from its checkpoint.

    transformers fills weights that a checkpoint lacks with random numbers, and only its log says so.

    Raises:
        ValueError: weights are missing or have other shapes than the configuration says.
    """
    if options.get(_OTHER_SHAPES):
        return from_pretrained(*source, **options)  # The user wants it so.
    options |= {_OTHER_SHAPES: True, "output_loading_info": True}
    model, notes = from_pretrained(*source, **options)
    shapes = sorted((str(name), *map(tuple, both)) for name, *both in notes["mismatched_keys"])
    if shapes:
        name, stored, wanted = shapes[0]
        raise ValueError(
            f"{len(shapes)} weights have another shape than config.json says: {name} is {stored}, not "
            f"{wanted}"
        )
    missing = sorted(set(notes["missing_keys"]) & {name for name, _ in model.named_parameters()})
    if missing:
        raise ValueError(
            f"the checkpoint lacks {len(missing)} weights that config.json says: {missing[0]}, ..."
        )
    return model


class HubTokenizer:
    """``encode`` and ``decode`` for engines with a tokenizer of transformers."""

    _tokenizer: Any
    """None with random weights."""

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text)["input_ids"]
        return ids

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        if not self._tokenizer.chat_template:
            raise ValueError("the model has no chat template: give prompts of text or token ids")
        # The template writes the special tokens, and the tokenizer adds none to them.
        answer = self._tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
        )
        ids: list[int] = answer["input_ids"]
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text
