"""ChatML encoding."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from preftune.data.chat import MARKER, encode_completion, encode_prompt, marker_id
from preftune.data.tokenizers import load_tokenizer
from preftune.errors import PreftuneError
from tests.tiny import tiny_tokenizer

MESSAGES = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "Is the dog small?"}]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_prompt_decodes_to_chatml_and_has_no_leading_bos(tokenizer):
    ids = encode_prompt(tokenizer, MESSAGES)
    text = (
        "<|im_start|>system\nAnswer.<|im_end|>\n"
        "<|im_start|>user\nIs the dog small?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert tokenizer.decode(ids) == text
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 3


def test_completion_is_the_content_and_the_marker(tokenizer):
    ids = encode_completion(tokenizer, "yes")
    assert ids == [
        *tokenizer.encode("yes", add_special_tokens=False),
        tokenizer.convert_tokens_to_ids(MARKER),
    ]


def test_an_answer_never_merges_with_the_template(tokenizer):
    prompt = encode_prompt(tokenizer, MESSAGES)
    for answer in ("\nyes", "no", " maybe"):
        alone = encode_completion(tokenizer, answer)
        assert tokenizer.decode(prompt + alone) == tokenizer.decode(prompt) + answer + MARKER
        assert alone[:-1] == tokenizer.encode(answer, add_special_tokens=False)


def test_a_tokenizer_without_the_tokens_is_refused(tmp_path):
    raw = Tokenizer(models.WordLevel({"[UNK]": 0, "yes": 1}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    plain = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]")
    with pytest.raises(PreftuneError, match="no single token"):
        marker_id(plain)
    plain.save_pretrained(tmp_path)
    with pytest.raises(PreftuneError, match="ChatML"):
        load_tokenizer(tmp_path)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(PreftuneError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
