"""Models and tokenizers with code of their own: loaded where that is asked for, never otherwise."""

import json

import pytest

CONFIG = """
from transformers import LlamaConfig

class OwnConfig(LlamaConfig):
    model_type = "own"
"""
MODEL = """
from transformers import LlamaForCausalLM
from .configuration_own import OwnConfig

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
"""
TOKENIZER = """
from transformers import PythonBackend

class OwnTokenizer(PythonBackend):
    vocab_size = 500
    def __init__(self, **kwargs):
        super().__init__(unk_token="<unk>", **kwargs)
    def get_vocab(self):
        return {f"t{i}": i for i in range(500)} | {"<unk>": 0}
    def _tokenize(self, text, **kwargs):
        return text.split()
    def _convert_token_to_id(self, token):
        return 1 + len(token) % 400
    def _convert_id_to_token(self, index):
        return f"t{index}"
    def save_vocabulary(self, folder, filename_prefix=None):
        return ()
"""
SIZES = {
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 500,
    "max_position_embeddings": 512,
}
LAYER = {
    "input_layernorm": (64,),
    "self_attn.q_proj": (64, 64),
    "self_attn.k_proj": (32, 64),
    "self_attn.v_proj": (32, 64),
    "self_attn.o_proj": (64, 64),
    "post_attention_layernorm": (64,),
    "mlp.gate_proj": (128, 64),
    "mlp.up_proj": (128, 64),
    "mlp.down_proj": (64, 128),
}
WEIGHTS = {
    "model.embed_tokens.weight": (500, 64),
    **{f"model.layers.{i}.{name}.weight": shape for i in (0, 1) for name, shape in LAYER.items()},
    "model.norm.weight": (64,),
    "lm_head.weight": (500, 64),
}
ALLOWED = "--llm-backend-arg=transformers.trust_remote_code=true"


@pytest.fixture
def own(pytester):
    """The folder of a model with code of its own, without weights."""
    folder = pytester.mkdir("own")
    (folder / "configuration_own.py").write_text(CONFIG)
    (folder / "modeling_own.py").write_text(MODEL)
    (folder / "tokenization_own.py").write_text(TOKENIZER)
    names = {
        "AutoConfig": "configuration_own.OwnConfig",
        "AutoModelForCausalLM": "modeling_own.OwnModel",
    }
    config = {"model_type": "own", "architectures": ["OwnModel"], "auto_map": names, **SIZES}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = {"auto_map": {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]}}
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "OwnTokenizer", **tokenizer})
    )
    pytester.makepyfile("def test_load(llm): assert llm.generate_ids([1, 2, 3], 4)")
    return folder


@pytest.fixture
def load(pytester):
    """Run the test on transformers."""

    def run(*arguments):
        return pytester.runpytest_subprocess(
            "--llm-backend=transformers", "--llm-model=./own", "-p", "no:cacheprovider", *arguments
        )

    return run


@pytest.mark.usefixtures("own")
def test_random_weights_load_with_its_code(load):
    load("--llm-load-format=dummy", ALLOWED).assert_outcomes(passed=1)


def test_weights_and_tokenizer_load_with_its_code(load, own, pytester, save_weights):
    save_weights(own, WEIGHTS)
    pytester.makepyfile("def test_load(llm): assert llm.generate('one two three', 4)")
    load(ALLOWED).assert_outcomes(passed=1)


def test_its_code_never_runs_by_itself(load, own):
    (own / "configuration_own.py").write_text("raise SystemExit('it ran')")
    run = load("--llm-load-format=dummy")
    run.assert_outcomes(errors=1)
    run.stdout.fnmatch_lines(
        [
            "cannot load own-transformers-none: ValueError: own needs code of its own, which runs only "
            "with --llm-backend-arg=transformers.trust_remote_code=true: read it before; log: *"
        ]
    )
    assert "it ran" not in run.stdout.str()
