"""The class of transformers that a model is loaded with, and the files of a GGUF model on the hub."""

import sys
from types import SimpleNamespace

import pytest

from pytest_llmperf.backends.hub import downloaded_gguf, text_model
from pytest_llmperf.core.engine import EngineSpec
from pytest_llmperf.core.progress import silent


class Class:
    """An Auto class that knows some configurations."""

    def __init__(self, name, *known):
        self.name, self.known = name, known

    def from_config(self, config, **options):
        if config not in self.known:
            raise ValueError(
                f"Unrecognized configuration class <class 'transformers.models.x.{config}'> for this "
                f"kind of AutoModel: {self.name}.\nModel type should be one of {self.known}."
            )
        if "bad" in options:
            raise ValueError("another error")
        return self.name


@pytest.fixture
def _transformers(monkeypatch):
    names = {"AutoModelForCausalLM": ["Llama"], "AutoModelForImageTextToText": ["Llama", "Llava"]}
    classes = {name: Class(name, *known) for name, known in names.items()}
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(**classes))


@pytest.mark.usefixtures("_transformers")
def test_a_model_with_a_tower_for_images_has_a_class_of_its_own():
    assert text_model("from_config", "Llama") == "AutoModelForCausalLM"
    assert text_model("from_config", "Llava") == "AutoModelForImageTextToText"


@pytest.mark.usefixtures("_transformers")
def test_another_model_is_one_line():
    with pytest.raises(
        ValueError, match=r"^transformers has no class for T5 that continues a text$"
    ):
        text_model("from_config", "T5")


@pytest.mark.usefixtures("_transformers")
def test_another_error_stays():
    with pytest.raises(ValueError, match=r"^another error$"):
        text_model("from_config", "Llama", bad=True)


def test_all_files_of_a_model_on_the_hub_are_downloaded(monkeypatch):
    asked = []

    def download(repository, file, revision):
        asked.append((repository, file, revision))
        return f"/hub/models--org--name/snapshots/{40 * 'a'}/{file}"

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=download))
    spec = EngineSpec("llama-cpp", "q8_0", "org/name/Q8/m-00001-of-00002.gguf", False, "main")
    found = downloaded_gguf(spec, silent)
    assert asked == [
        ("org/name", "Q8/m-00001-of-00002.gguf", "main"),
        ("org/name", "Q8/m-00002-of-00002.gguf", "main"),
    ]
    assert found.model.endswith("/Q8/m-00001-of-00002.gguf")
    assert found.revision == 40 * "a"
