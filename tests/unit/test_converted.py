import pytest

from pytest_llmperf.backends.conversion import folder_digest, new_folder


def test_a_folder_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "cache" / "model"
    with new_folder(target) as part:
        (part / "weights").write_text("1")
        assert not target.exists()
    assert (target / "weights").read_text() == "1"
    assert [path.name for path in target.parent.iterdir()] == ["model"]


def half_a_conversion(target):
    with new_folder(target) as part:
        (part / "weights").write_text("1")
        raise OSError("disk is full")


def test_an_error_leaves_nothing_behind(tmp_path):
    with pytest.raises(OSError, match="disk"):
        half_a_conversion(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_process_that_was_first_stays(tmp_path):
    target = tmp_path / "model"
    with new_folder(target) as part:
        (part / "weights").write_text("second")
        target.mkdir()
        (target / "weights").write_text("first")
    assert (target / "weights").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_checkpoint_is_named_by_every_file_of_it(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "weights").write_text("1")
    before = folder_digest(tmp_path, 1)
    assert folder_digest(tmp_path, 1) == before
    assert folder_digest(tmp_path, 2) != before
    (tmp_path / "weights").write_text("2")
    changed = folder_digest(tmp_path, 1)
    (tmp_path / "weights").rename(tmp_path / "others")
    assert len({before, changed, folder_digest(tmp_path, 1)}) == 3
