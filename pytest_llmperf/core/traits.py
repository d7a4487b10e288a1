"""The traits of a cell: what changes speed or numbers and is not the format of the linear weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace

_DEVICES = re.compile(r"(tp|pp|gpus)\d+")
_ID = re.compile(r"([a-z0-9._]+(-[a-z0-9._]+)*)?")
_NOT_IN_IDS = re.compile(r"[^a-z0-9._]+")


@dataclass(frozen=True)
class Traits:
    """A cell's traits by kind, in the order in which test ids have them; empty where nothing differs.

    The default of an engine on a device is not a trait.
    """

    devices: str = ""
    """GPUs that share the model: ``tp2``, ``tp2-pp2``, ``gpus2``."""
    cache: str = ""
    """Type of the key-value cache if it is not the compute type: ``kvfp8``; ``nocache`` without one."""
    attention: str = ""
    """The attention backend that was asked for: ``attnflashinfer``."""
    execution: str = ""
    """How steps are run: ``eager``, ``compiled``, ``static`` (a static cache)."""
    speculation: str = ""
    """``spec``: tokens are drafted and checked several at a time."""
    implementation: str = ""
    """``hf``: the model's code is that of transformers."""
    reuse: str = ""
    """``prefix``: the beginning of a prompt that was computed before is taken from a cache."""

    def __post_init__(self) -> None:
        for field in fields(self):
            text = getattr(self, field.name)
            if not isinstance(text, str) or not _ID.fullmatch(text):
                raise ValueError(
                    f"{field.name}={text!r}: a trait consists of lower-case letters, digits, '.' and '_'"
                )

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the id, in its order."""
        texts = (getattr(self, field.name) for field in fields(self))
        return tuple(part for text in texts if text for part in text.split("-"))

    @property
    def id(self) -> str:
        """The last part of a cell's id: ``tp2-kvfp8``; empty without a trait."""
        return "-".join(self.parts)

    def resolved(self, by_engine: Mapping[str, str]) -> Traits:
        """Return the traits with those kinds replaced that a loaded engine reports."""
        return replace(self, **by_engine)


KINDS = tuple(field.name for field in fields(Traits))


def cache_trait(type_name: str) -> str:
    """Return the trait of a key-value cache's type: ``kvfp8e5m2`` for ``fp8_e5m2``."""
    return f"kv{in_id(type_name)}"


def in_id(text: str) -> str:
    """Return a text as a part of a test id, in which ``-`` separates the parts."""
    return _NOT_IN_IDS.sub("", text.lower())


def devices_of(parts: Iterable[str]) -> tuple[str, ...]:
    """Return those parts of an id that say how many devices share the model."""
    return tuple(part for part in parts if _DEVICES.fullmatch(part))
