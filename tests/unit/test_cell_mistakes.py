"""Markers and command lines that cannot mean anything."""

import re

import pytest

from pytest_llmperf.core.models import parse_model


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        (
            pytest.mark.llm(engine="vllm").mark,
            "@pytest.mark.llm takes model=, backend= and quant= only, not engine=",
        ),
        (
            pytest.mark.llm("phi-2").mark,
            "@pytest.mark.llm takes model=, backend= and quant= only",
        ),
        (
            pytest.mark.llm(backend="tgi").mark,
            "@pytest.mark.llm(backend=): unknown backend 'tgi'; known: transformers, vllm, llama-cpp, "
            "llama-cpp-python, ctranslate2, tensorrt-llm, simulated",
        ),
        (
            pytest.mark.llm(backend=["vllm", "tgi"]).mark,
            "@pytest.mark.llm(backend=): unknown backend 'tgi'; known: transformers, vllm, llama-cpp, "
            "llama-cpp-python, ctranslate2, tensorrt-llm, simulated",
        ),
        (
            pytest.mark.llm(quant="int4").mark,
            "@pytest.mark.llm(quant=): unknown mode 'int4'; known: none, int8, fp4, nf4, nf4-dq, all, "
            "and each engine's own, such as int8_bfloat16 (ctranslate2) or q4_k_m (llama-cpp: the "
            "type of a GGUF file), and formats of checkpoints, such as awq-int4",
        ),
    ],
)
def test_a_marker_that_means_nothing_is_rejected(plan, marker, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        plan().choices(marker)


def test_an_unknown_model_in_a_marker_is_rejected(plan):
    start = "@pytest.mark.llm(model=): unknown model 'phi-3'; aliases: smollm2-135m, phi-2, "
    with pytest.raises(ValueError, match=f"^{re.escape(start)}"):
        plan().choices(pytest.mark.llm(model="phi-3").mark)


@pytest.mark.parametrize("key", ["model", "backend", "quant"])
def test_a_marker_value_that_is_no_name_is_rejected(plan, key):
    # Fails with TypeError, which collection does not turn into a line.
    with pytest.raises(ValueError, match=f"{key}=.*8"):
        plan().choices(pytest.mark.llm(**{key: 8}).mark)


def test_two_models_of_one_name_are_rejected(plan, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    models = (parse_model("phi-2"), parse_model(f"phi-2={tmp_path}"))
    message = (
        "--llm-model: two models would be called 'phi-2' in test ids; name one of them: NAME=PATH"
    )
    with pytest.raises(pytest.UsageError, match=f"^{re.escape(message)}$"):
        plan(models=models).check_requested()


def test_a_mode_that_a_backend_can_never_do_is_rejected(plan):
    reason = "vLLM cannot quantize to int8: it needs a checkpoint that was saved in that mode"
    message = f"--llm-quant: {reason}"
    with pytest.raises(pytest.UsageError, match=f"^{re.escape(message)}$"):
        plan(backends=("vllm",), quantizations=("int8",)).check_requested()


@pytest.mark.parametrize(
    ("backends", "modes"),
    [
        (("vllm",), ("int8", "nf4")),
        (("vllm", "transformers"), ("int8",)),
        (None, ("int8",)),
        (("simulated",), None),
    ],
)
def test_one_possible_cell_is_enough(plan, backends, modes):
    plan(backends=backends, quantizations=modes).check_requested()


def test_a_mode_that_only_lacks_a_package_is_no_mistake_of_the_command_line(plan):
    asked = plan({"transformers": "5.17.0"}, backends=("transformers",), quantizations=("int8",))
    asked.check_requested()


def test_an_interpreter_that_does_not_run_is_rejected(plan, tmp_path):
    python = str(tmp_path / "python")
    start = f"--llm-python: {python} does not run as a Python interpreter ("
    with pytest.raises(pytest.UsageError, match=f"^{re.escape(start)}"):
        plan(pythons={"vllm": python}).check_requested()
