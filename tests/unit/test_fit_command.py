"""``pytest-llmperf fit`` reads stored runs and prints what ``--llm-fit`` prints."""

from pathlib import Path

import pytest

from pytest_llmperf.cli.main import main

RUN = Path(__file__).parents[1] / "data/simulated-7eb26ee.json"


def test_a_stored_run_is_held_against_a_gpu(capsys):
    assert main(["fit", str(RUN), "--size=16GiB"]) == 0

    out = capsys.readouterr().out
    assert "smollm2-135m on a GPU of 16,384 MiB" in out
    # 64 MiB of weights, 8 requests of 24 tokens, the CUDA context.
    row = next(line for line in out.splitlines() if line.startswith("simulated-none"))
    assert row.split()[1:] == ["8", "24", "64", "13", "499", "576", "yes", "+15,808", "measured"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.json", "--size=16GiB"], "'none.json' does not match a file"),
        ([str(RUN), "--size=much"], "'much' is not a memory size such as 16GiB, 15360MiB or 16GB"),
        ([str(RUN)], "the following arguments are required: --size"),
    ],
)
def test_bad_input_is_one_line_and_3(arguments, message, capsys):
    assert main(["fit", *arguments]) == 3
    assert message in capsys.readouterr().err
