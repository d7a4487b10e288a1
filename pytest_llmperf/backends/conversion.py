"""The cache of converted models: a folder appears complete or not at all, and is made once."""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..core.files import held
from ..core.progress import Progress, silent
from ..core.units import MIB
from .hub import whole_model

_SAMPLE = 4 * MIB
_LONGEST_NAME = 160
"""Bytes of the model's part of a folder's name."""
_LOCK = ".lock"
_RANDOM = len("-abcdefgh")
"""What ``tempfile`` adds to a name."""


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder, which is renamed to ``folder`` at the end; an error removes it.

    If another process is first, its folder stays, because it has the same content.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        yield part
        part.chmod(0o755)
        try:
            part.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def capped(name: str) -> str:
    """Return a name that leaves room for more: a file's name has at most 255 bytes."""
    return name.encode(errors="ignore")[:_LONGEST_NAME].decode(errors="ignore")


def make_once(
    folder: Path, phase: str, make: Callable[[Path], None], report: Progress = silent
) -> None:
    """Make a folder unless it is there; another process that is making it now is waited for.

    Args:
        folder: the folder, which appears complete.
        phase: name of the work, for ``report``.
        make: fills a temporary folder, its argument.
        report: called before waiting, with the phase ``wait``, and before the work.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.with_name(f".{folder.name}{_LOCK}")
    # Whoever waits for this process has a limit.
    with held(file, math.inf, lambda: report("wait", 0, 0)) as is_alone:
        if not folder.is_dir():
            report(phase, 0, 0)
            if is_alone:
                _remove_parts(file)
            with new_folder(folder) as part:
                make(part)
        with suppress(OSError):
            file.unlink()


def remove_unfinished(place: Path) -> None:
    """Remove the temporary folders of processes that ended before their folder was complete."""
    for file in place.glob(f".*{_LOCK}"):
        with suppress(OSError), held(file) as is_alone:
            if is_alone:
                _remove_parts(file)
                file.unlink()


def _remove_parts(file: Path) -> None:
    """Remove the temporary folders that a lock, now held, protects."""
    name = file.name.removesuffix(_LOCK)
    for part in file.parent.iterdir():
        if part.name.startswith(f"{name}-") and len(part.name) == len(name) + _RANDOM:
            shutil.rmtree(part, ignore_errors=True)


def file_digest(path: Path, version: int) -> str:
    """Return a digest of a large file, made from its size and its first and last bytes.

    Args:
        path: the file.
        version: version of the conversion; another version has another digest.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(f"{version}/{size}".encode())
    with path.open("rb") as file:
        digest.update(file.read(_SAMPLE))
        file.seek(max(0, size - _SAMPLE))
        digest.update(file.read(_SAMPLE))
    return digest.hexdigest()[:12]


def folder_digest(folder: Path, version: int) -> str:
    """Return a digest of a checkpoint, made from the name and digest of each file in the folder."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        digest.update(f"{path.name}/{file_digest(path, version)}\n".encode())
    return digest.hexdigest()[:12]


# Part of the folder's name: increase it if the conversion changes.
_VERSION = 1


def cached_folder(gguf: Path, cache: Path) -> Path:
    """Return the folder of a file's dequantized form, whether or not it exists yet.

    Its name depends on the file's size and its first and last bytes: a file that moves keeps its folder.
    """
    return cache / "models" / f"{capped(gguf.stem)}-bf16-{file_digest(gguf, _VERSION)}"


def convert(gguf: Path, folder: Path, report: Progress = silent) -> None:
    """Write the model and its tokenizer as bfloat16 safetensors; the folder appears complete."""
    if folder.is_dir():
        return

    def dequantize(part: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
        AutoTokenizer.from_pretrained(**source).save_pretrained(part)
        model = whole_model(
            AutoModelForCausalLM.from_pretrained, **source, dtype=torch.bfloat16, **_dequantize()
        )
        model.save_pretrained(part)

    make_once(folder, "dequantize", dequantize, report)


def _dequantize() -> dict[str, object]:
    """Return the option that makes newer versions of transformers dequantize GGUF weights."""
    try:
        from transformers import GgufConfig
    except ImportError:
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}
