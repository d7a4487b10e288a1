"""What a cell's model lacks on this machine, known before its engine is even imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..backends import BUILT_IN, backend_class, family
from ..backends.gguf_file import GgufBackend
from ..core.cell import Cell
from ..core.checkpoint import what_is_missing
from ..core.engine import Refusal
from ..core.generative import why_no_text, why_no_text_of_gguf
from ..core.gguf import file_type, metadata
from ..core.hub_cache import has_repository, offline_by
from ..core.models import ALIASES, Model, near

_OTHER_CONTEXT = {"max_model_len", "hf_overrides", "config", "rope_scaling", "rope_parameters"}


def lack_of(
    cell: Cell, random_weights: bool, args: Mapping[str, Any], environment: Mapping[str, str]
) -> str | None:
    """Return why the files of a cell's model cannot be loaded, in one line, or None.

    Args:
        cell: the cell; engines of other packages may read other files, so nothing is said of theirs.
        random_weights: with ``--llm-load-format=dummy``.
        args: keyword arguments for the engine itself.
        environment: environment variables of the engine.
    """
    model = cell.model
    if not _reads_files(cell):
        return None
    if model.gguf is not None and not random_weights:
        try:
            file_type(model.gguf)
        except ValueError as error:
            return str(error)
    if model.kind == "folder":
        elsewhere = args.get("skip_tokenizer_init") or args.get("tokenizer")
        missing = what_is_missing(
            Path(model.source),
            weights=not random_weights and "load_format" not in args,
            tokenizer=not random_weights and not elsewhere,
        )
        return f"{model.source}: {missing}" if missing else None
    is_shipped = random_weights and model.shipped_config is not None
    return None if model.is_local or is_shipped else _lack_of_hub(model, environment)


def refusal_of_kind(cell: Cell, random_weights: bool) -> Refusal | None:
    """Return why no engine can measure a cell's model, whatever its mode, or None.

    Args:
        cell: the cell; engines of other packages may run other kinds of models.
        random_weights: with ``--llm-load-format=dummy``.
    """
    if not _reads_files(cell):
        return None
    shards = cell.model.shards
    if shards > 1 and not issubclass(backend_class(cell.backend), GgufBackend):
        return Refusal(
            f"{Path(cell.model.source).name} is the first of {shards} shards, and {cell.backend} reads "
            "a GGUF file only as a whole: merge them (llama-gguf-split --merge)",
            by_nature=True,
        )
    gguf = None if random_weights else cell.model.gguf
    try:
        if gguf is None:
            reason = why_no_text(cell.model.config)
        else:
            family = metadata(gguf, "general.architecture")
            reason = why_no_text_of_gguf({"general.architecture": family})
    except ValueError:
        return None  # Whoever loads it says what is wrong.
    return Refusal(reason, by_nature=True) if reason else None


def context_of_cell(cell: Cell, random_weights: bool, args: Mapping[str, Any]) -> int | None:
    """Return the tokens of a model's context that its files set for the engine, or None.

    Args:
        cell: the cell.
        random_weights: with ``--llm-load-format=dummy``.
        args: keyword arguments for the engine itself, which may set another one.
    """
    if not _reads_files(cell) or _OTHER_CONTEXT & args.keys():
        return None
    return cell.model.context(random_weights)


def _reads_files(cell: Cell) -> bool:
    """Return whether an engine is one of this package that loads models."""
    return family(cell.backend) in BUILT_IN and family(cell.backend) != "simulated"


def _lack_of_hub(model: Model, environment: Mapping[str, str]) -> str | None:
    offline = offline_by(environment)
    repository = "/".join(model.source.split("/")[:2])
    # With ModelScope, the files come from another hub.
    elsewhere = environment.get("VLLM_USE_MODELSCOPE")
    if not offline or elsewhere or has_repository(repository, environment):
        return None
    reason = f"{repository} is not in the hub's cache, and {offline}"
    if model.source in ALIASES.values():
        return reason
    what = "file" if model.kind == "hub-gguf" else "folder"
    return f"no {what} {model.source} here; taken as a hub id: {reason}{near(Path(model.source))}"
