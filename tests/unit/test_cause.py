"""The root cause in one line: from chained exceptions, and from what engines write before they fail."""

import pytest

from pytest_llmperf.core.cause import cause_in_log, one_line, says_nothing


def raised(action):
    try:
        action()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def from_cause():
    try:
        raise OSError("tokenizer.json: No such file or directory")
    except OSError as error:
        raise RuntimeError("cannot build the model") from error


def from_the_bottom():
    try:
        from_cause()
    except RuntimeError as error:
        raise ValueError("load failed") from error


def while_handling(message):
    try:
        {}["tensor"]
    except KeyError:
        raise RuntimeError(message)  # noqa: B904 - the chain without `from` is what is tested


def suppressed():
    try:
        raise OSError("an attempt that failed")
    except OSError:
        raise RuntimeError("see the log above") from None


def repeated():
    try:
        raise OSError("no space left")
    except OSError as error:
        raise RuntimeError(f"cannot write: {error}") from error


def circular():
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    raise first


@pytest.mark.parametrize(
    ("action", "line"),
    [
        (
            from_cause,
            "RuntimeError: cannot build the model; cause: OSError: tokenizer.json: No such file or "
            "directory",
        ),
        (
            from_the_bottom,
            "ValueError: load failed; cause: OSError: tokenizer.json: No such file or directory",
        ),
        # What was being handled belongs to it only where its own message says nothing.
        (lambda: while_handling("the file ends early"), "RuntimeError: the file ends early"),
        (
            lambda: while_handling("Failed to init"),
            "RuntimeError: Failed to init; cause: KeyError: 'tensor'",
        ),
        (lambda: while_handling(""), "RuntimeError: no message; cause: KeyError: 'tensor'"),
        (suppressed, "RuntimeError: see the log above"),
        (repeated, "RuntimeError: cannot write: no space left"),
        (circular, "ValueError: first; cause: ValueError: second"),
    ],
)
def test_the_line_has_the_innermost_exception_where_that_says_more(action, line):
    assert one_line(raised(action)) == line


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("one\ntwo", "ValueError: one"),
        ("\n\n  one  \n", "ValueError: one"),
        (
            # transformers, for a folder without a tokenizer.
            "Couldn't instantiate the backend tokenizer from one of: \n"
            "(1) a `tokenizers` library serialization file, \n"
            "(2) a slow tokenizer instance to convert or \n"
            "(3) an equivalent slow tokenizer class to instantiate and convert. \n"
            "You need to have sentencepiece or tiktoken installed to convert a slow tokenizer.",
            "ValueError: Couldn't instantiate the backend tokenizer from one of: (1) a `tokenizers` "
            "library serialization file, (2) a slow tokenizer instance to convert or (3) an equivalent "
            "slow tokenizer class to instantiate and convert.",
        ),
        (
            "1 validation error for EngineArgs\n  Value error, no such model [type=value_error]\n",
            "ValueError: Value error, no such model",
        ),
        (
            "1 validation error for ModelConfig\n  Value error, it failed at once. Please check "
            "the logs for more details. [type=value_error]\n"
            "    For further information visit https://errors.pydantic.dev/2.14/v/value_error\n",
            "ValueError: Value error, it failed at once. Please check the logs for more details.",
        ),
        ("x" * 1000, "ValueError: " + "x" * 300),
        ("red \x1b[31m", r"ValueError: red \x1b[31m"),
    ],
)
def test_a_message_of_several_lines_is_one(message, line):
    assert one_line(ValueError(message)) == line


VLLM_SMALL_POOL = """\
(EngineCore pid=29144) INFO 11-25 06:44:20 [core.py:120] Initializing a V1 LLM engine
(EngineCore pid=29144) ERROR 11-25 06:44:28 [core.py:1510] EngineCore failed to start.
(EngineCore pid=29144) ERROR 11-25 06:44:28 [core.py:1510] Traceback (most recent call last):
(EngineCore pid=29144) ERROR 11-25 06:44:28 [core.py:1510]     raise ValueError(
(EngineCore pid=29144) ERROR 11-25 06:44:28 [core.py:1510] ValueError: No available memory for the \
cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine.
(EngineCore pid=29144) Process EngineCore:
Traceback (most recent call last):
  File "core.py", line 9, in run_engine_core
    raise ValueError(
ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when \
initializing the engine.
"""
VLLM_WORKER = """\
(Worker_TP1 pid=31) ERROR 11-25 06:44:28 [multiproc_executor.py:700] Traceback (most recent call last):
(Worker_TP1 pid=31) ERROR 11-25 06:44:28 [multiproc_executor.py:700] torch.OutOfMemoryError: CUDA out \
of memory. Tried to allocate 2.00 GiB.
(EngineCore pid=30) ERROR 11-25 06:44:29 [core.py:1510] Exception: WorkerProc initialization failed due \
to an exception in a background process. See stack trace for root cause.
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
LLAMA_CPP_SHORT = """\
0.00.002.130 W srv          init: a warning
0.00.021.324 E llama_model_load: error loading model: tensor 'token_embd.weight' data is not within the \
file bounds, model is corrupted or incomplete
0.00.021.379 E llama_model_load_from_file_impl: failed to load model
0.00.034.809 E cmn  common_init_: failed to load model 'short.gguf'
0.00.035.202 E srv          init: exiting due to model loading error
"""


VLLM_INSPECTION = """\
subprocess.CalledProcessError: Command '['python', '-m', 'x']' returned non-zero exit status 1.
RuntimeError: Error raised in subprocess:
ModuleNotFoundError: No module named 'torchvision'
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
"""


@pytest.mark.parametrize(
    ("log", "cause"),
    [
        (
            VLLM_SMALL_POOL,
            "ValueError: No available memory for the cache blocks. Try increasing "
            "`gpu_memory_utilization` when initializing the engine.",
        ),
        (VLLM_WORKER, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
        (
            LLAMA_CPP_SHORT,
            "llama_model_load: error loading model: tensor 'token_embd.weight' data is not within the "
            "file bounds, model is corrupted or incomplete",
        ),
        ("RuntimeError: Engine core initialization failed. See root cause above.", None),
        (VLLM_INSPECTION, "ModuleNotFoundError: No module named 'torchvision'"),
        ("loading weights: 100 %\nall is well", None),
        ("", None),
        ("ValueError: \x1b[31mred\x1b[0m", r"ValueError: \x1b[31mred\x1b[0m"),
        ("ValueError: " + "x" * 1000, "ValueError: " + "x" * 288),
    ],
)
def test_the_cause_in_a_log_is_the_error_that_says_most(log, cause):
    assert cause_in_log(log) == cause


@pytest.mark.parametrize(
    ("message", "nothing"),
    [
        ("", True),
        ("Engine core initialization failed. See root cause above. Failed core proc(s): {}", True),
        ("Failed to init server, please check the input params.", True),
        ("See stack trace for root cause.", True),
        ("it failed to be inspected. Please check the logs for more details.", True),
        ("For details look at the above report!", True),
        (
            "No available memory. See https://docs.example/conserving_memory/ for more details.",
            False,
        ),
        ("model.safetensors: No such file or directory", False),
    ],
)
def test_a_message_that_only_points_elsewhere_says_nothing(message, nothing):
    assert says_nothing(message) is nothing
