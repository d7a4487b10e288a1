"""What a user names keeps its name: links, the hub's cache, characters that options use themselves."""

import re

import pytest

from pytest_llmperf.core.models import ModelError, parse_model
from pytest_llmperf.core.values import listed, shown

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, which is empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_folder(path):
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def test_a_folder_behind_a_link_has_the_links_name(here):
    make_folder(here / "step-1000")
    (here / "current").symlink_to("step-1000")
    model = parse_model("current")
    assert (model.name, model.source) == ("current", str(here / "current"))
    assert model.recorded_source == "current"


def test_a_folder_above_keeps_its_own_name(here):
    folder = make_folder(here / "model" / "inner").parent
    (folder / "config.json").write_text("{}")
    assert parse_model("model/inner/..").name == "model"


def test_the_current_folder_has_its_name(here, monkeypatch):
    monkeypatch.chdir(make_folder(here / "tiny"))
    assert parse_model(".").name == "tiny"


def test_a_snapshot_of_the_hubs_cache_is_named_after_its_repository(here):
    folder = make_folder(here / "models--Acme--Big-7B" / "snapshots" / COMMIT)
    model = parse_model(str(folder))
    assert (model.name, model.recorded_source) == ("big-7b", "Acme/Big-7B")
    assert model.source == str(folder)


def test_a_gguf_file_in_the_hubs_cache_keeps_its_name(here):
    blob = here / "models--Acme--Big" / "blobs" / "deadbeef"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"GGUF and the rest")
    link = here / "models--Acme--Big" / "snapshots" / COMMIT / "Big.Q4_1.gguf"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../blobs/deadbeef")
    model = parse_model(str(link))
    assert (model.name, model.source) == ("big.q4_1", str(link))
    assert model.recorded_source == "Acme/Big/Big.Q4_1.gguf"


@pytest.mark.parametrize("name", ["deadbeef", "Tiny.Q4_1.GGUF"])
def test_a_gguf_file_is_known_by_its_content(here, name):
    (here / name).write_bytes(b"GGUF and the rest")
    model = parse_model(f"./{name}")
    assert (model.kind, model.source) == ("gguf", str(here / name))


def test_a_folder_may_be_called_like_a_gguf_file(here):
    make_folder(here / "tiny.gguf")
    assert parse_model("tiny.gguf").kind == "folder"


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("epoch=3-step=1000", "epoch-3-step-1000"),
        ("a, b", "a-b"),
        ("my model [1]", "my-model-1"),
        ("x%20y'\"z", "x-20y-z"),
        ("naïve", "na-ve"),
        ("a\\b", "a-b"),
    ],
)
def test_a_folder_of_any_name_can_be_named(here, folder, name):
    make_folder(here / folder)
    for text in (folder, f"./{folder}", str(here / folder)):
        assert parse_model(text).source == str(here / folder)
        assert parse_model(text).name == name
    assert parse_model(f"tiny={folder}").source == str(here / folder)
    assert parse_model(f"tiny={folder}").name == "tiny"


def test_a_path_with_an_equals_sign_that_is_not_there_is_a_path(here):
    with pytest.raises(ModelError, match=r"^'./epoch=4': there is no such folder or GGUF file$"):
        parse_model("./epoch=4")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ["a", "b"]),
        (r"./a\,b, c", ["./a,b", "c"]),
        (r"a\b,c", [r"a\b", "c"]),
        ("", [""]),
    ],
)
def test_a_comma_of_a_value_is_escaped(text, parts):
    assert listed(text) == parts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("./acme-lama", "there is no such folder or GGUF file; did you mean acme-llama?"),
        ("acme-llama/deep/er", "there is no such folder or GGUF file"),
        ("tinny.gguf", "there is no such GGUF file; did you mean tiny.gguf?"),
        ("~nosuchuser/x", "the home folder of that user is not known"),
        ("loop", "this path cannot be read (Too many levels of symbolic links)"),
        ("x" * 300, "this path cannot be read (File name too long)"),
        ("note.txt", "not a GGUF file (its first bytes are not 'GGUF')"),
        ("lfs.gguf", "a pointer of Git LFS, not the file itself: git lfs pull"),
        (
            "ggufs",
            "the folder has no config.json, so it holds no model; name its GGUF file: ggufs/a.gguf",
        ),
        (
            "models--Acme--Big",
            "the folder has no config.json, so it holds no model; it is the hub's cache of Acme/Big: "
            "give that, or a folder of its snapshots",
        ),
        (
            "outer",
            "the folder has no config.json, so it holds no model; did you mean outer/inner?",
        ),
        (
            "adapter",
            "the folder has an adapter_config.json, so it holds a LoRA adapter, which no engine here "
            "loads: merge it into its base model (merge_and_unload of peft), and give the folder of "
            "the result",
        ),
    ],
)
def test_a_mistake_is_one_line_with_what_is_near(here, text, message):
    make_folder(here / "acme-llama")
    make_folder(here / "outer" / "inner")
    (here / "tiny.gguf").write_bytes(b"GGUF")
    (here / "note.txt").write_text("a note")
    (here / "lfs.gguf").write_text("version https://git-lfs.github.com/spec/v1\n")
    (here / "loop").symlink_to("loop")
    (here / "ggufs").mkdir()
    (here / "ggufs" / "a.gguf").write_bytes(b"GGUF")
    (here / "models--Acme--Big" / "snapshots").mkdir(parents=True)
    (here / "adapter").mkdir()
    (here / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=f"^{re.escape(f'{shown(text)}: {message}')}$"):
        parse_model(text)


def test_a_mistyped_alias_is_answered_with_the_alias():
    with pytest.raises(ModelError, match=r"; did you mean phi-2\?$"):
        parse_model("phi2")
