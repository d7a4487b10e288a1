"""The model hub's cache on this machine: what is in it, and whether the hub may be asked."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_ON = ("1", "ON", "YES", "TRUE")


def offline_by(environment: Mapping[str, str]) -> str | None:
    """Return ``HF_HUB_OFFLINE=1`` or the like if an environment variable forbids to ask the hub."""
    for name in _OFFLINE:
        if environment.get(name, "").upper() in _ON:
            return f"{name}={environment[name]}"
    return None


def has_repository(repository: str, environment: Mapping[str, str]) -> bool:
    """Return whether the cache has something of a repository, ``organisation/name``."""
    folder = f"models--{repository.replace('/', '--')}"
    return any((root / folder).is_dir() for root in _roots(environment))


def cached_snapshot(
    repository: str, revision: str | None, environment: Mapping[str, str]
) -> Path | None:
    """Return the folder of a repository's files at a revision; None if the cache does not have it.

    Args:
        repository: ``organisation/name``.
        revision: a branch, tag or commit; None is ``main``.
        environment: the variables that say where the cache is.
    """
    for root in _roots(environment):
        folder = root / f"models--{repository.replace('/', '--')}"
        with suppress(OSError, ValueError):
            reference = folder / "refs" / (revision or "main")
            commit = reference.read_text("utf-8").strip() if reference.is_file() else revision
            if commit and (folder / "snapshots" / commit).is_dir():
                return folder / "snapshots" / commit
    return None


def place_of(path: Path) -> tuple[str, str] | None:
    """Return the repository of a path in the hub's cache, and the path inside it; None elsewhere.

    Such a path is ``.../models--ORGANISATION--NAME/snapshots/REVISION/...``.
    """
    parts = path.parts
    for i, part in enumerate(parts[:-2]):
        if part.startswith("models--") and parts[i + 1] == "snapshots":
            return "/".join(part.split("--")[1:]), "/".join(parts[i + 3 :])
    return None


def _roots(environment: Mapping[str, str]) -> list[Path]:
    """Return the folders that may be the cache, by the variables of the hub's library and of engines."""
    named = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE")
    roots = [Path(environment[name]) for name in named if environment.get(name)]
    user = Path(environment.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(environment.get("HF_HOME") or user / "huggingface")
    found = []
    for root in (*roots, home / "hub"):
        with suppress(RuntimeError):  # There is no home folder.
            found.append(root.expanduser())
    return found
