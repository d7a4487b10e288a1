"""Models from the hub library's cache: nothing is downloaded."""

import json

import pytest

from pytest_llmperf.core.models import EMBEDDED_FILE, embedded_gguf

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TEST = """
    def test_speed(llm, llm_benchmark):
        llm_benchmark(llm, input_len=8, output_len=4, rounds=1, warmup=1)
"""


@pytest.fixture
def hub(pytester, monkeypatch):
    """Return a function that puts files into the hub library's cache, like a download."""
    root = pytester.mkdir("hub")
    monkeypatch.setenv("HF_HUB_CACHE", str(root))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def put(repository, *files):
        folder = root / f"models--{repository.replace('/', '--')}"
        snapshot = folder / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text(COMMIT)
        for file in files:
            (snapshot / file.name).symlink_to(file)

    return put


def records(pytester):
    entries = json.loads((pytester.path / "out.json").read_text())["benchmarks"]
    all_records = [entry["extra_info"]["llmperf"] for entry in entries]
    return [record for record in all_records if "nodeid" in record]


def test_a_gguf_file_runs_as_it_is_and_dequantized(pytester, hub):
    hub("some/Model-GGUF", embedded_gguf())
    pytester.makepyfile(TEST)
    run = pytester.runpytest_subprocess(
        f"--llm-model=m=some/Model-GGUF/{EMBEDDED_FILE}",
        "--llm-backend=llama-cpp,transformers",
        "--benchmark-json=out.json",
    )
    run.assert_outcomes(passed=2)
    models = {record["backend"]["name"]: record["model"] for record in records(pytester)}
    assert {model["source"] for model in models.values()} == {f"some/Model-GGUF/{EMBEDDED_FILE}"}
    assert models["llama-cpp"]["revision"] == COMMIT


def test_a_checkpoint_is_converted_once(pytester, hub, checkpoint):
    hub("some/model", *checkpoint.iterdir())
    pytester.makepyfile(TEST)
    command = ["--llm-model=some/model", "--llm-backend=ctranslate2", "--benchmark-json=out.json"]
    command += [f"--llm-cache-dir={pytester.mkdir('converted')}"]
    for _ in range(2):
        pytester.runpytest_subprocess(*command).assert_outcomes(passed=1)
    assert records(pytester)[0]["model"]["revision"] == COMMIT
    (converted,) = (pytester.path / "converted" / "models").iterdir()
    assert converted.name.startswith(f"{COMMIT}-ct2-float32-")
