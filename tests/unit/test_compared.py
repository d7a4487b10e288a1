"""A run beside a stored one."""

from pytest_llmperf.report.compared import comparison

STEADY = [0.1, 0.1, 0.1]


def cells(line):
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_each_metric_has_its_value_before_and_now_and_its_own_change(stored_record):
    before = stored_record(ttft=STEADY, output_throughput=[216.3] * 3, peak_memory=900.0)
    now = stored_record(ttft=[0.12] * 3, output_throughput=[146.2] * 3, peak_memory=900.0)
    lines = comparison([before], [now])
    assert lines[0] == "test_speed.py::test_x"
    assert [cells(line) for line in lines[3:]] == [
        ["m-vllm-none", "ttft ms", "100.0", "120.0", "+20.0%"],
        ["tokens/s", "216.3", "146.2", "-32.4%"],
        ["peak MiB", "900", "900", "+0.0%"],
    ]


def test_other_hardware_is_named_and_not_compared(stored_record):
    now = stored_record(ttft=STEADY, environment={"gpus": [{"name": "NVIDIA H200"}]})
    lines = comparison([stored_record(ttft=STEADY)], [now])
    assert lines[1].startswith("m-vllm-none is not comparable: GPU: NVIDIA H100 / NVIDIA H200")
    assert "%" not in lines[1]


def test_another_argument_of_the_engine_is_compared_and_named(stored_record):
    now = stored_record(ttft=STEADY)
    now["backend"]["args"] = {"block_size": 32}
    lines = comparison([stored_record(ttft=STEADY)], [now])
    assert cells(lines[3])[-1] == "+0.0%"
    assert lines[-1] == "m-vllm-none: vllm.block_size: 16 / 32"


def test_a_disturbed_side_has_no_change(stored_record):
    busy = {"conditions": {"other_cores": 4.0}}
    now = stored_record(ttft=STEADY, peak_memory=900.0, environment=busy)
    lines = comparison([stored_record(ttft=STEADY, peak_memory=900.0)], [now])
    assert cells(lines[3]) == ["m-vllm-none !", "ttft ms", "100.0", "100.0", "-"]
    assert cells(lines[4])[-1] == "+0.0%"
    assert lines[-1] == "! m-vllm-none now: busy: 4.0 of 8 cores"


def test_a_test_without_a_stored_twin_is_named(stored_record):
    new = stored_record("t.py::test_new[m-vllm-none]", ttft=STEADY)
    assert comparison([stored_record(ttft=STEADY)], [new]) == [
        "not in the stored run: t.py::test_new[m-vllm-none]"
    ]
