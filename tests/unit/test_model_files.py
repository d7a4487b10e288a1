"""What a model lacks on this machine, said before its engine is imported."""

import json
import struct

import pytest

from pytest_llmperf.core.cell import Cell
from pytest_llmperf.core.models import parse_model
from pytest_llmperf.session.model_files import lack_of

OFFLINE = {"HF_HUB_OFFLINE": "1"}


@pytest.fixture
def folder(tmp_path):
    """The folder of a model that has everything."""
    path = tmp_path / "tiny"
    path.mkdir()
    (path / "config.json").write_text("{}")
    (path / "tokenizer.json").write_text("{}")
    write_weights(path / "model.safetensors", 16)
    return path


def write_weights(path, size, there=None):
    tensors = {"a": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    text = json.dumps(tensors).encode()
    content = struct.pack("<Q", len(text)) + text + bytes(size)
    path.write_bytes(content[:there])


@pytest.fixture
def lack(folder, monkeypatch):
    """Return what a model lacks: the folder's unless another one is named."""
    monkeypatch.chdir(folder.parent)

    def of(text="tiny", backend="transformers", dummy=False, args=None, environment=OFFLINE):
        cell = Cell(parse_model(text), backend, "none")
        line = lack_of(cell, dummy, args or {}, {"HF_HOME": str(folder.parent), **environment})
        return line and line.replace(f"{folder.parent}/", "")

    return of


def test_a_complete_folder_lacks_nothing(lack):
    assert lack() is None


def test_a_folder_without_a_tokenizer_is_one_line(lack, folder):
    (folder / "tokenizer.json").unlink()
    line = (
        "tiny: the folder has no tokenizer (none of tokenizer.json, tokenizer.model, vocab.json, "
        "vocab.txt): copy the files of its base model, or give --llm-load-format=dummy for speed and "
        "memory only"
    )
    assert lack() == line
    (folder / "tokenizer_config.json").write_text("{}")
    assert lack() == line


def test_a_tokenizer_that_nobody_needs_is_not_missed(lack, folder):
    (folder / "tokenizer.json").unlink()
    assert lack(dummy=True) is None
    assert lack(backend="vllm", args={"skip_tokenizer_init": True}) is None
    assert lack(backend="vllm", args={"tokenizer": "organisation/other"}) is None
    assert lack(backend="simulated") is None
    assert lack(backend="engine-of-others") is None


@pytest.mark.parametrize("name", ["spiece.model", "qwen.tiktoken", "vocab.txt", "tekken.json"])
def test_tokenizers_have_many_files(lack, folder, name):
    (folder / "tokenizer.json").rename(folder / name)
    assert lack() is None


def test_a_tokenizer_with_code_of_its_own_is_one(lack, folder):
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["t.T", null]}}')
    assert lack() is None


def test_a_folder_without_weights_is_one_line(lack, folder):
    (folder / "model.safetensors").unlink()
    assert lack() == "tiny: the folder has a config.json, but no weights (*.safetensors, *.bin)"
    assert lack(dummy=True) is None


def test_shards_that_are_missing_are_named(lack, folder):
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    write_weights(folder / names[1], 16)
    index = {"weight_map": {f"layer.{i}": name for i, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert lack() == (
        f"tiny: model.safetensors.index.json names 3 files, and {names[0]}, {names[2]} are not there"
    )


@pytest.mark.parametrize(
    ("size", "line"),
    [
        (70, "model.safetensors ends early: 70 of 86 bytes"),
        (20, "model.safetensors ends early: 20 bytes, which are not even its header"),
        (0, "model.safetensors ends early: 0 bytes, which are not even its header"),
    ],
)
def test_weights_that_end_early_are_one_line(lack, folder, size, line):
    write_weights(folder / "model.safetensors", 16, size)
    assert lack() == f"tiny: {line}"


def test_a_pointer_of_git_lfs_is_not_weights(lack, folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    line = "model.safetensors is a pointer of Git LFS, not the file itself: git lfs pull"
    assert lack() == f"tiny: {line}"


def test_a_link_to_nothing_is_named(lack, folder):
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("blobs/gone")
    assert lack() == "tiny: model.safetensors is a link to a file that does not exist"


def test_a_gguf_file_with_a_damaged_header_is_one_line(lack, folder):
    (folder.parent / "x.gguf").write_bytes(b"GGUF" + b"\xff" * 100)
    assert lack("x.gguf").startswith("x.gguf: its header cannot be read (")
    assert lack("x.gguf", backend="simulated") is None


def test_a_mistyped_folder_is_taken_as_a_hub_id_and_that_is_said(lack, folder):
    (folder.parent / "models" / "acme-llama-tiny").mkdir(parents=True)
    assert lack("models/acme-lama-tiny") == (
        "no folder models/acme-lama-tiny here; taken as a hub id: models/acme-lama-tiny is not in the "
        "hub's cache, and HF_HUB_OFFLINE=1; did you mean models/acme-llama-tiny?"
    )
    assert lack("models/acme-lama-tiny/m.gguf", "llama-cpp") == (
        "no file models/acme-lama-tiny/m.gguf here; taken as a hub id: models/acme-lama-tiny is not "
        "in the hub's cache, and HF_HUB_OFFLINE=1"
    )


def test_an_alias_that_is_not_in_the_cache_is_one_line(lack):
    line = "microsoft/phi-2 is not in the hub's cache, and TRANSFORMERS_OFFLINE=yes"
    environment = {"TRANSFORMERS_OFFLINE": "yes"}
    assert lack("phi-2", environment=environment) == line
    assert lack("phi-2", environment=environment, dummy=True) is None  # It is shipped.


@pytest.mark.parametrize(
    "environment",
    [{}, {"HF_HUB_OFFLINE": "0"}, {"HF_HUB_OFFLINE": ""}, {**OFFLINE, "VLLM_USE_MODELSCOPE": "1"}],
)
def test_a_hub_that_may_be_asked_is_left_to_the_engine(lack, environment):
    assert lack("organisation/model", environment=environment) is None


@pytest.mark.parametrize("variable", ["HF_HOME", "HF_HUB_CACHE"])
def test_a_model_in_the_hubs_cache_is_found(lack, folder, variable):
    root = folder.parent / "elsewhere"
    hub = root / "hub" if variable == "HF_HOME" else root
    (hub / "models--organisation--model").mkdir(parents=True)
    assert lack("organisation/model") is not None
    assert lack("organisation/model", environment={**OFFLINE, variable: str(root)}) is None
