"""A GGUF file as a folder that every engine can load: dequantized once, kept in the cache."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

_SAMPLE = 4 * 2**20
# Part of the folder's name: raise it when the conversion itself changes.
_VERSION = 1


def cached_folder(gguf: Path, cache: Path) -> Path:
    """Where the dequantized form of a file lives, whether or not it is there yet.

    Named after the file's size and its first and last bytes: a file that moves keeps its folder.
    """
    size = gguf.stat().st_size
    digest = hashlib.sha256(f"{_VERSION}/{size}".encode())
    with gguf.open("rb") as file:
        digest.update(file.read(_SAMPLE))
        file.seek(max(0, size - _SAMPLE))
        digest.update(file.read(_SAMPLE))
    return cache / "models" / f"{gguf.stem}-bf16-{digest.hexdigest()[:12]}"


def convert(gguf: Path, folder: Path) -> None:
    """Write the model and its tokenizer as bfloat16 safetensors; appears whole or not at all."""
    if folder.is_dir():
        return
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
        AutoTokenizer.from_pretrained(**source).save_pretrained(part)
        model = AutoModelForCausalLM.from_pretrained(
            **source, dtype=torch.bfloat16, **_dequantize()
        )
        model.save_pretrained(part)
        part.chmod(0o755)
        try:
            part.rename(folder)
        except OSError:
            # Another process was first; its folder is as good.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _dequantize() -> dict[str, object]:
    """Newer transformers keep GGUF weights packed unless told otherwise."""
    try:
        from transformers import GgufConfig
    except ImportError:
        return {}
    return {"quantization_config": GgufConfig(dequantize=True)}
