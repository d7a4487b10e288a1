"""Stored files as the gate reads them: whatever stands in one, it is read or refused in one line."""

import copy
import json
import math
import statistics

import pytest

from pytest_llmperf.gate import history
from pytest_llmperf.gate import pairs as paired
from pytest_llmperf.gate.limits import LimitSettings
from pytest_llmperf.report.verdicts import markdown, text
from pytest_llmperf.store.find import find_files
from pytest_llmperf.store.stored import StoredError, read_run, read_runs

NODEID = "test_speed.py::test_x[m-vllm-none]"
NATS = [2.0, 2.1, 2.2, 2.3]


@pytest.fixture
def complete(stored_json):
    """The content of a file with metrics of every kind."""
    return lambda number=1: stored_json(
        number,
        ttft=[0.1, 0.2, 0.3],
        output_throughput=50.0,
        peak_memory=900.0,
        perplexity=math.exp(statistics.fmean(NATS)),
        nats=NATS,
    )


@pytest.fixture
def file(tmp_path):
    """A file with some content: bytes, a text, or what JSON makes of anything else."""

    def write(content):
        path = tmp_path / "run.json"
        if not isinstance(content, bytes | str):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def record_of(content):
    return content["benchmarks"][0]["extra_info"]["llmperf"]


def test_a_run_is_read_as_it_was_stored(complete, file):
    run = read_run(file(complete()))
    assert (run.run_id, run.job_id) == ("run1", "run1")
    assert run.started_at == "2026-01-01T01:00:00+00:00"
    assert (run.commit, run.branch, run.dirty) == ("01" + 38 * "c", "main", False)
    assert run.rejected == {("test_a", "ttft")}
    test = run.tests[NODEID]
    assert (test.nodeid, test.cell) == (NODEID, "m-vllm-none")
    assert test.subject == {
        "model": "m",
        "revision": None,
        "type": "bfloat16",
        "load format": "auto",
        "engine": "vllm",
        "quantization": "none",
        "vllm.block_size": 16,
    }
    assert test.workload["batch_size"] == 1
    assert test.environment["cpu"] == "some CPU"
    assert test.limits == {"min_effect": {"ttft": 0.03}, "must_see": {"*": 0.1}}
    ttft = test.metrics["ttft"]
    assert (ttft.value, ttft.unit, ttft.better, ttft.kind) == (0.2, "s", "lower", "timing")


def test_perplexity_has_a_sample_a_document(complete, file):
    metrics = read_run(file(complete())).tests[NODEID].metrics
    assert metrics["perplexity"].samples == tuple(NATS)
    assert metrics["ttft"].samples == ()


def test_only_chosen_metrics_are_judged(complete, file):
    content = complete()
    content["benchmarks"] = [
        entry
        for entry in content["benchmarks"]
        if entry["extra_info"].get("llmperf", {}).get("metric") != "ttft"
    ]
    assert set(read_run(file(content)).tests[NODEID].metrics) == {
        "output_throughput",
        "peak_memory",
        "perplexity",
    }


def test_the_ci_job_of_a_run_is_read(complete, file):
    content = complete()
    record_of(content)["run"]["job_id"] = "nightly-7"
    assert read_run(file(content)).job_id == "nightly-7"


def test_records_of_older_releases_are_read(complete, file):
    content = complete()
    for key in ("cell", "gate"):
        del record_of(content)[key]
    for key in ("commit_info", "llmperf_gate"):
        del content[key]
    run = read_run(file(content))
    assert (run.branch, run.rejected) == ("", frozenset())
    assert (run.tests[NODEID].cell, run.tests[NODEID].limits) == ("m-vllm-none", {})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n ", "is empty"),
        (b"\x00\xff\xfe\x80", "is not complete JSON ("),
        (b'{"benchmarks": [', "is not complete JSON ("),
        (b"[" * 100_000, "is not complete JSON ("),
        (b'{"benchmarks": [{"extra_info": NaN}]', "is not complete JSON ("),
        (b"42", "is not a file of pytest-benchmark"),
        (b"null", "is not a file of pytest-benchmark"),
        (b'"benchmarks"', "is not a file of pytest-benchmark"),
        (b'["benchmarks"]', "is not a file of pytest-benchmark"),
        (b'{"some": "thing"}', "is not a file of pytest-benchmark"),
        (b'{"benchmarks": {}}', "is not a file of pytest-benchmark"),
        (b'{"benchmarks": []}', "holds no measurement of pytest-llmperf"),
        (
            b'{"benchmarks": [{"fullname": "test_a", "extra_info": {}}]}',
            "holds no measurement of pytest-llmperf",
        ),
        (
            b'{"benchmarks": [{}]}',
            "does not hold what schema 1 says (Object missing required field `fullname`",
        ),
    ],
)
def test_what_is_no_stored_run_is_refused_in_one_line(file, content, reason):
    path = file(content)
    with pytest.raises(StoredError) as error:
        read_run(path)
    assert str(error.value).startswith(f"{path}: {reason}")
    assert "\n" not in str(error.value)


def test_a_truncated_file_is_refused_wherever_it_ends(complete, file):
    content = json.dumps(complete()).encode()
    for length in range(0, len(content), 97):
        with pytest.raises(StoredError):
            read_run(file(content[:length]))


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(StoredError, match=r"none.json: cannot be read \(No such file"):
        read_run(tmp_path / "none.json")


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(StoredError, match="cannot be read"):
        read_run(tmp_path)


def test_a_newer_schema_is_refused_with_what_to_do(complete, file):
    content = complete()
    record_of(content)["schema"] = 2
    with pytest.raises(
        StoredError, match=r"schema 2 is newer than this release knows \(1\); upgrade"
    ):
        read_run(file(content))


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_value_that_is_no_finite_number_is_refused(complete, file, constant):
    content = json.dumps(complete()).replace('"p50": 0.2', f'"p50": {constant}')
    with pytest.raises(StoredError):
        read_run(file(content))


@pytest.mark.parametrize("value", [math.nan, math.inf, "a lone \udcff surrogate"])
def test_what_python_writes_for_other_peoples_benchmarks_costs_nothing(complete, file, value):
    content = complete()
    content["benchmarks"][-1]["extra_info"] = {"theirs": value}
    content["commit_info"]["author"] = value
    record_of(content)["backend"]["settings"] = {"ours": value}
    run = read_run(file(content))
    assert run.tests[NODEID].metrics["ttft"].value == 0.2


def test_files_that_cannot_be_read_are_left_out_with_a_line_each(complete, save, storage):
    good = [save(number, complete(number)) for number in (2, 1)]
    bad = storage / "bad.json"
    bad.write_text("")
    runs, problems = read_runs([*good, bad])
    assert [run.run_id for run in runs] == ["run1", "run2"]
    assert problems == [f"{bad}: is empty"]


# A table of damage: where, and what stands there instead. Each is refused.
DAMAGE = [
    (("benchmarks",), None),
    (("benchmarks",), {}),
    (("benchmarks", 0), None),
    (("benchmarks", 0), "text"),
    (("benchmarks", 0, "extra_info"), None),
    (("benchmarks", 0, "extra_info"), []),
    (("benchmarks", 0, "extra_info", "llmperf"), 1),
    (("benchmarks", 0, "extra_info", "llmperf"), [1]),
    (("benchmarks", 0, "extra_info", "llmperf", "schema"), "1"),
    (("benchmarks", 0, "extra_info", "llmperf", "metrics"), None),
    (("benchmarks", 0, "extra_info", "llmperf", "metrics", "ttft"), None),
    (("benchmarks", 0, "extra_info", "llmperf", "metrics", "ttft", "p50"), None),
    (("benchmarks", 0, "extra_info", "llmperf", "metrics", "ttft", "p50"), "fast"),
    # Read as "higher" it would turn a regression into an improvement.
    (("benchmarks", 0, "extra_info", "llmperf", "metrics", "ttft", "better"), "smaller"),
    (("benchmarks", 0, "extra_info", "llmperf", "run"), None),
    (("benchmarks", 0, "extra_info", "llmperf", "run"), {}),
    (("benchmarks", 0, "extra_info", "llmperf", "backend", "args"), None),
    (("benchmarks", 0, "extra_info", "llmperf", "quantization"), None),
    (("benchmarks", 1, "extra_info", "llmperf", "parent"), []),
    (("llmperf_gate",), [1]),
    (("llmperf_gate", "regressions"), [None]),
    (("commit_info",), "text"),
]


@pytest.mark.parametrize(("path", "value"), DAMAGE)
def test_a_damaged_file_is_refused(complete, file, path, value):
    content = complete()
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(StoredError) as error:
        read_run(file(content))
    assert "\n" not in str(error.value)


def places(value, path=()):
    """Every key and index below a value."""
    steps = value.items() if isinstance(value, dict) else enumerate(value)
    for step, below in steps:
        yield (*path, step)
        if isinstance(below, dict | list):
            yield from places(below, (*path, step))


def damaged(content, path, change):
    """A copy with one place changed."""
    content = copy.deepcopy(content)
    place = content
    for step in path[:-1]:
        place = place[step]
    change(place, path[-1])
    return content


def remove(place, step):
    del place[step]


def put(value):
    def change(place, step):
        place[step] = value

    return change


CHANGES = {
    "deleted": remove,
    "None": put(None),
    "a text": put("text"),
    "a list": put([1]),
    "a negative number": put(-1.5),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_with_any_one_damage_is_read_or_refused_and_can_be_judged(complete, file, name):
    good = [read_run(file(complete(number))) for number in (1, 2, 3, 4, 9)]
    *past, new = good
    crashes = []
    for path in places(complete()):
        try:
            run = read_run(file(damaged(complete(5), path, CHANGES[name])))
        except StoredError:
            continue
        except Exception as error:
            crashes.append(f"{path}: read_run: {type(error).__name__}: {error}")
            continue
        for what, judge in {
            "as the new run": lambda run=run: history.judge(past, [run], LimitSettings()),
            "in the past": lambda run=run: history.judge([*past, run], [new], LimitSettings()),
            "in pairs": lambda run=run: paired.judge(
                [paired.Pair(1, past[0], run), paired.Pair(2, past[1], new)], LimitSettings()
            ),
            "in a list": lambda run=run: read_runs([run.path, *(r.path for r in past)]),
        }.items():
            try:
                judgement = judge()
                if what != "in a list":
                    text(judgement)
                    markdown(judgement)
                    json.dumps(judgement.as_dict())
            except StoredError:
                pass
            except Exception as error:
                crashes.append(f"{path}: {what}: {type(error).__name__}: {error}")
    assert crashes == []


@pytest.fixture
def five_runs(complete, save, storage, monkeypatch):
    """Five runs in a storage folder below the current one."""
    paths = [save(number, complete(number)) for number in range(1, 6)]
    monkeypatch.chdir(storage.parent)
    return paths


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("0003", [3]),
        ("03cccc", [3]),
        ("03" + 38 * "c", [3]),
        ("run3", [3]),
        (".benchmarks", [1, 2, 3, 4, 5]),
        (".benchmarks/Linux-CPython-3.11-64bit", [1, 2, 3, 4, 5]),
        (".benchmarks/*/000[23]_*.json", [2, 3]),
        (".benchmarks/**/*.json", [1, 2, 3, 4, 5]),
    ],
)
def test_a_name_means_files(five_runs, storage, name, numbers):
    found = [path.resolve() for path in find_files(name, storage)]
    assert found == [five_runs[number - 1] for number in numbers]


def test_a_file_means_itself(five_runs, storage):
    assert find_files(str(five_runs[1]), storage) == [five_runs[1]]


def test_a_glob_may_be_absolute(five_runs, storage):
    assert find_files(f"{storage}/*/000[23]_*.json", storage) == five_runs[1:3]


def test_several_runs_of_a_commit_are_all_meant(five_runs, storage):
    again = five_runs[2].with_name(five_runs[2].name.replace("0003", "0006"))
    again.write_bytes(five_runs[2].read_bytes())
    assert find_files("03cccc", storage) == [five_runs[2], again]


@pytest.mark.parametrize(
    "name", ["none.json", "0009", "3", "03cc", "ffffff", "run9", "x*.json", ""]
)
def test_a_name_that_means_nothing_is_refused_in_one_line(five_runs, storage, name):
    if name == "":
        storage = storage / "none"
    with pytest.raises(StoredError, match="does not match a file") as error:
        find_files(name or "nothing", storage)
    assert "\n" not in str(error.value)


def test_an_empty_folder_is_refused(storage, tmp_path):
    with pytest.raises(StoredError, match="does not match a file"):
        find_files(str(storage), storage)


def test_hidden_files_of_a_folder_are_no_runs(five_runs, storage):
    (storage / ".hidden.json").write_text("{}")
    assert find_files(str(storage), storage) == five_runs
