"""Paths into another tree, led into a side's own."""

import pytest

from pytest_llmperf.ab.own_tree import OwnTree


@pytest.fixture
def places(tmp_path):
    """A repository and a side's tree; only the repository has a model and a virtual environment."""
    for tree in ("my repository", "base"):
        (tmp_path / tree / "benchmarks").mkdir(parents=True)
        (tmp_path / tree / "benchmarks" / "test_m.py").touch()
        (tmp_path / tree / "src").mkdir()
        (tmp_path / tree / "pytest.ini").touch()
    (tmp_path / "my repository" / "model").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "my repository")
    return tmp_path


@pytest.fixture
def own(places):
    repository, base = places / "my repository", places / "base"
    return OwnTree.of(base, [repository, base, repository])


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("{repo}/benchmarks", "{base}/benchmarks"),
        ("{repo}", "{base}"),
        ("{repo}/", "{base}"),
        ("{repo}/benchmarks/../pytest.ini", "{base}/pytest.ini"),
        ("{alias}/benchmarks", "{base}/benchmarks"),
        (
            "{repo}/benchmarks/test_m.py::test_m[a/b=/c]",
            "{base}/benchmarks/test_m.py::test_m[a/b=/c]",
        ),
        ("-c{repo}/pytest.ini", "-c{base}/pytest.ini"),
        ("--rootdir={repo}", "--rootdir={base}"),
        ("--confcutdir={alias}", "--confcutdir={base}"),
        ("testpaths={repo}/benchmarks", "testpaths={base}/benchmarks"),
        ("pythonpath={alias}/src {alias}/benchmarks", "pythonpath={base}/src {base}/benchmarks"),
        ("--llm-model=mine={repo}/model", "--llm-model=mine={repo}/model"),
        ("{repo}/nothing", "{repo}/nothing"),
        ("{base}/benchmarks", "{base}/benchmarks"),
        ("/nowhere/benchmarks", "/nowhere/benchmarks"),
        ("benchmarks", "benchmarks"),
        ("-k=a or b", "-k=a or b"),
    ],
)
def test_an_argument_means_the_sides_own_file_where_it_has_one(places, own, argument, expected):
    names = {name: places / name for name in ("base", "alias")} | {"repo": places / "my repository"}
    assert own.arguments([argument.format(**names)]) == [expected.format(**names)]


def test_paths_and_options_of_the_environment_are_led_there_as_well(places, own):
    repository, base = places / "my repository", places / "base"
    environment = {
        "PYTHONPATH": f"{repository}/src:lib::/other",
        "PYTEST_ADDOPTS": f"-c '{repository}/pytest.ini' -q",
        "OTHER": str(repository),
    }
    assert own.environment(environment) == {
        "PYTHONPATH": f"{base}/src:lib::/other",
        "PYTEST_ADDOPTS": f"-c {base}/pytest.ini -q",
        "OTHER": str(repository),
    }


def test_options_that_cannot_be_split_are_left_to_pytest(own):
    assert own.environment({"PYTEST_ADDOPTS": "-k 'a"}) == {"PYTEST_ADDOPTS": "-k 'a"}


def test_two_sides_in_one_folder_have_no_other_tree(tmp_path):
    own = OwnTree.of(tmp_path, [tmp_path, tmp_path])
    assert own.others == ()
    assert own.arguments([f"{tmp_path}/x"]) == [f"{tmp_path}/x"]


def test_a_tree_inside_of_the_repository_is_not_the_repository(tmp_path):
    repository, tree = tmp_path, tmp_path / "tmp" / "base"
    (tree / "tests").mkdir(parents=True)
    own = OwnTree.of(tree, [repository, tree])
    assert own.path(f"{tree}/tests") == f"{tree}/tests"
    (repository / "tests").mkdir()
    assert own.path(f"{repository}/tests") == f"{tree}/tests"
