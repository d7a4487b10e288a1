"""Mistakes that are known before a model loads: exit code 4 and one line that says what is right."""

import sys

import pytest

ALIASES = (
    "smollm2-135m, phi-2, mistral-7b, mistral-7b-instruct, tinyllama-1.1b, smollm2-1.7b, "
    "qwen2.5-0.5b, qwen2.5-7b, qwen3-0.6b, qwen3-8b, llama-3.2-1b, llama-3.1-8b, gemma-3-1b, "
    "phi-4-mini"
)
BACKENDS = "transformers, vllm, llama-cpp, llama-cpp-python, ctranslate2, tensorrt-llm, simulated"
METRICS = (
    "ttft, e2e, tpot, itl, icl, tokens_per_step, output_throughput, output_throughput_per_request, "
    "total_throughput, request_throughput, prefill_throughput, decode_throughput, goodput, load_time, "
    "peak_memory, model_memory, kv_cache_memory, perplexity, kl_divergence, top1_agreement, mbu, mfu, "
    "energy_per_output_token, energy_per_token, cost_per_million_tokens"
)
MISTAKES = [
    (
        "--llm-model=nothing",
        f"--llm-model: unknown model 'nothing'; aliases: {ALIASES}; or give a hub id "
        "(organisation/name), a folder with a config.json, or a .gguf file, here or on the hub "
        "(organisation/name/FILE.gguf)",
    ),
    (
        "--llm-backend=fast",
        f"--llm-backend: unknown backend 'fast'; known: {BACKENDS}",
    ),
    (
        "--llm-quant=int3",
        "--llm-quant: unknown mode 'int3'; known: none, int8, fp4, nf4, nf4-dq, all, and each "
        "engine's own, such as int8_bfloat16 (ctranslate2) or q4_k_m (llama-cpp: the type of a GGUF "
        "file), and formats of checkpoints, such as awq-int4",
    ),
    ("--llm-metrics=speed", f"--llm-metrics: unknown metric 'speed'; known: {METRICS}"),
    ("--llm-quant=int8", "--llm-quant: simulated has no quantization mode int8"),
    (
        "--llm-dtype=int8",
        "--llm-dtype: unknown type 'int8'; known: auto, bfloat16, float16, float32",
    ),
    ("--llm-device=tpu", "--llm-device: unknown device 'tpu'; known: auto, cpu, cuda, cuda:N"),
    (
        "--llm-device=cuda:x",
        "--llm-device: unknown device 'cuda:x'; known: auto, cpu, cuda, cuda:N",
    ),
    ("--llm-load-format=raw", "--llm-load-format: unknown format 'raw'; known: auto, dummy"),
    ("--llm-isolation=some", "--llm-isolation: unknown value 'some'; known: process, none"),
    ("--llm-rounds=0", "--llm-rounds: '0' is not a whole number of at least 1"),
    ("--llm-rounds=", "--llm-rounds: '' is not a whole number of at least 1"),
    ("--llm-rounds=1.5", "--llm-rounds: '1.5' is not a whole number of at least 1"),
    ("--llm-min-rounds=0", "--llm-min-rounds: '0' is not a whole number of at least 1"),
    ("--llm-max-time=0", "--llm-max-time: '0' is not a positive number of seconds"),
    (
        "--llm-precision=1",
        "--llm-precision: '1' is not a share between 0 and 100 %, such as 3% or 0.03",
    ),
    ("--llm-warmup=-1", "--llm-warmup: '-1' is not a whole number of at least 0"),
    ("--llm-batch-size=1,x", "--llm-batch-size: 'x' is not a whole number of at least 1"),
    ("--llm-input-len=0", "--llm-input-len: '0' is not a whole number of at least 1"),
    ("--llm-output-len=0", "--llm-output-len: '0' is not a whole number of at least 1"),
    ("--llm-threads=0", "--llm-threads: '0' is not a whole number of at least 1"),
    *(
        (f"--llm-{name}={bad}", f"--llm-{name}: '{bad}' is not a positive number of seconds")
        for name in ("timeout", "round-timeout")
        for bad in ("0", "-1", "soon", "inf", "nan")
    ),
    *(
        (
            f"--llm-backend-arg={bad}",
            f"--llm-backend-arg: '{bad}' is not of the form BACKEND.KEY=VALUE",
        )
        for bad in ("simulated.ttft", "ttft=1", "simulated.=1")
    ),
    (
        "--llm-backend-arg=fast.ttft=1",
        f"--llm-backend-arg: unknown backend 'fast'; known: {BACKENDS}",
    ),
    (
        "--llm-python=simulated",
        "--llm-python: 'simulated' is not of the form BACKEND=PATH or BACKEND@LABEL=PATH",
    ),
    (
        "--llm-python=simulated=/no/such/python",
        "--llm-python: '/no/such/python' is not an interpreter that can be run",
    ),
    (
        "--llm-backend=simulated@other",
        "--llm-backend: 'simulated@other' has no environment and no arguments of its own; give "
        "--llm-python simulated@other=PATH or --llm-backend-arg simulated@other.KEY=VALUE",
    ),
    (
        f"--llm-python=simulated@Other={sys.executable}",
        "--llm-python: 'simulated@Other': a label takes lower-case letters, digits, '.' and '_', "
        "for test ids",
    ),
    (
        f"--llm-python=fast={sys.executable}",
        f"--llm-python: unknown backend 'fast'; known: {BACKENDS}",
    ),
    *(
        (
            f"--llm-hourly-cost={bad}",
            f"--llm-hourly-cost: '{bad}' is not a positive number: a price per hour, without its "
            "currency",
        )
        for bad in ("0", "-1", "$2", "inf", "nan", "")
    ),
    (
        "--llm-fail-if=cost_per_million_tokens.p50:2",
        "--llm-fail-if: 'cost_per_million_tokens.p50:2' needs a price: give --llm-hourly-cost",
    ),
    *(
        (
            f"--llm-fit={bad}",
            f"--llm-fit: '{bad}' is not a memory size such as 16GiB, 15360MiB or 16GB",
        )
        for bad in ("16", "GiB", "-16GiB", "0GiB", "16 gib", "16TiB", "")
    ),
    ("--llm-model=no.gguf", "--llm-model: 'no.gguf': there is no such GGUF file"),
    (
        "--llm-model=Bad Name=phi-2",
        "--llm-model: 'Bad Name=phi-2': the name before '=' is the first part of test ids and takes "
        "lower-case letters, digits, '.', '_' and single '-' only",
    ),
]


def errors(run):
    """Return the lines on standard error that are not blank."""
    return [line for line in run.errlines if line]


@pytest.mark.parametrize(("option", "message"), MISTAKES, ids=[option for option, _ in MISTAKES])
def test_a_mistake_on_the_command_line_is_one_line(one_test, llm_pytest, option, message):
    run = llm_pytest(option)
    assert run.ret == 4
    assert errors(run) == [f"ERROR: {message}"]
    assert "test_speed.py" not in run.stdout.str()


def test_a_folder_without_config_json(pytester, one_test, llm_pytest):
    pytester.mkdir("empty")
    run = llm_pytest("--llm-model=empty")
    assert run.ret == 4
    assert errors(run) == [
        "ERROR: --llm-model: 'empty': the folder has no config.json, so it holds no model"
    ]


def test_a_folder_with_a_broken_config_json(pytester, one_test, llm_pytest):
    (pytester.mkdir("broken") / "config.json").write_text("{")
    run = llm_pytest("--llm-model=own=broken")
    assert run.ret == 4
    (line,) = errors(run)
    assert line.startswith("ERROR: --llm-model: 'broken': config.json is not valid JSON (")


def test_a_file_that_only_claims_to_be_gguf(pytester, one_test, llm_pytest):
    (pytester.path / "fake.gguf").write_text("text")
    run = llm_pytest("--llm-model=fake.gguf")
    assert run.ret == 4
    assert errors(run) == [
        "ERROR: --llm-model: 'fake.gguf': not a GGUF file (its first bytes are not 'GGUF')"
    ]


def test_two_models_of_one_name(one_test, llm_pytest, model_folder):
    first, second = model_folder("a"), model_folder("b")
    run = llm_pytest(f"--llm-model=own={first}", f"--llm-model=own={second}")
    assert run.ret == 4
    assert errors(run) == [
        "ERROR: --llm-model: two models would be called 'own' in test ids; name one of them: "
        "NAME=PATH"
    ]


def test_an_interpreter_that_is_not_python(one_test, llm_pytest):
    run = llm_pytest("--llm-python=simulated=/bin/false")
    assert run.ret == 4
    (line,) = errors(run)
    assert line.startswith("ERROR: --llm-python: /bin/false does not run as a Python interpreter (")


def test_a_real_process_reports_a_mistake_too(one_test, llm_pytest_process):
    run = llm_pytest_process("--llm-rounds=0")
    assert run.ret == 4
    assert errors(run) == ["ERROR: --llm-rounds: '0' is not a whole number of at least 1"]
    assert "Traceback" not in run.stdout.str()


def test_a_mode_that_one_of_two_backends_can_do_is_not_a_mistake(one_test, llm_pytest):
    run = llm_pytest(
        "--llm-quant=int8", "--llm-backend=simulated,transformers", "--collect-only", "-q"
    )
    assert run.ret == 0


def test_all_modes_are_those_of_each_engine(one_test, llm_pytest):
    llm_pytest("--llm-quant=all").assert_outcomes(passed=1)


def test_a_mode_of_another_engine_is_skipped_beside_one_that_runs(one_test, llm_pytest):
    run = llm_pytest("--llm-quant=none,nf4,int8_bfloat16", "-rs")
    run.assert_outcomes(passed=1, skipped=2)
    run.stdout.fnmatch_lines(["SKIPPED * simulated has no quantization mode int8_bfloat16"])


def test_an_unknown_argument_of_the_engine_fails_its_own_tests_with_one_line(
    pytester, one_test, llm_pytest
):
    pytester.makepyfile(test_other="def test_ordinary(): pass")
    run = llm_pytest(speed=1)
    assert run.ret == 1
    run.assert_outcomes(passed=1, errors=1)
    cell = "smollm2-135m-simulated-none"
    log = pytester.path / f".pytest_cache/d/llmperf-logs/{cell}.log"
    line = (
        f"cannot load {cell}: ValueError: simulated has no 'speed'; known: ttft, tpot, "
        "ttft_per_input_token, batch_penalty, jitter, run_jitter, seed, load_time, memory_mib, "
        "power_w, crash_at, hang_at, stop_at, cached_tokens, hidden_cache, nll, broken, chunk, layers, "
        f"heads, parameters, cache_bits, found_cache_bits, speculation, prefix_cache; log: {log}"
    )
    section = run.outlines[run.outlines.index(line) - 1 : run.outlines.index(line) + 2]
    assert "ERROR at setup of test_x" in section[0]
    assert "short test summary info" in section[2]


def test_an_argument_of_the_wrong_type_fails_its_own_tests(one_test, llm_pytest):
    run = llm_pytest(ttft="fast")
    run.assert_outcomes(errors=1)
    assert "simulated.ttft must be a number, not 'fast'" in run.stdout.str()
