"""Quality of real engines, compared with plain transformers and with a broken dequantization."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
# Perplexity of the first document with the unquantized model in bfloat16.
FIRST = 31.1


RUN = ("--llm-backend=transformers", "--llm-device=cpu", f"--llm-cache-dir={default_cache_dir()}")


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Return a stored run of three modes; it also stores the unquantized model's distributions."""
    folder = tmp_path_factory.mktemp("quality")
    (folder / "test_quality.py").write_text(QUALITY)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *RUN, "--benchmark-json=run.json", "-pno:cacheprovider"],
        cwd=folder,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return folder / "run.json"


def test_figures_are_those_of_transformers_alone_and_in_their_order(stored, checkpoint):
    perplexities = {}
    for entry in json.loads(stored.read_text())["benchmarks"]:
        record = entry["extra_info"]["llmperf"]
        if "metrics" in record:
            perplexities[record["quantization"]["mode"]] = record["metrics"]["perplexity"]["p50"]
    assert perplexities["none"] <= perplexities["int8"] <= perplexities["nf4"]
    script = [sys.executable, ROOT / "tools" / "check_quality.py", checkpoint]
    done = subprocess.run(
        [*script, "--modes=none,nf4", f"--against={stored}"],
        capture_output=True,
        text=True,
        check=False,
    )
    # The script's exit code is 1 for a difference of half a percent.
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        ("float('nan')", "its log-probabilities are not finite numbers"),
        ("10", "its perplexity *far from the unquantized model's*"),
    ],
)
@pytest.mark.usefixtures("stored")
def test_a_broken_dequantization_measures_nothing(pytester, factor, message):
    pytester.makeconftest(BROKEN.format(factor=factor))
    pytester.makepyfile(
        "def test_x(llm, llm_benchmark): llm_benchmark(llm, input_len=4, output_len=2)"
    )
    result = pytester.runpytest_subprocess(
        *RUN, "--llm-quant=nf4", "--llm-isolation=none", timeout=300
    )
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
