"""Measuring and storing ceilings. No wall time is asserted: only what is measured, and when."""

import json
import os
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from threading import Thread
from types import SimpleNamespace

import pytest

from pytest_llmperf.core.architecture import Architecture
from pytest_llmperf.core.engine import EngineInfo, EngineSpec
from pytest_llmperf.core.errors import EngineDied
from pytest_llmperf.core.files import held
from pytest_llmperf.machine import ceilings as measuring
from pytest_llmperf.metrics.ceilings import Ceilings, Faster, Rate, Roof, best_of
from pytest_llmperf.metrics.roofline import Rates, Reached, RooflineModel
from pytest_llmperf.session import ceilings
from pytest_llmperf.session.ceilings import (
    CeilingCache,
    before_loading,
    fingerprint,
    of_engine,
)
from pytest_llmperf.worker.server import EngineHost

MIB = 2**20
TORCH = {"torch": "2.13.0"}
CPU = ("cpu", 1)
SLOW = Ceilings(((32 * MIB, 20e9), (64 * MIB, 10e9)), {"float32": 1e11}, 1, "by hand")
MIXED = Ceilings(((32 * MIB, 15e9), (64 * MIB, 12e9)), {"float32": 2e11}, 1, "by hand")


class Measured:
    """A stand-in for the process that measures; it records each call."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.seen = {"conditions": {}}

    def __call__(self, isolation, python, log):
        assert isolation == "process"
        self.python = python
        return self

    def call(self, method, progress, timeout, **arguments):
        self.asked.append((method, arguments))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer and {**answer.to_wire(), **self.seen}

    def close(self):
        pass


@pytest.fixture
def process(monkeypatch):
    """Return a function that sets the answers of the next processes: ``process(SLOW, None)``."""

    def put(*answers):
        worker = Measured(*answers)
        monkeypatch.setattr(ceilings, "start_worker", worker)
        return worker

    return put


@pytest.fixture
def cache(unsaid, tmp_path):
    """Return a function that starts a new run on the same cache folder."""

    def run(activity=dict, **settings):
        settings = replace(unsaid, cache_dir=tmp_path, **settings)
        return CeilingCache(settings, (tmp_path / "logs").joinpath, activity=activity)

    return run


def files(tmp_path):
    return list((tmp_path / "ceilings").glob("*.json"))


def test_ceilings_are_measured_once_and_kept(process, cache, tmp_path):
    worker = process(SLOW)
    run = cache()
    assert run.of("vllm", CPU, TORCH, None) == SLOW
    assert run.of("transformers", CPU, TORCH, None) == SLOW
    assert cache().of("vllm", CPU, TORCH, None) == SLOW
    assert worker.asked == [("ceilings", {"device": "cpu", "threads": 1})]
    assert len(files(tmp_path)) == 1


def test_only_a_measurement_is_shown(process, unsaid, tmp_path):
    process(SLOW)
    shown = []
    settings = replace(unsaid, cache_dir=tmp_path)
    for _ in range(2):
        CeilingCache(settings, tmp_path.joinpath, lambda *phase: shown.append(phase)).of(
            "vllm", CPU, TORCH, None
        )
    assert shown == [("ceilings", 0, 0)]


def test_the_engines_own_environment_measures(process, cache):
    worker = process(SLOW)
    cache(pythons={"vllm": "/opt/vllm/bin/python"}).of("vllm", CPU, TORCH, None)
    assert worker.python == "/opt/vllm/bin/python"


@pytest.mark.parametrize(
    ("where", "packages", "ceilings"),
    [
        (("cpu", 2), TORCH, MIXED),
        (("cuda:0", None), TORCH, MIXED),
        # The same machine: what the other library has done there, the machine can do.
        (CPU, {"torch": "2.14.0"}, best_of(SLOW, MIXED)),
        (CPU, {}, best_of(SLOW, MIXED)),
    ],
)
def test_another_fingerprint_is_measured_again(process, cache, tmp_path, where, packages, ceilings):
    worker = process(SLOW, MIXED)
    cache().of("vllm", CPU, TORCH, None)
    assert cache().of("vllm", where, packages, None) == ceilings
    assert len(worker.asked) == len(files(tmp_path)) == 2


def test_another_host_driver_or_gpu_is_another_fingerprint(monkeypatch):
    def now(device="cuda:0", gpus=None):
        return fingerprint("python", (device, None), TORCH, gpus)

    here, card = now(), {"name": "A", "power_limit_w": 700}
    assert now(gpus=[card]) != now(gpus=[{**card, "power_limit_w": 500}])
    monkeypatch.setattr(ceilings, "nvidia_driver", lambda: "999.1")
    assert now() != here
    on_cpu = now("cpu")
    assert "driver" not in on_cpu
    monkeypatch.setattr(ceilings, "describe_host", lambda: {"host": "elsewhere"})
    assert now("cpu") != on_cpu


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fingerprint": 1, "ceilings": {}}'])
def test_a_broken_file_is_measured_again(process, cache, tmp_path, text):
    process(SLOW, MIXED)
    cache().of("vllm", CPU, TORCH, None)
    (file,) = files(tmp_path)
    file.write_text(text)
    assert cache().of("vllm", CPU, TORCH, None) == MIXED
    assert json.loads(file.read_text())["ceilings"] == MIXED.to_wire()


def test_a_file_of_another_fingerprint_is_measured_again(process, cache, tmp_path):
    process(SLOW, MIXED)
    cache().of("vllm", CPU, TORCH, None)
    (file,) = files(tmp_path)
    data = json.loads(file.read_text())
    data["fingerprint"]["host"] = "elsewhere"
    file.write_text(json.dumps(data))
    assert cache().of("vllm", CPU, TORCH, None) == MIXED


@pytest.mark.parametrize("answer", [None, EngineDied("gone"), OSError("no memory")])
def test_what_cannot_be_measured_is_not_there_and_not_tried_twice(process, cache, tmp_path, answer):
    worker = process(answer)
    run = cache()
    assert run.of("vllm", CPU, TORCH, None) is None
    assert run.of("vllm", CPU, TORCH, None) is None
    assert run.again("vllm", CPU, TORCH, None) is None
    assert len(worker.asked) == 1
    assert files(tmp_path) == []


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(process, unsaid, tmp_path):
    process(SLOW)
    (tmp_path / "file").write_text("")
    run = CeilingCache(replace(unsaid, cache_dir=tmp_path / "file"), tmp_path.joinpath)
    assert run.of("vllm", CPU, TORCH, None) == SLOW


def test_a_ceiling_that_was_too_low_is_raised_once_a_run(process, cache):
    worker = process(SLOW, MIXED)
    run = cache()
    run.of("vllm", CPU, TORCH, None)
    best = replace(SLOW, read=((32 * MIB, 20e9), (64 * MIB, 12e9)), matmul={"float32": 2e11})
    assert run.again("vllm", CPU, TORCH, None) == best
    assert run.again("vllm", CPU, TORCH, None) == best
    assert cache().of("vllm", CPU, TORCH, None) == best
    assert len(worker.asked) == 2


def test_a_second_measurement_that_fails_leaves_the_first(process, cache):
    process(SLOW, EngineDied("gone"))
    run = cache()
    run.of("vllm", CPU, TORCH, None)
    assert run.again("vllm", CPU, TORCH, None) == SLOW


BUSY = [
    {"other_cores": 0.9},
    {"steal_share": 0.1},
    {"swapped_mib": 20.0},
    {"other_gpu_processes": 1},
]


@pytest.mark.parametrize("seen", BUSY)
def test_ceilings_measured_beside_others_are_measured_again_by_a_later_run(process, cache, seen):
    worker = process(SLOW, MIXED)
    worker.seen = {"conditions": seen}
    run = cache()
    for _ in range(2):  # Once per run.
        assert run.of("vllm", CPU, TORCH, None) == replace(SLOW, disturbed=True)
    worker.seen = {"conditions": {"other_cores": 0.1, "steal_share": 0.0}}
    best = best_of(SLOW, MIXED)
    for _ in range(2):
        assert cache().of("vllm", CPU, TORCH, None) == best
    assert len(worker.asked) == 2


def test_a_later_run_that_is_not_alone_either_measures_nothing(process, cache):
    worker = process(SLOW, MIXED)
    worker.seen = {"conditions": {"other_cores": 0.9}}
    cache().of("vllm", CPU, TORCH, None)
    kept = cache(lambda: {"other_cores": 0.5}).of("vllm", CPU, TORCH, None)
    assert kept == replace(SLOW, disturbed=True)
    assert len(worker.asked) == 1
    assert cache(lambda: {"other_cores": 0.2}).of("vllm", CPU, TORCH, None) != SLOW


def test_conditions_and_canary_are_kept_beside_the_ceilings(process, cache, tmp_path):
    worker = process(SLOW)
    worker.seen = {"conditions": {"other_cores": 0.9}, "canary": {"copy_s": [0.1, 0.2]}}
    cache().of("vllm", CPU, TORCH, None)
    (file,) = files(tmp_path)
    kept = json.loads(file.read_text())
    assert kept["conditions"] == {"other_cores": 0.9}
    assert kept["canary"] == {"copy_s": [0.1, 0.2]}
    assert abs(time.time() - kept["measured_at"]) < 1000


def changed(file, **values):
    data = json.loads(file.read_text()) | values
    file.write_text(json.dumps({k: v for k, v in data.items() if v is not None}))


DAY = 24 * 3600


@pytest.mark.parametrize("ago", [91 * DAY, -2 * DAY])
def test_ceilings_of_long_ago_or_of_the_future_are_replaced(process, cache, tmp_path, ago):
    process(SLOW, MIXED)
    cache().of("vllm", CPU, TORCH, None)
    (file,) = files(tmp_path)
    changed(file, measured_at=time.time() - ago)
    assert cache().of("vllm", CPU, TORCH, None) == MIXED
    assert cache().of("vllm", CPU, TORCH, None) == MIXED


def test_old_ceilings_stay_where_none_can_be_measured(process, cache, tmp_path):
    process(SLOW, None)
    cache().of("vllm", CPU, TORCH, None)
    (file,) = files(tmp_path)
    changed(file, measured_at=time.time() - 91 * DAY)
    assert cache().of("vllm", CPU, TORCH, None) == SLOW


def test_ceilings_of_an_earlier_version_say_nothing_of_others_and_are_measured_again(
    process, cache, tmp_path
):
    process(SLOW, MIXED)
    cache().of("vllm", CPU, TORCH, None)
    (file,) = files(tmp_path)
    changed(file, conditions=None, canary=None, measured_at=None)
    assert cache().of("vllm", CPU, TORCH, None) == best_of(SLOW, MIXED)


def test_one_run_measures_at_a_time_and_the_others_read_what_it_found(process, cache, tmp_path):
    worker = process(SLOW)
    cache().of("vllm", CPU, TORCH, None)
    (file,) = files(tmp_path)
    measured = file.read_bytes()
    file.unlink()
    answers = []
    with held(tmp_path / "ceilings" / ".lock"):
        second = Thread(target=lambda: answers.append(cache().of("vllm", CPU, TORCH, None)))
        second.start()
        file.write_bytes(measured)
    second.join()
    assert answers == [SLOW]
    assert len(worker.asked) == 1


def test_all_users_of_a_shared_cache_can_read_ceilings(process, cache, tmp_path):
    process(SLOW)
    before = os.umask(0o022)
    try:
        cache().of("vllm", CPU, TORCH, None)
    finally:
        os.umask(before)
    (file,) = files(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o644


def test_the_best_of_two_keeps_what_only_one_has():
    other = Ceilings(((128 * MIB, 9e9),), {"float16": 3e11}, 1, "other")
    by = "measured by by hand"
    assert best_of(SLOW, other) == Ceilings(
        (*SLOW.read, (128 * MIB, 9e9)),
        {"float32": 1e11, "float16": 3e11},
        1,
        "other",
        faster_read={32 * MIB: Faster(20e9, by), 64 * MIB: Faster(10e9, by)},
        faster_matmul={"float32": Faster(1e11, by)},
    )


def test_the_best_of_two_libraries_says_whose_each_rate_is():
    other = Ceilings(((32 * MIB, 25e9), (64 * MIB, 9e9)), {"float32": 0.9e11}, 1, "other")
    best = best_of(other, SLOW)
    assert best.read_rate(40 * MIB) == Rate(25e9, 20e9, "measured by other")
    assert best.read_rate(90 * MIB) == Rate(10e9, 10e9)
    assert best.matmul_rate("float32") == Rate(1e11, 1e11)


def test_a_measurement_that_caught_up_with_an_engine_is_the_ceiling():
    raised = SLOW.raised(matmul={"float32": Faster(1.5e11, "reached by a in b")})
    assert raised.matmul_rate("float32").by == "reached by a in b"
    assert best_of(raised, MIXED).matmul_rate("float32") == Rate(2e11, 2e11)
    slower = best_of(raised, replace(MIXED, matmul={"float32": 1.2e11}))
    assert slower.matmul_rate("float32") == Rate(1.5e11, 1.2e11, "reached by a in b")


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), "many"])
def test_a_kept_number_that_is_not_a_rate_is_measured_again(process, cache, tmp_path, rate):
    process(SLOW, MIXED)
    cache().of("vllm", CPU, TORCH, None)
    (file,) = files(tmp_path)
    changed(file, ceilings={**SLOW.to_wire(), "matmul": {"float32": rate}})
    assert cache().of("vllm", CPU, TORCH, None) == MIXED


# What engines reach


def reached(matmul=(), read=(), by="reached by m-e-none in test_x"):
    """The rates of an engine with 80 MiB of weights, whose float32 products are known."""
    model = RooflineModel(
        Architecture(layers=1, hidden=8, heads=1, kv_heads=1, head_dim=8, vocabulary=9, tied=True),
        weight_bytes=80.0 * MIB,
        parameters=20 * MIB,
        embedding_bytes=None,
        cache_value_bytes=2,
        arithmetic="float32",
    )
    return Reached(model, "cpu", Rates(tuple(read), tuple(matmul), tuple(read)), by)


BY = "reached by m-e-none in test_x"


def raise_by(run, engine):
    return run.reached("vllm", CPU, TORCH, None, engine)


def test_an_engine_that_beats_a_ceiling_raises_it_for_this_run_and_later_ones(process, cache):
    process(SLOW)
    run = cache()
    assert run.of("vllm", CPU, TORCH, None) == SLOW
    raised = raise_by(run, reached(matmul=[1.2e11, 1.3e11, 1.25e11]))
    assert raised.matmul_rate("float32") == Rate(1.25e11, 1e11, BY)
    assert run.of("transformers", CPU, TORCH, None) == raised
    assert cache().of("vllm", CPU, TORCH, None) == raised


def test_reading_raises_the_ceiling_of_that_size_and_below_only(process, cache):
    process(replace(SLOW, read=(*SLOW.read, (128 * MIB, 8e9))))
    run = cache()
    run.of("vllm", CPU, TORCH, None)
    raise_by(run, reached(read=[24e9, 24e9]))
    for later in (run, cache()):
        best = later.of("vllm", CPU, TORCH, None)
        assert best.read_rate(40 * MIB) == Rate(24e9, 20e9, BY)
        assert best.read_rate(90 * MIB) == Rate(24e9, 10e9, BY)
        assert best.read_rate(200 * MIB) == Rate(8e9, 8e9)


def test_a_single_fast_round_of_several_raises_nothing(process, cache):
    process(SLOW)
    run = cache()
    run.of("vllm", CPU, TORCH, None)
    assert raise_by(run, reached(matmul=[0.5e11, 9e11, 0.6e11])) == SLOW
    assert raise_by(run, reached(matmul=[0.5e11, 9e11])) == SLOW


@pytest.mark.parametrize("rates", [[1.2e11], [9e11, 9e11, 9e11]])
def test_one_round_or_an_unbelievable_rate_is_a_ceiling_of_its_run_only(process, cache, rates):
    process(SLOW)
    run = cache()
    run.of("vllm", CPU, TORCH, None)
    assert raise_by(run, reached(matmul=rates)).matmul_rate("float32").value == rates[0]
    assert cache().of("vllm", CPU, TORCH, None) == SLOW


def test_a_rate_below_the_ceiling_raises_nothing(process, cache, tmp_path):
    process(SLOW)
    run = cache()
    run.of("vllm", CPU, TORCH, None)
    assert raise_by(run, reached(matmul=[0.9e11] * 3, read=[9e9] * 3)) == SLOW
    assert len(files(tmp_path)) == 1


def test_the_best_of_what_engines_have_reached_is_kept(process, cache):
    process(SLOW)
    for rate, by in ((1.2e11, BY), (1.5e11, "reached by b"), (1.3e11, "reached by c")):
        run = cache()
        run.of("vllm", CPU, TORCH, None)
        raise_by(run, reached(matmul=[rate, rate], by=by))
    assert cache().of("vllm", CPU, TORCH, None).matmul_rate("float32") == Rate(
        1.5e11, 1e11, "reached by b"
    )


def test_what_an_engine_reached_long_ago_is_no_ceiling(process, cache, tmp_path):
    process(SLOW)
    run = cache()
    run.of("vllm", CPU, TORCH, None)
    (measured,) = files(tmp_path)
    raise_by(run, reached(matmul=[1.2e11, 1.2e11]))
    (file,) = set(files(tmp_path)) - {measured}
    (row,) = json.loads(file.read_text())["reached"]
    changed(file, reached=[row | {"reached_at": time.time() - 91 * DAY}])
    assert cache().of("vllm", CPU, TORCH, None) == SLOW


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"fingerprint": 1, "reached": 2}'])
def test_a_broken_file_of_what_engines_reached_is_as_none(process, cache, tmp_path, text):
    process(SLOW)
    run = cache()
    run.of("vllm", CPU, TORCH, None)
    (measured,) = files(tmp_path)
    raise_by(run, reached(matmul=[1.2e11, 1.2e11]))
    (file,) = set(files(tmp_path)) - {measured}
    file.write_text(text)
    run = cache()
    assert run.of("vllm", CPU, TORCH, None) == SLOW
    raise_by(run, reached(matmul=[1.3e11, 1.3e11]))
    assert cache().of("vllm", CPU, TORCH, None).matmul_rate("float32").value == 1.3e11


def test_another_library_of_the_machine_has_the_ceiling_that_an_engine_raised(process, cache):
    process(SLOW, replace(SLOW, method="other"))
    run = cache()
    run.of("vllm", CPU, TORCH, None)
    raise_by(run, reached(matmul=[1.2e11, 1.2e11]))
    for later in (run, cache()):
        other = later.of("transformers", CPU, {"torch": "2.14.0"}, None)
        assert other.matmul_rate("float32") == Rate(1.2e11, 1e11, BY)


def spec(**changes):
    return EngineSpec(backend="vllm", quantization="none", model="m", **changes)


def info(device, threads=None):
    return EngineInfo(device, "bfloat16", 100, has_tokenizer=False, threads=threads)


def test_where_an_engine_will_compute():
    assert before_loading(spec(device="cpu", threads=3)) == ("cpu", 3)
    assert before_loading(spec(device="cuda")) == ("cuda:0", None)
    assert before_loading(spec(device="cuda:1")) == ("cuda:1", None)


def test_where_an_engine_does_compute():
    assert of_engine(spec(threads=3), info("cpu")) == ("cpu", 3)
    # The number of threads that the engine reports, not the requested number.
    assert of_engine(spec(threads=3), info("cpu", threads=4)) == ("cpu", 4)
    assert of_engine(spec(), info("cpu")) == ("cpu", None)
    assert of_engine(spec(), info("cuda", threads=8)) == ("cuda:0", None)
    # The engine sees the second GPU as its first one.
    assert of_engine(spec(device="cuda:1"), info("cuda:0")) == ("cuda:1", None)


# What measures


def test_buffers_double_until_one_fills_the_cache():
    sizes = [size * MIB for size in (32, 64, 128, 256, 512)]
    assert measuring.buffer_sizes(100 * 2**30, 2 * MIB) == sizes
    assert measuring.buffer_sizes(100 * 2**30, 600 * MIB) == [*sizes, 1024 * MIB]


def test_buffers_take_a_quarter_of_the_free_memory_at_most():
    assert measuring.buffer_sizes(300 * MIB, 0) == [32 * MIB, 64 * MIB]
    assert measuring.buffer_sizes(100 * MIB, 0) == []


@pytest.fixture
def small(monkeypatch):
    """Make buffers and products tiny, and use one thread."""
    monkeypatch.setattr(measuring, "buffer_sizes", lambda free, cache: [MIB, 2 * MIB])
    monkeypatch.setattr(measuring, "_SIDES", (64,))
    monkeypatch.setattr(measuring, "_SECONDS", 0)
    for name in ("OMP", "MKL", "OPENBLAS"):
        monkeypatch.setenv(f"{name}_NUM_THREADS", "1")


def check(measured, method, types):
    assert [size for size, _ in measured.read] == [MIB, 2 * MIB]
    assert all(rate > 0 for _, rate in measured.read)
    assert set(measured.matmul) == types
    assert all(rate > 0 for rate in measured.matmul.values())
    assert measured.method.startswith(method)
    assert measured.threads == 1
    assert Ceilings.from_wire(measured.to_wire()) == measured


def test_numpy_measures_float32(small, monkeypatch):
    pytest.importorskip("numpy")
    monkeypatch.setitem(sys.modules, "torch", None)
    check(measuring.measure("cpu", 1), "numpy ", {"float32"})


def test_without_a_library_nothing_is_measured(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "numpy", None)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert measuring.measure("cpu", None) is None


def test_numpy_knows_no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert measuring.measure("cuda:0", None) is None


def test_a_machine_without_memory_has_no_ceilings(monkeypatch):
    pytest.importorskip("numpy")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(measuring, "_free_memory", lambda: 100 * MIB)
    assert measuring.measure("cpu", None) is None


def test_a_larger_product_is_tried_while_it_does_not_take_long(monkeypatch):
    sides = []

    class Timer:
        def best(self, kernels):
            return 1e12

    def products(side):
        sides.append(side)
        return [(None, 2.0 * side**3)]

    # 2 x 4096^3 operations at 1 TFLOP/s are 0.14 s, 2 x 2048^3 are 0.02 s.
    assert measuring._best_product(products, Timer()) == 1e12
    assert sides == [512, 1024, 2048]


def test_a_measurement_says_what_else_the_machine_did(small, monkeypatch):
    pytest.importorskip("numpy")
    monkeypatch.setitem(sys.modules, "torch", None)
    answer = EngineHost().ceilings("cpu", 1)
    assert set(answer["canary"]) == {"compute_s", "copy_s"}
    assert isinstance(answer["conditions"], dict)


def test_the_simulated_device_has_programmed_ceilings():
    answer = EngineHost().ceilings("simulated", None)
    assert answer["method"] == "programmed"
    assert Ceilings.from_wire(answer).read_rate(1000) == Rate(100e9, 100e9)


def test_a_worker_without_a_library_answers_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert EngineHost().ceilings("cuda:0", None) is None


class FakeTensor:
    """The part of a tensor's interface that is used; it computes nothing."""

    def __init__(self, torch, length):
        self.torch, self.length = torch, length

    def __len__(self):
        return self.length

    def __getitem__(self, part):
        assert part.stop is None or part.stop <= self.length, "a buffer is read beyond its end"
        return FakeTensor(self.torch, len(range(self.length)[part]))

    def reshape(self, *shape):
        return self

    def to(self, dtype):
        if dtype in self.torch.missing:
            raise RuntimeError("not on this device")
        return self

    def copy_(self, other):
        assert other.length == self.length
        self.torch.calls.append("copy")

    def sum(self):
        self.torch.calls.append("sum")

    def __matmul__(self, other):
        self.torch.calls.append("product")

    @property
    def T(self):
        return self


class FakeTorch:
    """A torch with a GPU of a given free memory. The machine that runs these tests has no GPU."""

    __version__ = "0.0"
    float32, bfloat16, float16 = "float32", "bfloat16", "float16"

    def __init__(self, free=80 * 2**30, there=True, missing=()):
        self.calls, self.missing = [], missing
        self.cuda = SimpleNamespace(
            is_available=lambda: there,
            mem_get_info=lambda where: (free, 80 * 2**30),
            synchronize=lambda where: self.calls.append("wait"),
        )

    def device(self, name):
        return name

    def inference_mode(self):
        return nullcontext()

    def ones(self, length, dtype, device):
        assert device == "cuda:1"
        return FakeTensor(self, length)

    def randn(self, shape, device):
        assert device == "cuda:1"
        return FakeTensor(self, shape[0])

    def dot(self, left, right):
        assert left.length == right.length
        self.calls.append("dot")


@pytest.fixture
def on_gpu(monkeypatch):
    """Return a function that measures the second GPU with a given torch, with the fewest repeats."""

    def run(torch):
        monkeypatch.setitem(sys.modules, "torch", torch)
        monkeypatch.setattr(measuring, "_SECONDS", 0)
        return measuring.measure("cuda:1", None)

    return run


def test_a_gpu_is_measured_over_buffers_up_to_a_gibibyte(on_gpu):
    torch = FakeTorch()
    measured = on_gpu(torch)
    assert [size // MIB for size, _ in measured.read] == [32, 64, 128, 256, 512, 1024]
    assert set(measured.matmul) == {"bfloat16", "float16", "float32"}
    assert (measured.threads, measured.method) == (None, "torch 0.0")
    # One run that is not counted, and three times ten runs, for each of six buffers.
    for kernel in ("copy", "sum", "dot"):
        assert torch.calls.count(kernel) == 6 * (1 + 3 * 10)
    # The clock is read after all started runs have finished.
    assert torch.calls[1] == torch.calls[12] == "wait"


def test_a_type_that_a_gpu_lacks_is_left_out(on_gpu):
    assert set(on_gpu(FakeTorch(missing=("bfloat16",))).matmul) == {"float16", "float32"}


def test_a_gpu_that_torch_cannot_use_has_no_ceilings(on_gpu):
    assert on_gpu(FakeTorch(there=False)) is None
    assert on_gpu(FakeTorch(free=64 * MIB)) is None


@pytest.mark.engine
def test_torch_measures_every_type(small):
    pytest.importorskip("torch")
    check(measuring.measure("cpu", 1), "torch ", {"bfloat16", "float16", "float32"})


def test_the_record_says_that_ceilings_may_be_too_low():
    roof = Roof(1e9, None, None, 1, "by hand")
    assert "disturbed" not in roof.to_record()
    assert replace(roof, disturbed=True).to_record()["disturbed"] is True
