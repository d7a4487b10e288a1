"""What a cell's model lacks on this machine, known before its engine is even imported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..backends import BUILT_IN, family
from ..core.cell import Cell
from ..core.checkpoint import what_is_missing
from ..core.gguf import file_type
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
