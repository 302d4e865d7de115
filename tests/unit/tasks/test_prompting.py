from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from sweeper.checks import ConfigError
from sweeper.config import DataConfig, PromptConfig, PromptStyle, TaskConfig
from tasks.classification import ClassificationTask
from tasks.encoded import Encoded, Limits
from tasks.prompting import encode, encode_texts, token_ids

WORDS = ["positive", "negative", "Sentence", "Sentiment", "system", "model", "user", "neg"]
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set head = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' %}{% set rest = messages[1:] %}"
    "{% else %}{% set head = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{{ bos_token + '[INST] ' + head + m['content'].strip() + ' [/INST]' }}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}"
    "{{ '<start_of_turn>' + m['role'] + '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
SILENT = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}Q {{ m['content'] }} A{% endif %}{% endfor %}"
)


def tokenizer(template: str | None = None, *, words: Sequence[str] = WORDS, space: str = " ?") -> Any:
    """Characters, and the words above whole with the space before them, as byte-pair tokenizers have them."""
    characters = [chr(code) for code in range(32, 127)] + ["\n", "é"]
    whole = [form for word in words for form in (word, f" {word}")] if space else list(words)
    vocabulary = {piece: number for number, piece in enumerate(["<pad>", "<s>", "</s>", "?unk", *characters, *whole])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="?unk"))
    pieces = Regex("|".join([*(f"{space}{word}(?![a-z])" for word in words), r"[\s\S]"]))
    made.pre_tokenizer = pre_tokenizers.Split(pieces, behavior="isolated")
    made.decoder = decoders.Fuse()
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    fast.chat_template = template
    return fast


def task(
    user: str = "Sentence: {text} \nSentiment:", answer: str = " {label}", labels: Sequence[str] = ()
) -> ClassificationTask:
    prompt = PromptConfig(system="Be brief.", user=user, answer=answer)
    config = TaskConfig(data=DataConfig(text="text"), labels=list(labels or ["negative", "positive"]), prompt=prompt)
    return ClassificationTask(config)


def rows(*texts: str) -> pd.DataFrame:
    ids = [f"train-{row}" for row in range(1, len(texts) + 1)]
    return pd.DataFrame({"id": ids, "text": texts, "label": [row % 2 for row in range(len(texts))]})


def encoded(
    task: ClassificationTask,
    rows: pd.DataFrame,
    made: Any,
    style: PromptStyle = PromptStyle.AUTO,
    *,
    max_length: int = 256,
    too_long: str = "error",
) -> Encoded:
    return encode(task, rows, made, Limits(max_length, too_long, style))


def prompt_text(made: Any, example: Any) -> str:
    return "".join(made.convert_ids_to_tokens(example.prompt))


def test_a_plain_prompt_begins_with_bos_and_an_answer_ends_with_eos() -> None:
    made = tokenizer()
    result = encoded(task(), rows("a b", "c"), made)
    assert prompt_text(made, result.examples[0]) == "<s>Be brief.\nSentence: a b \nSentiment:"
    assert made.decode(result.examples[1].answer) == " positive</s>"
    assert [example.label for example in result.examples] == [0, 1]
    labels = [ids for (ids,) in result.examples[0].candidates]
    assert made.convert_ids_to_tokens(labels) == [" negative", " positive"]
    assert result.eos == 2


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20))
def test_prompt_and_answer_are_the_tokens_of_the_whole_text(text: str) -> None:
    made = tokenizer()
    example = encoded(task(), rows(text), made).examples[0]
    whole = f"Be brief.\nSentence: {text} \nSentiment: negative"
    assert [*example.prompt, *example.answer] == [1, *made(whole, add_special_tokens=False)["input_ids"], 2]


def test_llama_2s_template_carries_the_system_text_and_its_own_bos() -> None:
    made = tokenizer(LLAMA_2)
    example = encoded(task(), rows("a b"), made).examples[0]
    expected = "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nSentence: a b \nSentiment: [/INST]"
    assert prompt_text(made, example) == expected
    assert example.prompt.count(1) == 1


def test_a_template_that_refuses_a_system_role_gets_its_text_before_the_users() -> None:
    made = tokenizer(GEMMA)
    example = encoded(task(), rows("a b"), made).examples[0]
    expected = "<s><start_of_turn>user\nBe brief.\nSentence: a b \nSentiment:<end_of_turn>\n<start_of_turn>model\n"
    assert prompt_text(made, example) == expected


def test_a_template_that_drops_a_system_role_gets_its_text_before_the_users_too() -> None:
    made = tokenizer(SILENT)
    assert prompt_text(made, encoded(task(), rows("a b"), made).examples[0]).startswith("<s>Q Be brief.\nSentence: a b")


def test_plain_ignores_a_chat_template_and_chat_wants_one() -> None:
    assert (
        prompt_text(made := tokenizer(LLAMA_2), encoded(task(), rows("a"), made, PromptStyle.PLAIN).examples[0])[:5]
        == "<s>Be"
    )
    with pytest.raises(
        ConfigError, match=r"model.prompt_style=chat: this tokenizer has no chat template; set it to plain"
    ):
        encoded(task(), rows("a"), tokenizer(), PromptStyle.CHAT)


def test_a_token_across_the_boundary_belongs_to_the_answer() -> None:
    """ "Sentiment: " + "positive" is tokenised ":", " positive": the prompt gives its last space to the answer."""
    made = tokenizer()
    result = encoded(task("{text} Sentiment: ", answer="{label}"), rows("a b"), made)
    assert prompt_text(made, result.examples[0]).endswith("a b Sentiment:")
    assert made.convert_ids_to_tokens(result.examples[0].candidates[1]) == [" positive"]


def test_an_answer_whose_tokens_hang_on_the_text_is_an_error() -> None:
    made = tokenizer(words=[*WORDS, r"filmpositive", r"filmnegative"])
    with pytest.raises(ConfigError, match=r"task.prompt.user=.*hang on the text before.*end in fixed text"):
        encoded(task("{text}", answer="{label}"), rows("a film"), made)


def test_labels_that_begin_alike_in_tokens_are_an_error() -> None:
    made = tokenizer(words=["neg"])
    with pytest.raises(
        ConfigError, match=r"task.labels=1: its tokens begin those of '10'; end task.prompt.answer in a mark"
    ):
        encoded(task(labels=["1", "10"]), rows("a"), made)
    assert encoded(task(labels=["1", "10"], answer=" {label}."), rows("a"), made).examples


def test_a_label_that_the_tokenizer_cannot_write_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"task.labels=naïf: this model's tokenizer writes its answer as"):
        encoded(task(labels=["naïf", "positive"]), rows("a"), tokenizer())


def test_an_example_that_is_too_long_is_named_with_its_tokens_and_both_fixes() -> None:
    texts = rows("short", "x" * 80, "y" * 90)
    example = r"task.max_length=99: example train-2 has 100 tokens, answer included, and 1 more examples? .* too long"
    message = rf"{example}; raise task.max_length, or set task.too_long=truncate"
    with pytest.raises(ConfigError, match=message):
        encoded(task(), texts, tokenizer(), max_length=99)


@settings(max_examples=30, deadline=None)
@given(st.integers(40, 70), st.integers(1, 60))
def test_truncation_cuts_the_text_alone_and_no_more_than_needed(max_length: int, length: int) -> None:
    made, text = tokenizer(), "abcdefghij" * 6
    whole = encoded(task(), rows(text[:length]), made).examples[0]
    result = encoded(task(), rows(text[:length]), made, max_length=max_length, too_long="truncate")
    example = result.examples[0]
    fits = len(whole.prompt) + len(whole.answer) <= max_length
    assert result.truncated == (0 if fits else 1)
    assert len(example.prompt) + len(example.answer) == (len(whole.prompt) + len(whole.answer) if fits else max_length)
    assert prompt_text(made, example).startswith("<s>Be brief.\nSentence: a")
    assert prompt_text(made, example).endswith(" \nSentiment:")
    assert example.answer == whole.answer


def test_a_budget_that_leaves_nothing_of_the_text_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"task.max_length=20: leaves no token for the text of train-1; raise"):
        encoded(task(), rows("some text"), tokenizer(), max_length=20, too_long="truncate")


def test_a_budget_larger_than_the_model_reads_is_an_error() -> None:
    made = tokenizer()
    made.model_max_length = 128
    with pytest.raises(ConfigError, match=r"task.max_length=256: this model reads at most 128 tokens; set it to 128"):
        encoded(task(), rows("a"), made)


def test_a_head_reads_the_text_alone_with_the_tokenizers_own_special_tokens() -> None:
    made = tokenizer()
    result = encode_texts(task(), rows("a b", "xyz"), made, Limits(8))
    assert [made.decode(example.prompt) for example in result.examples] == ["<s>a b</s>", "<s>xyz</s>"]
    assert [(example.answer, example.label) for example in result.examples] == [([], 0), ([], 1)]
    assert not result.writes


def test_a_head_truncates_only_when_told_to() -> None:
    made = tokenizer()
    with pytest.raises(ConfigError, match=r"task.max_length=8: example train-2 has 12 tokens"):
        encode_texts(task(), rows("a", "x" * 10), made, Limits(8))
    result = encode_texts(task(), rows("a", "x" * 10), made, Limits(8, "truncate"))
    assert result.truncated == 1
    assert made.decode(result.examples[1].prompt) == "<s>" + "x" * 6 + "</s>"


def test_no_rows_are_no_examples() -> None:
    assert encoded(task(), rows("a").iloc[:0], tokenizer()).examples == []
    assert encode_texts(task(), rows("a").iloc[:0], tokenizer(), Limits(8)).examples == []


def test_a_template_that_prints_the_date_prints_the_same_one_every_day() -> None:
    made = tokenizer(
        "{{ date_string or strftime_now('%d %b %Y') }}\n{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    assert prompt_text(made, encoded(task(), rows("a"), made).examples[0]).startswith("26 Jul 2024\n")


def test_token_ids_of_many_texts_are_those_of_each_and_one_object_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer's own numbers would take four times the memory of their list."""
    known = tokenizer(words=[*WORDS, *(f"w{number}" for number in range(100, 500))])
    texts = [f"w499 w10{number}" for number in range(5)]
    expected = [known(text, add_special_tokens=False)["input_ids"] for text in texts]
    found = token_ids(texts, known)
    assert found == expected
    assert found[0][0] > 256  # smaller numbers are one object anyway
    assert len({id(tokens[0]) for tokens in found}) == 1
    monkeypatch.setattr("tasks.prompting.BATCH", 2)
    assert token_ids(texts, known) == expected


def test_a_label_that_generation_would_cut_is_an_error() -> None:
    words = task(labels=["negative", "out of words"])
    with pytest.raises(ConfigError, match=r"task.max_new_tokens=3: a label's answer has \d+ tokens; raise it"):
        encode(words, rows("a"), tokenizer(), Limits(256, max_new_tokens=3))
