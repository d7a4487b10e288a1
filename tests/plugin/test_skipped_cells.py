"""Tests whose cells cannot run here: skipped with the reason, or failed where they are required."""

import pytest


def reasons(run):
    """Reasons that -rs lists."""
    return [line.partition(": ")[2] for line in run.outlines if line.startswith("SKIPPED")]


LEFT_OUT = [
    (
        'model="phi-2", backend="simulated"',
        "--llm-model=mistral-7b",
        "the test is for model phi-2, the run for --llm-model=mistral-7b",
    ),
    (
        'backend="vllm"',
        "--llm-backend=simulated",
        "the test is for backend vllm, the run for --llm-backend=simulated",
    ),
    (
        'quant=["nf4", "int8"], backend="simulated"',
        "--llm-quant=none",
        "the test is for quant nf4, int8, the run for --llm-quant=none",
    ),
]


@pytest.mark.parametrize("require", [[], ["--llm-require"]], ids=["", "require"])
@pytest.mark.parametrize(
    ("marker", "option", "reason"), LEFT_OUT, ids=["model", "backend", "quant"]
)
def test_a_test_that_the_run_leaves_out_is_skipped_with_the_reason(
    pytester, llm_pytest, bare_python, marker, option, reason, require
):
    pytester.makepyfile(f"import pytest\n@pytest.mark.llm({marker})\ndef test_x(llm): pass")
    # No real engine can start here, even if the test were given one by mistake.
    run = llm_pytest(option, f"--llm-python=vllm={bare_python}", *require, "-rs")
    run.assert_outcomes(skipped=1)
    assert reasons(run) == [reason]


MISSING = [
    ('quant="int8"', "simulated", "simulated has no quantization mode int8"),
    ('backend="vllm"', "vllm", "vllm is not installed: pip install 'pytest-llmperf[vllm]'"),
]


@pytest.mark.parametrize(("marker", "backend", "reason"), MISSING, ids=["mode", "engine"])
def test_a_test_for_what_is_missing_is_skipped_or_with_require_fails(
    pytester, llm_pytest, bare_python, marker, backend, reason
):
    pytester.makepyfile(f"import pytest\n@pytest.mark.llm({marker})\ndef test_x(llm): pass")
    pytester.makeini(f"[pytest]\naddopts = --llm-backend={backend}")
    options = ["-o", f"llm_python=vllm={bare_python}"]
    run = pytester.runpytest_inprocess(*options, "-rs")
    run.assert_outcomes(skipped=1)
    assert reasons(run)[0].startswith(reason)
    run = pytester.runpytest_inprocess(*options, "--llm-require")
    assert run.ret == 1
    run.assert_outcomes(errors=1)
    (line,) = [line for line in run.outlines if line.startswith("smollm2-135m-")]
    assert line.startswith(f"smollm2-135m-{backend}-")
    assert f": {reason}" in line


def test_a_view_of_another_backend_is_skipped(pytester, llm_pytest):
    pytester.makepyfile("def test_x(vllm_llm): pass")
    run = llm_pytest("-rs")
    run.assert_outcomes(skipped=1)
    assert reasons(run) == ["the test is for backend vllm, the run for --llm-backend=simulated"]
