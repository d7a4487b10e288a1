"""Quality of real engines: against transformers alone, and a dequantization that was broken."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmperf.backends.conversion import cached_folder
from pytest_llmperf.core.models import embedded_gguf
from pytest_llmperf.core.text import shipped
from pytest_llmperf.session.options import default_cache_dir

ROOT = Path(__file__).resolve().parents[2]
QUALITY = """
import pytest

@pytest.mark.llm(quant=["none", "int8", "nf4"])
def test_quality(llm, llm_benchmark):
    llm_benchmark.quality(llm)
"""
BROKEN = """
from pytest_llmperf.backends.transformers import TransformersBackend

load = TransformersBackend.load

def load_and_break(self, spec):
    info = load(self, spec)
    self._model.model.layers[15].mlp.down_proj.weight.quant_state.absmax.mul_({factor})
    return info

TransformersBackend.load = load_and_break
"""
# Perplexity of the first document, of the unquantized model in bfloat16.
FIRST = 31.1


@pytest.fixture
def run(pytester, monkeypatch):
    """Pytest in a process of its own on transformers."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def start(*arguments):
        return pytester.runpytest_subprocess(
            "--llm-backend=transformers", "--llm-device=cpu", *arguments, timeout=300
        )

    return start


def test_figures_are_those_of_transformers_alone_and_in_their_order(pytester, run):
    pytester.makepyfile(QUALITY)
    run("--benchmark-json=run.json").assert_outcomes(passed=3)
    stored = pytester.path / "run.json"
    found = {}
    for entry in json.loads(stored.read_text())["benchmarks"]:
        record = entry["extra_info"]["llmperf"]
        if "metrics" in record:
            found[record["quantization"]["mode"]] = record["metrics"]["perplexity"]["p50"]
    assert found["none"] <= found["int8"] <= found["nf4"]
    model = cached_folder(embedded_gguf(), default_cache_dir() / "")
    script = [sys.executable, ROOT / "tools" / "check_quality.py", model]
    done = subprocess.run(
        [*script, "--modes=none,nf4", f"--against={stored}"],
        capture_output=True,
        text=True,
        check=False,
    )
    # The script ends with 1 for a difference of half a percent.
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        ("float('nan')", "its log-probabilities are no finite numbers"),
        ("10", "its perplexity *far from the unquantized model's*"),
    ],
)
def test_a_broken_dequantization_measures_nothing(pytester, run, factor, message):
    cache = f"--llm-cache-dir={default_cache_dir()}"
    pytester.makepyfile(test_reference=QUALITY.replace('["none", "int8", "nf4"]', '"none"'))
    run(cache, "--benchmark-disable").assert_outcomes(passed=1)
    pytester.makeconftest(BROKEN.format(factor=factor))
    pytester.makepyfile(
        test_speed="def test_x(llm, llm_benchmark): llm_benchmark(llm, input_len=4, output_len=2)"
    )
    result = run(cache, "--llm-quant=nf4", "--llm-isolation=none", "test_speed.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"smollm2-135m-transformers-nf4: invalid measurement: {message}"])


@pytest.mark.llm(backend=["transformers", "vllm", "llama-cpp-python", "ctranslate2"])
def test_unquantized_engines_agree_on_a_text(llm):
    text = shipped().documents[0]
    assert llm.perplexity(text) == pytest.approx(FIRST, rel=0.02)
    assert len(llm.score([1, 2, 3])) == 2


@pytest.mark.llm(backend="llama-cpp")
def test_an_engine_that_tells_no_probabilities_says_so(llm):
    with pytest.raises(pytest.fail.Exception, match="not available: llama-cpp reports no log-prob"):
        llm.score([1, 2, 3])
    llm.check_output()
