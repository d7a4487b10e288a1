"""TensorRT-LLM's backend against a stand-in for its API, in an environment of its own.

Nothing here says anything about TensorRT-LLM itself: docs/reference/engines.md says that it was never
run.
"""

import json
import shutil
import venv
from pathlib import Path

import pytest

STAND_INS = Path(__file__).parent / "stand_ins"
TEST = """
    import pytest

    @pytest.mark.parametrize("batch_size", [1, 3])
    def test_speed(llm, llm_benchmark, batch_size):
        result = llm_benchmark(llm, input_len=8, output_len=5, batch_size=batch_size, rounds=2)
        assert result.ttft.min >= 0.030
        assert result.tpot.min >= 0.004
        assert result.peak_memory.max >= 500

    def test_ids(llm):
        assert llm.generate_ids([5, 6, 7], 4) == [7, 8, 9, 10]
"""


@pytest.fixture
def other_python(pytester):
    """An interpreter whose environment has the stand-in, and nothing else."""
    folder = pytester.mkdir("env")
    venv.create(folder, with_pip=False)
    site = next((folder / "lib").glob("python*/site-packages"))
    shutil.copytree(STAND_INS, site, dirs_exist_ok=True)
    info = site / "tensorrt_llm-1.2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorrt_llm\nVersion: 1.2.1\n")
    return folder / "bin" / "python"


@pytest.fixture
def run(pytester, other_python):
    """Runs the tests with the stand-in and random weights."""

    def with_options(*options):
        pytester.makepyfile(TEST)
        return pytester.runpytest_subprocess(
            "--llm-backend=tensorrt-llm",
            f"--llm-python=tensorrt-llm={other_python}",
            "--llm-load-format=dummy",
            *options,
        )

    return with_options


def test_it_is_measured_in_its_own_environment(pytester, run):
    result = run("--benchmark-json=out.json")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["llm: smollm2-135m (random weights) on tensorrt-llm 1.2.1; *"])
    entries = json.loads((pytester.path / "out.json").read_text())["benchmarks"]
    record = entries[0]["extra_info"]["llmperf"]
    assert record["backend"]["version"] == "1.2.1"
    assert record["workload"]["output_tokens"] == 5
    asked = json.loads((pytester.path / "llm.json").read_text())
    assert asked["model"].endswith("architectures/smollm2-135m")
    assert asked["dtype"] == "bfloat16"
    assert asked["load_format"] == "dummy"
    assert asked["kv_cache_config"]["enable_block_reuse"] is False
    assert (pytester.path / "shutdown").exists()


def test_its_own_arguments_reach_it_and_the_degree_is_in_the_id(pytester, run):
    result = run(
        "--llm-backend-arg=tensorrt-llm.tensor_parallel_size=2",
        "--llm-backend-arg=tensorrt-llm.kv_cache_config.free_gpu_memory_fraction=0.5",
        "-v",
    )
    result.stdout.fnmatch_lines(["*[[]smollm2-135m-tensorrt-llm-none-tp2-1] PASSED*"])
    asked = json.loads((pytester.path / "llm.json").read_text())
    assert asked["tensor_parallel_size"] == 2
    assert asked["kv_cache_config"]["free_gpu_memory_fraction"] == 0.5


def test_a_mode_is_refused_before_anything_loads(pytester, run):
    result = run("--llm-quant=nf4")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.errlines if line] == [
        "ERROR: --llm-quant: TensorRT-LLM cannot quantize to nf4: it runs a checkpoint in its own mode"
    ]


def test_without_its_environment_it_says_how_to_name_one(pytester):
    pytester.makepyfile(TEST)
    result = pytester.runpytest_subprocess("-o", "llm_backend=tensorrt-llm", "-rs")
    result.assert_outcomes(skipped=3)
    result.stdout.fnmatch_lines(
        [
            "SKIPPED * tensorrt-llm is not installed: its pinned packages need a separate environment: "
            "--llm-python tensorrt-llm=PATH"
        ]
    )
