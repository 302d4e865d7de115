"""From rows to tokens: prompts, answers, the boundary between the two, and the token budget.

The boundary must be the same tokens in training, scoring and generation, so it is found once, by a probe, and
every example is put together from a prompt's tokens and one of the answers' fixed tokens. Takes the tokenizer
from the caller and imports no model library.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pandas as pd

from sweeper.checks import ConfigError
from tasks.chat import Renderer, renderer
from tasks.encoded import Encoded, EncodedExample, Limits
from tasks.splits import ID
from tasks.task import Prompt

# Texts that end in a letter, a digit, punctuation: what may stand before the answer where a template ends in the text.
PROBES = ("a film", "A fine one.", "it 's 3 (of 4) !", "?", "part 2", "not quite so bad , then")
BATCH = 1000  # texts that are tokenised at a time: a tokenizer keeps much more of each than its tokens
IDS_ONLY = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}


class Labelled(Protocol):
    """A task whose answers are its labels."""

    @property
    def columns(self) -> Sequence[str]:
        """The text columns that `prompts` and `texts` read."""

    @property
    def text_column(self) -> str:
        """The one of them that loses its end where an example is too long."""

    @property
    def labels(self) -> Sequence[str]: ...

    @property
    def candidates(self) -> Sequence[str]:
        """The answer text of each label."""

    def prompts(self, rows: pd.DataFrame) -> list[Prompt]: ...

    def texts(self, rows: pd.DataFrame) -> list[str]:
        """What a classification head reads: the text alone."""

    def golds(self, rows: pd.DataFrame) -> list[int | None]:
        """The label index of each row; None where it is not known."""

    def parse(self, text: str) -> int | None: ...


def encode(task: Labelled, rows: pd.DataFrame, tokenizer: Any, limits: Limits) -> Encoded:
    """Prompt and answer tokens of every row, for a model that writes its answer.

    Raises:
        ConfigError: an example is too long, two answers can't be told apart by their tokens, or the tokenizer
            can't write one of them.
    """
    max_length = limits.max_length
    eos = check_tokenizer(max_length, tokenizer)
    render = renderer(tokenizer, limits.style)
    edge = boundary(task, tokenizer, render)
    if (longest := max(map(len, edge.answers))) > limits.max_new_tokens:
        raise ConfigError("task.max_new_tokens", limits.max_new_tokens, f"a label's answer has {longest} tokens",
                          "raise it: what is longer could never be written")  # fmt: skip
    prompts = PromptTokens(task, tokenizer, render, edge.overlap)
    ids, truncated = prompts.within(rows, max_length, edge.reserved, limits.too_long)
    answers = [list(answer) for answer in edge.answers]
    examples = [
        EncodedExample(name, prompt, [] if label is None else [*answers[label], eos], label, candidates=answers)
        for name, prompt, label in zip(rows[ID].tolist(), ids, task.golds(rows), strict=True)
    ]
    return Encoded(examples, truncated, eos)


def encode_texts(task: Labelled, rows: pd.DataFrame, tokenizer: Any, limits: Limits) -> Encoded:
    """The texts alone with the tokenizer's own special tokens, for a classification head; answers are empty."""
    max_length, too_long = limits.max_length, limits.too_long
    check_max_length(max_length, tokenizer)
    texts = task.texts(rows)
    ids = token_ids(texts, tokenizer, special=True)
    long = [number for number, tokens in enumerate(ids) if len(tokens) > max_length]
    if long and too_long == "error":
        raise too_long_error(rows[ID].iloc[long[0]], len(ids[long[0]]), max_length, len(long))
    if long:
        cut = tokenizer([texts[number] for number in long], truncation=True, max_length=max_length, **IDS_ONLY)
        for number, tokens in zip(long, cut["input_ids"], strict=True):
            ids[number] = tokens
    examples = [
        EncodedExample(name, prompt, [], label)
        for name, prompt, label in zip(rows[ID].tolist(), ids, task.golds(rows), strict=True)
    ]
    return Encoded(examples, truncated=len(long), eos=-1, writes=False)


@dataclass(frozen=True)
class Boundary:
    """How the tokens of a prompt go on into those of each answer."""

    overlap: tuple[int, ...]  # last tokens of a prompt alone that melt into every answer; mostly none
    answers: tuple[tuple[int, ...], ...]  # per candidate, without the end-of-sequence token

    @property
    def reserved(self) -> int:
        """Tokens that the longest answer and the end-of-sequence token take."""
        return max(len(answer) for answer in self.answers) + 1


def boundary(task: Labelled, tokenizer: Any, render: Renderer) -> Boundary:
    """The same for every prompt of the task.

    A prompt and its answer are tokenised as one text. Mostly that text starts with the prompt's own tokens, and
    the rest is the answer. Where it does not ("Sentiment: " + "positive" has a token " positive" across the
    boundary), prompts end where they and all their answers still agree, and the answers take the rest.

    Raises:
        ConfigError: the answers' tokens hang on the text before them, two answers are the same tokens or one starts
            with the other, or an answer's tokens do not decode to its label.
    """
    prompts = render.texts(task.prompts(pd.DataFrame({column: PROBES for column in task.columns})))
    edges = {_edge(prompt, task.candidates, tokenizer) for prompt in prompts}
    if len(edges) > 1:
        raise ConfigError("task.prompt.user", "...", f"the tokens of {task.candidates[0]!r} hang on the text before",
                          "let it end in fixed text, or let task.prompt.answer begin with a space")  # fmt: skip
    (edge,) = edges
    for index, answer in enumerate(edge.answers):
        _check_answer(index, edge.answers, tokenizer.decode(list(answer), skip_special_tokens=True), task)
    return edge


def _check_answer(index: int, answers: Sequence[Sequence[int]], written: str, task: Labelled) -> None:
    label = task.labels[index]
    if task.parse(written) != index:
        raise ConfigError("task.labels", label, f"this model's tokenizer writes its answer as {written!r}",
                          "choose a label or a task.prompt.answer that it can write")  # fmt: skip
    for other, tokens in enumerate(answers):
        if other != index and tokens[: len(answers[index])] == answers[index]:
            raise ConfigError("task.labels", label, f"its tokens begin those of {task.labels[other]!r}",
                              "end task.prompt.answer in a mark, such as ' {label}.'")  # fmt: skip


def _edge(prompt: str, candidates: Sequence[str], tokenizer: Any) -> Boundary:
    alone, *wholes = token_ids([prompt, *(prompt + answer for answer in candidates)], tokenizer)
    shared = min(_common_start(alone, whole) for whole in wholes)
    return Boundary(tuple(alone[shared:]), tuple(tuple(whole[shared:]) for whole in wholes))


def _common_start(left: Sequence[int], right: Sequence[int]) -> int:
    limit = min(len(left), len(right))
    return next((index for index in range(limit) if left[index] != right[index]), limit)


class Prompted(Protocol):
    """A task that asks: what `PromptTokens` needs of it."""

    @property
    def text_column(self) -> str: ...

    def prompts(self, rows: pd.DataFrame) -> list[Prompt]: ...


class PromptTokens:
    """Tokenises the prompts of one task up to the boundary."""

    def __init__(self, task: Prompted, tokenizer: Any, render: Renderer, overlap: Sequence[int] = ()) -> None:
        """`overlap`: see `Boundary`."""
        self.task, self.tokenizer, self.render, self.overlap = task, tokenizer, render, list(overlap)

    def within(self, rows: pd.DataFrame, max_length: int, reserved: int, too_long: str) -> tuple[list[list[int]], int]:
        """Prompts that leave `reserved` tokens of `max_length`, and how many lost their end for it.

        Raises ConfigError for a longer one where `too_long` is "error".
        """
        ids = self.encode(rows)
        return ids, len(self.cut(rows, ids, max_length, reserved, too_long))

    def cut(self, rows: pd.DataFrame, ids: list[list[int]], max_length: int, reserved: int, too_long: str) -> set[int]:
        """The same in place, for prompts that `encode` has been through: the numbers of those that lost their end."""
        long = [number for number, tokens in enumerate(ids) if len(tokens) + reserved > max_length]
        if long and too_long == "error":
            num_tokens = len(ids[long[0]]) + reserved
            raise too_long_error(rows[ID].iloc[long[0]], num_tokens, max_length, len(long))
        for first in range(0, len(long), BATCH):
            own = long[first : first + BATCH]
            for number, tokens in zip(own, self._shortened(rows.iloc[own], max_length, reserved), strict=True):
                ids[number] = tokens
        return set(long)

    def encode(self, rows: pd.DataFrame) -> list[list[int]]:
        return self.of_texts(rows, self.texts(rows))

    def texts(self, rows: pd.DataFrame) -> list[str]:
        """Without the token ids that stand before every one of them."""
        return self.render.texts(self.task.prompts(rows))

    def of_texts(self, rows: pd.DataFrame, texts: Sequence[str]) -> list[list[int]]:
        ids, overlap = token_ids(texts, self.tokenizer), self.overlap
        for number, tokens in enumerate(ids):
            if overlap and tokens[-len(overlap) :] != overlap:
                name = rows[ID].iloc[number]
                raise ConfigError("task.prompt.user", "...", f"the prompt of {name} ends in other tokens than the rest",
                                  "let it end in fixed text")  # fmt: skip
            ids[number] = self.render.start + tokens[: len(tokens) - len(overlap)]
        return ids

    def _shortened(self, rows: pd.DataFrame, max_length: int, reserved: int) -> list[list[int]]:
        """A shorter text can split into other tokens, hence the rounds."""
        budget = max_length - reserved
        column = self.task.text_column
        rows = rows.reset_index(drop=True)
        ids = self.encode(rows) if len(rows) else []
        while long := [number for number, tokens in enumerate(ids) if len(tokens) > budget]:
            excess = [len(ids[number]) - budget for number in long]
            texts = self._without_end(rows[column].iloc[long].tolist(), excess)
            if "" in texts:
                name = rows[ID].iloc[long[texts.index("")]]
                raise ConfigError("task.max_length", max_length, f"leaves no token for the text of {name}",
                                  "raise task.max_length")  # fmt: skip
            cut = rows.iloc[long].assign(**{column: texts})
            rows.iloc[long] = cut
            for number, tokens in zip(long, self.encode(cut), strict=True):
                ids[number] = tokens
        return ids

    def _without_end(self, texts: list[str], excess: Sequence[int]) -> list[str]:
        """The texts less their last `excess` tokens, and at least one character."""
        found = self.tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, **IDS_ONLY)
        shorter = []
        for text, spans, surplus in zip(texts, found["offset_mapping"], excess, strict=True):
            end = spans[-surplus - 1][1] if surplus < len(spans) else 0
            shorter.append(text[: min(end, len(text) - 1)].rstrip())
        return shorter


def token_ids(texts: Sequence[str], tokenizer: Any, *, special: bool = False) -> list[list[int]]:
    ids: list[list[int]] = []
    shared: dict[int, int] = {}  # a tokenizer makes a new number for every token: 28 bytes beside the list's 8
    for first in range(0, len(texts), BATCH):
        found = tokenizer(list(texts[first : first + BATCH]), add_special_tokens=special, **IDS_ONLY)["input_ids"]
        ids += [[shared.setdefault(token, token) for token in tokens] for tokens in found]
    return ids


def check_tokenizer(max_length: int, tokenizer: Any) -> int:
    """The end-of-sequence token. Raises ConfigError where there is none, or the model reads less than `max_length`."""
    check_max_length(max_length, tokenizer)
    if tokenizer.eos_token_id is None:
        raise ConfigError("model", tokenizer.name_or_path, "its tokenizer has no end-of-sequence token")
    return int(tokenizer.eos_token_id)


def check_max_length(max_length: int, tokenizer: Any) -> None:
    if max_length > tokenizer.model_max_length:
        limit = tokenizer.model_max_length
        raise ConfigError(
            "task.max_length", max_length, f"this model reads at most {limit} tokens", f"set it to {limit}"
        )


def too_long_error(name: str, tokens: int, max_length: int, count: int) -> ConfigError:
    others = f", and {count - 1:,} more {'example is' if count == 2 else 'examples are'} too long" if count > 1 else ""
    return ConfigError(
        "task.max_length", max_length, f"example {name} has {tokens} tokens, answer included{others}",
        "raise task.max_length, or set task.too_long=truncate to cut the end off such texts",
    )  # fmt: skip
