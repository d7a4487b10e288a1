"""The folder of a checkpoint: its configuration, and the files without which no engine loads it."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .units import MIB

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
_LARGEST = 16 * MIB
"""Bytes of a configuration or an index: a real one has a few hundred kilobytes at most."""
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
_OWN_TOKENIZER = "tokenizer_config.json"
_KINDS = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
_LFS = b"version https://git-lfs"


def read_config(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's configuration.

    Raises:
        ValueError: it cannot be read or is not a JSON object; one line without the folder's name.
    """
    return read_object(folder / CONFIG)


def read_optional(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if there is none. Whoever loads it says what is wrong."""
    try:
        return read_object(path)
    except ValueError:
        return {}


def what_is_missing(folder: Path, weights: bool, tokenizer: bool) -> str | None:
    """Return what a folder lacks to be loaded, in one line without its name, or None.

    Only what is certain counts: files of a layout that is unknown here are left to the engine.

    Args:
        folder: the folder of a checkpoint.
        weights: whether the weights are read from it.
        tokenizer: whether the tokenizer is read from it.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        return f"the folder cannot be read ({error.strerror})"
    problems = [
        *(_problems_of_weights(folder, names) if weights else ()),
        *(_problems_of_tokenizer(folder, names) if tokenizer else ()),
    ]
    return problems[0] if problems else None


def is_lfs_pointer(start: bytes) -> bool:
    """Return whether a file with these first bytes only points to its content in Git LFS."""
    return start.startswith(_LFS)


def _problems_of_weights(folder: Path, names: list[str]) -> Iterator[str]:
    files = [name for name in names if name.endswith(_WEIGHTS)]
    for index in _INDEXES:
        # An index beside a single file of all weights is not used.
        if index in names and "model.safetensors" not in names:
            try:
                weight_map = read_object(folder / index).get("weight_map")
            except ValueError as error:
                yield str(error)
                return
            shards = set(weight_map.values()) if isinstance(weight_map, Mapping) else set()
            absent = sorted(str(shard) for shard in shards if shard not in names)
            if absent:
                yield f"{index} names {len(shards)} files, and {_listed(absent)} not there"
            break
    if not files:
        yield "the folder has a config.json, but no weights (*.safetensors, *.bin)"
    for name in files:
        problem = _problem_of_file(folder / name)
        if problem:
            yield problem


def _problem_of_file(path: Path) -> str | None:
    """Return why a file of weights cannot be read as a whole, or None."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(64)
            if is_lfs_pointer(start):
                return f"{path.name} is a pointer of Git LFS, not the file itself: git lfs pull"
            if path.suffix != ".safetensors":
                return None
            length = int.from_bytes(start[:8], "little")
            if len(start) < 8 or 8 + length > size:
                return f"{path.name} ends early: {size} bytes, which are not even its header"
            file.seek(8)
            tensors = json.loads(file.read(length))
            end = max(t["data_offsets"][1] for k, t in tensors.items() if k != "__metadata__")
    except FileNotFoundError:
        return f"{path.name} is a link to a file that does not exist"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    except (ValueError, RecursionError, KeyError, TypeError, IndexError, AttributeError):
        return None  # A header of another form: the engine knows better.
    if isinstance(end, int) and 8 + length + end > size:
        return f"{path.name} ends early: {size} of {8 + length + end} bytes"
    return None


def _problems_of_tokenizer(folder: Path, names: list[str]) -> Iterator[str]:
    known = (*_TOKENIZERS, ".tiktoken")
    if any(name.endswith(known) for name in names):
        return
    with_own_code = False
    if _OWN_TOKENIZER in names:
        try:
            with_own_code = "auto_map" in read_object(folder / _OWN_TOKENIZER)
        except ValueError as error:
            yield str(error)
    if not with_own_code:
        yield (
            f"the folder has no tokenizer (none of {', '.join(_TOKENIZERS[:4])}): copy the files of "
            "its base model, or give --llm-load-format=dummy for speed and memory only"
        )


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        ValueError: one line that begins with the file's name.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError(f"{path.name} is not a file")
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"{path.name} has more than {_LARGEST // MIB} MiB")
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror})") from None
    except RecursionError:
        raise ValueError(f"{path.name} is nested too deeply") from None
    except ValueError as error:
        if str(error).startswith(path.name):
            raise
        raise ValueError(f"{path.name} is not valid JSON ({error})") from None
    if not isinstance(value, dict):
        kind = _KINDS.get(type(value), "a number")
        raise ValueError(f"{path.name} holds {kind}, not an object")
    return value


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{shown} {'is' if len(names) == 1 else 'are'}"
