"""The revision that was loaded from a hub's cache, and what depends on it."""

import pytest

from pytest_llmperf.backends.hub import resolved_revision
from pytest_llmperf.core.engine import EngineSpec
from pytest_llmperf.core.models import parse_model
from pytest_llmperf.gate import history, pairs
from pytest_llmperf.gate.comparable import differences
from pytest_llmperf.gate.limits import LimitSettings
from pytest_llmperf.gate.verdict import Verdict
from pytest_llmperf.session.references import references_of

FIRST, SECOND = "a" * 40, "b" * 40


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A hub cache with two snapshots of one model; ``main`` is the first."""
    model = tmp_path / "hub" / "models--org--tiny"
    for commit in (FIRST, SECOND):
        (model / "snapshots" / commit).mkdir(parents=True)
        (model / "snapshots" / commit / "config.json").write_text("{}")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(FIRST)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return model


def spec(**given):
    return EngineSpec("transformers", "none", **{"model": "org/tiny", "local": False, **given})


def in_cache(cache, **given):
    return spec(args={"cache_dir": str(cache.parent)}, **given)


def test_the_revision_is_the_snapshot_that_the_branch_means(cache):
    assert resolved_revision(in_cache(cache)) == FIRST
    (cache / "refs" / "main").write_text(SECOND)
    assert resolved_revision(in_cache(cache)) == SECOND


def test_a_revision_that_was_asked_for_is_the_one(cache):
    assert resolved_revision(in_cache(cache, revision=SECOND)) == SECOND


def test_a_snapshot_folder_has_its_commit(cache, tmp_path):
    folder = cache / "snapshots" / SECOND
    assert resolved_revision(spec(model=str(folder), local=True)) == SECOND
    link = tmp_path / "current"
    link.symlink_to(folder)
    assert resolved_revision(spec(model=str(link), local=True)) == SECOND


def test_a_folder_of_ones_own_has_none(tmp_path):
    folder = tmp_path / "snapshots" / "mine"
    folder.mkdir(parents=True)
    assert resolved_revision(spec(model=str(folder), local=True)) is None


def test_a_converted_model_keeps_the_revision_that_it_was_made_of(tmp_path):
    assert resolved_revision(spec(model=str(tmp_path), local=True, revision=FIRST)) == FIRST


def test_each_snapshot_has_references_of_its_own(tmp_path):
    model = parse_model("org/tiny")
    assert references_of(model, FIRST, tmp_path) != references_of(model, SECOND, tmp_path)


def test_two_revisions_are_named_and_not_compared(stored_test):
    a = stored_test(ttft=0.1, subject={"revision": FIRST})
    b = stored_test(ttft=0.1, subject={"revision": SECOND})
    assert differences(a, b) == [f"revision: {FIRST} / {SECOND}"]


def test_a_revision_that_an_early_record_does_not_have_is_no_difference(stored_test):
    a = stored_test(ttft=0.1, subject={"revision": None})
    b = stored_test(ttft=0.1, subject={"revision": SECOND})
    assert differences(a, b) == []


def runs_of(stored_run, stored_test, numbers, revision):
    test = stored_test(ttft=0.1, subject={"revision": revision})
    return [stored_run(number, test) for number in numbers]


def test_pairs_of_two_revisions_say_so(stored_test, stored_run):
    base = runs_of(stored_run, stored_test, range(3), FIRST)
    head = runs_of(stored_run, stored_test, range(3, 6), SECOND)
    both = [pairs.Pair(i, *sides) for i, sides in enumerate(zip(base, head, strict=True))]
    names = ("base", "head")
    judgement = pairs.judge(both, LimitSettings(), names=names)
    assert f"base / head: revision: {FIRST} / {SECOND}" in judgement.notes


def test_a_history_of_another_revision_is_named_and_not_used(stored_test, stored_run):
    past = runs_of(stored_run, stored_test, range(6), FIRST)
    new = runs_of(stored_run, stored_test, [7], SECOND)
    judgement = history.judge(past, new, LimitSettings())
    (entry,) = judgement.entries
    assert entry.verdict is Verdict.NOT_COMPARABLE
    assert f"revision: {FIRST} / {SECOND}" in entry.reason
