"""The cache of converted models: folders that appear whole or not at all."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.progress import Progress, silent
from ..core.units import MIB

_SAMPLE = 4 * MIB


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a folder to write into, which becomes ``folder`` at the end; an error leaves nothing.

    Where another process is first, its folder stays: it is as good.
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


def file_digest(path: Path, version: int) -> str:
    """Return a digest of a large file: of its size and its first and last bytes.

    Args:
        version: of the conversion; another one gives another digest.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(f"{version}/{size}".encode())
    with path.open("rb") as file:
        digest.update(file.read(_SAMPLE))
        file.seek(max(0, size - _SAMPLE))
        digest.update(file.read(_SAMPLE))
    return digest.hexdigest()[:12]


def folder_digest(folder: Path, version: int) -> str:
    """Return the same for a checkpoint: every file of the folder by its name and content."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        digest.update(f"{path.name}/{file_digest(path, version)}\n".encode())
    return digest.hexdigest()[:12]


# Part of the folder's name: raise it when the conversion itself changes.
_VERSION = 1


def cached_folder(gguf: Path, cache: Path) -> Path:
    """Return the folder of a file's dequantized form, whether or not it is there yet.

    Named after the file's size and its first and last bytes: a file that moves keeps its folder.
    """
    return cache / "models" / f"{gguf.stem}-bf16-{file_digest(gguf, _VERSION)}"


def convert(gguf: Path, folder: Path, report: Progress = silent) -> None:
    """Write the model and its tokenizer as bfloat16 safetensors; the folder appears whole."""
    if folder.is_dir():
        return
    report("dequantize", 0, 0)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with new_folder(folder) as part:
        source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
        AutoTokenizer.from_pretrained(**source).save_pretrained(part)
        model = AutoModelForCausalLM.from_pretrained(
            **source, dtype=torch.bfloat16, **_dequantize()
        )
        model.save_pretrained(part)


def _dequantize() -> dict[str, object]:
    """Return the option that makes newer transformers unpack GGUF weights."""
    try:
        from transformers import GgufConfig
    except ImportError:
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}
