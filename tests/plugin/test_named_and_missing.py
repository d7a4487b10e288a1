"""What the command line names and is missing fails its tests; ini values and defaults skip them."""

import pytest

TESTS = """
def test_x(llm): pass
def test_ordinary(): pass
"""
NO_VLLM = "vllm is not installed: pip install 'pytest-llmperf[vllm]'"


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr("pytest_llmperf.session.cells.has_accelerator", lambda: False)


@pytest.fixture
def run(pytester, bare_python):
    """Run pytest where no vLLM is installed."""
    pytester.makepyfile(TESTS)

    def in_process(*options):
        python = f"llm_python=vllm={bare_python}"
        return pytester.runpytest_inprocess("-W", "default", "-rs", "-o", python, *options)

    return in_process


def reasons(run):
    return [line for line in run.outlines if line.startswith("smollm2-135m-")]


def test_an_engine_that_the_command_line_names_fails(run):
    done = run("--llm-backend=vllm")
    done.assert_outcomes(errors=1, passed=1)
    (line,) = reasons(done)
    assert line.startswith(f"smollm2-135m-vllm-none: {NO_VLLM}")


def test_the_engines_beside_it_run(run):
    done = run("--llm-backend", "simulated,vllm")
    done.assert_outcomes(errors=1, passed=2)
    assert done.ret == 1


def test_a_device_that_the_command_line_names_fails(run, no_gpu):
    done = run("--llm-backend=simulated", "--llm-device=cuda")
    done.assert_outcomes(errors=1, passed=1)
    assert reasons(done) == [
        "smollm2-135m-simulated-none: this machine has no GPU (--llm-device=cuda)"
    ]


def test_a_mode_whose_library_is_missing_fails_where_it_is_named(run, pytester, bare_python):
    options = ("-o", f"llm_python=transformers={bare_python}")
    done = run("--llm-backend=transformers", "--llm-quant=nf4", *options)
    done.assert_outcomes(errors=1, passed=1)


@pytest.mark.parametrize(
    "text",
    [
        "llm_backend = vllm",
        "addopts = --llm-backend=vllm",
        "llm_backend = simulated\nllm_device = cuda",
    ],
)
def test_what_the_ini_file_names_is_skipped(run, no_gpu, pytester, text):
    pytester.makeini(f"[pytest]\n{text}\n")
    done = run()
    done.assert_outcomes(skipped=1, passed=1)
    assert done.ret == 0


def test_what_an_environment_variable_names_is_skipped(run, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "--llm-backend=vllm")
    run().assert_outcomes(skipped=1, passed=1)


def test_a_test_for_another_engine_is_still_skipped(run, pytester):
    pytester.makepyfile("import pytest\n@pytest.mark.llm(backend='vllm')\ndef test_y(llm): pass")
    run("--llm-backend=simulated", "-k", "test_y").assert_outcomes(skipped=1)


def test_a_model_that_no_named_engine_can_ever_load_is_refused(run, pytester, model_folder):
    model_folder("own")
    done = run("--llm-backend=llama-cpp", "--llm-model=own")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in done.errlines if line]
    assert line.startswith("ERROR: --llm-model: ")
    assert "GGUF" in line


def test_a_model_that_one_named_engine_can_load_is_not_refused(run, model_folder):
    model_folder("own")
    done = run("--llm-backend=llama-cpp,simulated", "--llm-model=own")
    done.assert_outcomes(passed=2, skipped=1)
