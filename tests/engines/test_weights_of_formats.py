"""Modes, parameters, weights and quality of formats, in engines that run them on a CPU."""

import json
from importlib.util import find_spec

import checkpoints
import pytest

from pytest_llmperf.backends.parameters import of_config
from pytest_llmperf.core.models import ARCHITECTURES

TOTAL = 134_515_008
LINEAR = 106_168_320
MODES = {
    checkpoints.W8A8: "w8a8",
    checkpoints.W4A16: "w4a16",
    checkpoints.FP8_CHANNEL: "fp8-channel",
    checkpoints.GPTQ: "gptq-int4",
    checkpoints.AWQ: "awq-int4",
    checkpoints.INT8: "int8",
}
TEST = """
    import json

    def test_counts(llm):
        info = llm.engine().info
        line = {"name": llm.info.model, "memory": info.memory, "parameters": info.parameters}
        line |= {"weights": vars(info.weights), "bits": info.weights.linear_bits}
        line |= {"value_bytes": info.cache_value_bytes, "mode": info.mode}
        with open("counts.jsonl", "a") as file:
            file.write(json.dumps(line) + "\\n")
"""


@pytest.fixture
def counts(pytester):
    """Load each model in an engine; returns what the engine reported by model."""
    pytester.makepyfile(TEST)

    def load(backend, *options):
        run = pytester.runpytest_subprocess(
            f"--llm-backend={backend}", "--llm-threads=1", "-pno:cacheprovider", *options
        )
        assert run.ret == 0
        lines = (pytester.path / "counts.jsonl").read_text().splitlines()
        return {line["name"]: line for line in map(json.loads, lines)}

    return load


@pytest.fixture
def models(quantized, pytester):
    """Return options that name checkpoints as they are called in ``checkpoints``."""

    def options(*names):
        for name in names:
            (pytester.path / name).symlink_to(quantized(name))
        return [f"--llm-model=./{name}" for name in names]

    return options


def test_vllm_counts_what_its_kernels_pack(counts, models, monkeypatch):
    # On CPUs with AMX, vLLM computes 4-bit weights with 8-bit activations, in another layout: 120 MiB.
    monkeypatch.setenv("VLLM_CPU_INT4_W4A8", "0")
    bits = {
        checkpoints.W8A8: (156.9, 8.1),
        checkpoints.GPTQ: (108.9, 4.33),
        checkpoints.AWQ: (109.6, 4.31),
        checkpoints.INT8: (157.0, 8.05),
    }
    loaded = counts("vllm", *models(*bits), "--llm-backend-arg=vllm.kv_cache_dtype=fp8")
    assert set(loaded) == set(bits)
    for name, (mib, linear_bits) in bits.items():
        line = loaded[name]
        assert line["mode"] == MODES[name]
        assert line["parameters"] == TOTAL, name
        assert line["memory"]["model_memory"] == pytest.approx(mib, rel=0.01), name
        assert line["bits"] == pytest.approx(linear_bits, rel=0.02), name
        assert line["weights"]["linear_parameters"] == LINEAR
        assert line["weights"]["unquantized_share"] == 0
        # 16,384 tokens of the compute type, so twice as many of half the size.
        assert line["memory"]["kv_cache_memory"] == pytest.approx(360, rel=0.01)
        assert line["value_bytes"] == 1


def test_transformers_counts_what_it_has_unpacked(counts, models):
    unpacked = {checkpoints.W8A8: 257, checkpoints.W4A16: 260, checkpoints.FP8_CHANNEL: 257}
    loaded = counts("transformers", *models(*unpacked))
    assert set(loaded) == set(unpacked)
    for name, mib in unpacked.items():
        line = loaded[name]
        assert line["mode"] == MODES[name]
        assert line["parameters"] == TOTAL, name
        assert line["memory"]["model_memory"] == pytest.approx(mib, rel=0.005), name
        assert 16 <= line["bits"] < 16.3
        assert line["weights"]["unquantized_share"] == 1
        assert line["weights"]["unquantized_type"] == "bfloat16"


QUALITY = """
    import json

    def test_quality(llm, llm_benchmark):
        result = llm_benchmark.quality(llm)
        mode, of_reference = llm.info.quantization, result.kl_divergence.p50
        with open("quality.jsonl", "a") as file:
            file.write(json.dumps([mode, of_reference, result.top1_agreement.p50]) + "\\n")
"""


@pytest.fixture
def distances(pytester, quantized, checkpoint):
    """Score checkpoints and the plain model of their name: ``distances("vllm", checkpoints.AWQ)``.

    Returns KL divergence and agreement by mode, and the lines of the run.
    """
    pytester.makepyfile(QUALITY)

    def score(backend, *names):
        folders = [*(quantized(name) for name in names), checkpoint]
        run = pytester.runpytest_subprocess(
            f"--llm-backend={backend}",
            "--llm-threads=1",
            # A name keeps the distributions of the first engine that had it.
            *(f"--llm-model=of-{backend}={folder}" for folder in folders),
        )
        assert run.ret == 0
        lines = map(json.loads, (pytester.path / "quality.jsonl").read_text().splitlines())
        found = {mode: figures for mode, *figures in lines}
        assert found.pop("none") == [pytest.approx(0, abs=1e-6), 1]
        return found, run.stdout

    return score


def test_a_checkpoints_distance_is_that_from_the_plain_model_of_its_name(distances):
    # Made by rounding to the nearest value, compared with the plain folder in the reference's place.
    expected = {
        "w8a8": (0.037, 0.884),
        "w4a16": (0.416, 0.606),
        "fp8-channel": (0.028, 0.897),
    }
    names = (checkpoints.W4A16, checkpoints.W8A8, checkpoints.FP8_CHANNEL)
    found, lines = distances("transformers", *names)
    assert set(found) == set(expected)
    for mode, (kl_divergence, agreement) in expected.items():
        assert found[mode] == pytest.approx([kl_divergence, agreement], rel=0.1), mode
    lines.fnmatch_lines("of-transformers-transformers-w4a16 (runs bfloat16) *")


def test_the_distance_of_a_checkpoint_that_vllms_kernels_compute_with(distances, monkeypatch):
    # With 8-bit activations, which CPUs with AMX would have, it is another one.
    monkeypatch.setenv("VLLM_CPU_INT4_W4A8", "0")
    found, _ = distances("vllm", checkpoints.AWQ)
    assert found == {"awq-int4": pytest.approx([0.418, 0.606], rel=0.1)}


@pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed")
def test_transformers_makes_a_mode_of_torchao_as_its_label_says(pytester, checkpoint):
    pytester.makepyfile(test_counts=TEST, test_quality=QUALITY)
    run = pytester.runpytest_subprocess(
        "--llm-backend=transformers",
        "--llm-quant=none,ao-int8wo",
        "--llm-threads=1",
        f"--llm-model=of-transformers={checkpoint}",
    )
    assert run.ret == 0
    lines = map(json.loads, (pytester.path / "counts.jsonl").read_text().splitlines())
    plain, line = sorted(lines, key=lambda line: line["mode"] != "none")
    assert (plain["mode"], line["mode"]) == ("none", "ao-int8wo")
    assert plain["parameters"] == line["parameters"] == TOTAL
    assert plain["memory"]["model_memory"] == pytest.approx(256.6, rel=0.01)
    assert line["memory"]["model_memory"] == pytest.approx(156.1, rel=0.01)
    assert line["bits"] == pytest.approx(8.06, rel=0.01)
    assert line["weights"]["unquantized_share"] == 0
    lines = map(json.loads, (pytester.path / "quality.jsonl").read_text().splitlines())
    found = {mode: figures for mode, *figures in lines}
    assert found["none"] == [pytest.approx(0, abs=1e-6), 1]
    assert found["ao-int8wo"] == pytest.approx([0.0055, 0.954], rel=0.1)


def test_weights_on_disk_are_counted_and_said_to_be_there(counts, checkpoint, pytester):
    (pytester.path / "plain").symlink_to(checkpoint)
    arguments = {"device_map": "auto", "max_memory": '{"cpu":"100MiB"}', "offload_folder": "off"}
    options = [f"--llm-backend-arg=transformers.{k}={v}" for k, v in arguments.items()]
    (line,) = counts("transformers", "--llm-model=./plain", *options).values()
    places = line["weights"]["places"]
    assert line["memory"]["model_memory"] == pytest.approx(256.6, rel=0.01)
    assert 0 < places["cpu"] <= 100
    assert sum(places.values()) == pytest.approx(256.6, rel=0.01)
    assert set(places) == {"cpu", "disk"}


def test_experts_that_a_mode_leaves_as_they_were_are_not_quantized(counts, pytester):
    sizes = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "moe_intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "vocab_size": 500,
    }
    kinds = {"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"]}
    (pytester.mkdir("mixture") / "config.json").write_text(json.dumps({**kinds, **sizes}))
    options = ("--llm-model=./mixture", "--llm-load-format=dummy", "--llm-quant=int8")
    (line,) = counts("transformers", *options).values()
    # Of a layer: 8 experts of 3 x 256 x 64, a router of 8 x 64; attention of 2 x (64 + 32) x 64.
    experts, router, attention = 8 * 3 * 256 * 64, 8 * 64, 2 * (64 + 32) * 64
    assert line["weights"]["linear_parameters"] == 2 * (experts + router + attention)
    share = (experts + router) / (experts + router + attention)
    assert line["weights"]["unquantized_share"] == pytest.approx(share)
    assert line["weights"]["unquantized_type"] == "bfloat16"
    assert line["bits"] > 15


@pytest.mark.parametrize(
    ("name", "total"), [("phi-2", 2_779_683_840), ("mistral-7b", 7_241_732_096)]
)
def test_parameters_of_a_large_model_need_no_memory(name, total):
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(ARCHITECTURES / name)
    config.quantization_config = {"quant_method": "gptq", "bits": 4}
    found = of_config(config, {})
    assert found.total == total
    # All but table, output layer, norms and biases.
    assert 0.9 * total < found.linear < total - 2 * config.vocab_size * config.hidden_size


def test_a_configuration_that_transformers_does_not_know_has_no_parameters():
    from transformers import PretrainedConfig

    assert of_config(PretrainedConfig(), {}) is None
