"""The suite stores what it stored at an earlier commit, on the simulated engine with the same seed."""

import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EARLIER = json.loads((ROOT / "tests/data/simulated-7eb26ee.json").read_text("utf-8"))
PROGRAM = {
    "seed": 7,
    "layers": 30,
    "heads": 9,
    "parameters": 134515008,
    "power_w": 50,
    "jitter": 0.02,
}
ADDED = {
    "backend": {"devices", "peak_by_driver", "cache_value_bytes", "traits"},
    "ceilings": {
        "read_by",
        "matmul_by",
        "measured_read_bytes_per_s",
        "measured_matmul_flops",
    },
    "settings": {"cache_bits", "found_cache_bits", "speculation", "prefix_cache"},
    "environment": {"variables"},
    "record": {"parameters"},
    "run": {"branch"},
    "metrics": {"output_throughput_per_request"},
}
"""Keys that records have got since. ``floor``, ``workload.words_as_ids`` and
``model.architecture.window_layers`` are there only where a run or a model was unusual, which none of
these is."""
RATES = {"read_bytes_per_s", "matmul_flops"}
OF_THE_MACHINE = {"governor", "gpus"}


@pytest.fixture(scope="module")
def now(tmp_path_factory, run_in):
    folder = tmp_path_factory.mktemp("suite")
    shutil.copytree(ROOT / "tests/data/suite-7eb26ee", folder / "benchmarks")
    (folder / "pytest.ini").write_text("[pytest]\n")
    # Three rounds, as the suite had then; now they go on by need.
    options = (
        "--llm-rounds=3",
        "--llm-hourly-cost=2",
        "--llm-cache-dir=cache",
        "--benchmark-json=run.json",
    )
    assert run_in(folder, "benchmarks", *options, **PROGRAM) == 0
    return json.loads((folder / "run.json").read_text("utf-8"))


def entries_of(content):
    return [(e["fullname"], e["group"], e["param"], e["params"]) for e in content["benchmarks"]]


def records_of(content):
    ours = {e["fullname"]: e["extra_info"]["llmperf"] for e in content["benchmarks"]}
    return {name: record for name, record in ours.items() if "schema" in record}


def comparable(record):
    """A record without what differs from run to run: times, versions, hashes, the machine."""
    kept = {
        key: record[key] for key in ("schema", "nodeid", "cell", "model", "quantization", "gate")
    }
    backend = record["backend"]
    kept["backend"] = {key: value for key, value in backend.items() if key not in ADDED["backend"]}
    settings = backend["settings"].items()
    kept["backend"]["settings"] = {k: v for k, v in settings if k not in ADDED["settings"]}
    kept["workload"] = {
        key: value for key, value in record["workload"].items() if key not in ("hash", "requests")
    }
    kept["environment"] = set(record["environment"]) - OF_THE_MACHINE - ADDED["environment"]
    kept["energy"] = set(record["environment"].get("energy", {}))
    # An engine that is faster than a ceiling raises it, and once did not.
    ceilings = dict(record["environment"].get("ceilings", {}))
    for rate in RATES & set(ceilings):
        ceilings[rate] = ceilings.get(f"measured_{rate}", ceilings[rate])
    kept["ceilings"] = {k: ceilings[k] for k in set(ceilings) - ADDED["ceilings"]}
    kept["run"] = set(record["run"]) - ADDED["run"]
    kept["metrics"] = {
        key: (metric["unit"], metric["better"], metric["kind"], metric["n"], len(metric["samples"]))
        for key, metric in record["metrics"].items()
        if key not in ADDED["metrics"]
    }
    kept["exact"] = {
        key: metric["samples"]
        for key, metric in record["metrics"].items()
        if metric["kind"] in ("exact", "quality")
    }
    kept["quality"] = record.get("quality")
    return kept


def test_ids_entries_and_groups_are_the_same(now):
    assert entries_of(now) == entries_of(EARLIER)


def test_siblings_are_the_same(now):
    def siblings(content):
        return [
            e["extra_info"]["llmperf"]
            for e in content["benchmarks"]
            if "parent" in e["extra_info"]["llmperf"]
        ]

    assert siblings(now) == siblings(EARLIER)


def test_records_are_the_same_but_for_what_was_added(now):
    earlier, later = records_of(EARLIER), records_of(now)

    assert list(later) == list(earlier)
    for name in earlier:
        assert comparable(later[name]) == comparable(earlier[name])
        added = set(later[name]["backend"]) - set(earlier[name]["backend"])
        assert added <= ADDED["backend"]
        assert set(later[name]) - set(earlier[name]) <= ADDED["record"]
