"""What the command line names and is missing fails its tests; ini values and defaults skip them."""

import json

import pytest

TESTS = """
def test_x(llm): pass
def test_ordinary(): pass
"""
NO_VLLM = "vllm is not installed: pip install 'pytest-llmperf[vllm]'"


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr("pytest_llmperf.session.refusals.has_accelerator", lambda: False)


@pytest.fixture
def checkpoint(model_folder):
    """Make a model that is quantized itself: ``checkpoint("own", {"quant_method": "gptq"})``."""

    def make(name, declared):
        config = {"model_type": "llama", "quantization_config": declared}
        (model_folder(name) / "config.json").write_text(json.dumps(config))

    return make


@pytest.fixture
def installed(monkeypatch):
    """Set the packages of the run's environment: ``installed(transformers="5.19.0")``."""

    def make(**packages):
        module = "pytest_llmperf.session.installed"
        monkeypatch.setattr(f"{module}.installed_packages_of", lambda python: packages)

    return make


@pytest.fixture
def run(pytester, bare_python):
    """Run pytest where no vLLM is installed."""
    pytester.makepyfile(TESTS)

    def in_process(*options):
        python = f"llm_python=vllm={bare_python}"
        return pytester.runpytest_inprocess("-W", "default", "-rs", "-o", python, *options)

    return in_process


def reasons(run, model="smollm2-135m"):
    return [line for line in run.outlines if line.startswith(f"{model}-")]


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


NEEDS = [
    (
        {"quant_method": "gptq", "bits": 4},
        "gptq-int4",
        "gptq-int4 needs gptqmodel: pip install gptqmodel",
    ),
    (
        {"quant_method": "bitsandbytes", "load_in_8bit": True},
        "int8",
        "int8 needs bitsandbytes: pip install bitsandbytes",
    ),
]


@pytest.mark.parametrize(("declared", "mode", "reason"), NEEDS)
def test_what_a_checkpoint_needs_in_an_engine_that_is_named_fails(
    run, checkpoint, installed, declared, mode, reason
):
    checkpoint("own", declared)
    installed(transformers="5.19.0")
    done = run("--llm-backend=transformers", "--llm-model=own")
    done.assert_outcomes(errors=1, passed=1)
    assert reasons(done, "own") == [f"own-transformers-{mode}: {reason}"]


@pytest.mark.parametrize(("declared", "mode", "reason"), NEEDS)
def test_what_a_checkpoint_needs_for_a_mode_that_is_named_fails(
    run, checkpoint, installed, declared, mode, reason
):
    checkpoint("own", declared)
    installed(transformers="5.19.0")
    done = run("--llm-model=own", f"--llm-quant={mode}")
    done.assert_outcomes(errors=1, passed=1)
    assert reasons(done, "own") == [f"own-transformers-{mode}: {reason}"]


def test_what_a_checkpoint_needs_in_an_engine_that_nobody_named_is_skipped(
    run, checkpoint, installed
):
    checkpoint("own", {"quant_method": "gptq", "bits": 4})
    installed(transformers="5.19.0")
    run("--llm-model=own").assert_outcomes(skipped=1, passed=1)


def test_a_checkpoint_that_a_named_engine_can_never_load_is_refused(run, checkpoint, installed):
    checkpoint("own", {"quant_method": "modelopt", "quant_algo": "FP8"})
    installed(transformers="5.19.0")
    done = run("--llm-backend=transformers", "--llm-model=own")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in done.errlines if line] == [
        "ERROR: --llm-model: transformers does not read fp8-static as modelopt stores it"
    ]


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
