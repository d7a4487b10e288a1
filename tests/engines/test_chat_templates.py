"""A chat by a template that begins with the BOS token, and a tokenizer that adds one to every text."""

import pytest

from pytest_llmperf.backends.chat_template import chat_of, rendered
from pytest_llmperf.backends.hub import HubTokenizer
from pytest_llmperf.backends.llama_cpp import LlamaCppBackend

transformers = pytest.importorskip("transformers")
BOS, MESSAGES = 0, [{"role": "user", "content": "hi"}]
TEMPLATE = (
    "{{ bos_token }} {% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}assistant{% endif %}"
)
CHAT_IDS = [BOS, 2, 1, 3]


@pytest.fixture
def tokenizer():
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing

    words = {"<s>": BOS, "hi": 1, "user": 2, "assistant": 3, "?": 4}
    made = Tokenizer(WordLevel(words, unk_token="?"))
    made.pre_tokenizer = WhitespaceSplit()
    made.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", unk_token="?"
    )
    fast.chat_template = TEMPLATE
    return fast


def engine_with(tokenizer):
    engine = HubTokenizer()
    engine._tokenizer = tokenizer
    return engine


def test_a_chat_has_one_bos(tokenizer):
    engine = engine_with(tokenizer)
    assert engine.encode_chat(MESSAGES) == CHAT_IDS
    # As a text, the same would have two.
    text = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    assert engine.encode(text) == [BOS, *CHAT_IDS]


def test_a_template_is_applied_alike_without_transformers(tokenizer):
    text = rendered(chat_of(tokenizer), MESSAGES)
    assert text == tokenizer.apply_chat_template(
        MESSAGES, tokenize=False, add_generation_prompt=True
    )
    assert tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids == CHAT_IDS


def test_a_model_without_a_template_and_a_chat_that_it_refuses_are_one_line(tokenizer):
    tokenizer.chat_template = None
    assert chat_of(tokenizer) is None
    with pytest.raises(ValueError, match=r"^the model has no chat template: give prompts of text"):
        engine_with(tokenizer).encode_chat(MESSAGES)
    refusing = {"template": "{{ raise_exception('no tools') }}", "tokens": {}}
    with pytest.raises(ValueError, match=r"template refuses the messages: no tools$"):
        rendered(refusing, MESSAGES)


@pytest.mark.parametrize("text", ["<s> user hi assistant", "user hi assistant"])
def test_llama_cpp_adds_no_second_bos(tokenizer, text):
    """Its server may or may not leave the template's BOS in the text."""

    def ask(route, body):
        if route == "/apply-template":
            return {"prompt": text}
        return {"tokens": tokenizer(body["content"])["input_ids"]}

    backend = LlamaCppBackend()
    backend._ask = ask
    assert backend.encode_chat(MESSAGES) == CHAT_IDS
