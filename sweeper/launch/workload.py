"""What one run has to compute: steps, tokens, floating-point operations, and how large its forwards are.

Pure arithmetic over the config, the model's sizes, the rows at hand and how long their texts are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from sweeper.config import FULL, Architecture, LossOn, RunConfig, TaskConfig
from sweeper.launch.group import DataSize
from sweeper.launch.model_shape import Shape, reached_layers, trainable_parameters
from sweeper.peft_method import PeftMethod

# Of English, by OpenAI's rule of thumb ("one token is about four characters"); the embedded model's
# tokenizer has 4.0 on SST-2.
CHARACTERS_PER_TOKEN = 4.0
SPECIAL_TOKENS = 2  # around an encoder's text, or a block of running text
RUNNING_TEXT = "language_modeling"
WIDTH_STEP = 32  # as in `training.packing`: rows are padded to a multiple of it


@dataclass(frozen=True)
class Text:
    """Characters of what a row puts into the prompt."""

    mean: float
    longest: float


@dataclass(frozen=True)
class Lengths:
    """Tokens of an example; the prefix that all of a row's examples share is not in `own`."""

    prefix: float
    own: float  # text, rest of the template, answer
    longest: float  # of all examples, the prefix left out


@dataclass(frozen=True)
class Workload:
    steps: int
    steps_per_epoch: int
    tested: int  # examples of the reporting split
    train_tokens: float
    eval_tokens: float  # of every evaluation and of the last judgement
    train_flops: float
    eval_flops: float
    rows: int  # of one training forward
    width: int  # tokens of each, padding included
    reads: float  # positions of one training forward whose logits are computed
    own_tokens: float  # of an example
    prompt_tokens: float  # of the longest that is asked for an answer


def workload(config: RunConfig, shape: Shape, size: DataSize, texts: Mapping[str, Text]) -> Workload:
    """`texts`: of the splits `train` and `test`."""
    method, train = PeftMethod.from_config(config.peft), config.train
    blocks = blocks_of(config.task, texts["train"])
    steps = num_steps(config, size, blocks)
    lengths = lengths_of(config, texts["train"], with_answer=True)
    micro = math.ceil(train.batch_size / train.gradient_accumulation_steps)
    rows = num_rows(micro, lengths, train.row_tokens) if _packs(config) else micro
    tokens = steps * (train.batch_size * lengths.own + train.gradient_accumulation_steps * rows * lengths.prefix)
    evaluations = num_evaluations(config, size, blocks)
    evaluated = evaluations * _evaluation_tokens(config, texts["train"], size.selection)
    evaluated += max(1, evaluations) * _evaluation_tokens(config, texts["train"], fit_rows(config, size))
    evaluated += _evaluation_tokens(config, texts["test"], size.test)
    trainable = trainable_parameters(method, shape)
    reached = shape.matrices * reached_layers(method, shape) // shape.layers
    reads_all = config.task.loss_on is LossOn.ALL or config.task.type == RUNNING_TEXT
    reads = lengths.own if reads_all else answer_tokens(config.task)
    return Workload(
        steps=steps,
        steps_per_epoch=steps_per_epoch(config, size, blocks),
        tested=size.test * blocks_of(config.task, texts["test"]),
        train_tokens=tokens,
        eval_tokens=evaluated,
        train_flops=tokens * _flops_per_token(shape.matrices, reached, trainable),
        eval_flops=evaluated * 2 * shape.matrices,
        rows=rows,
        width=_width(micro, rows, lengths),
        reads=micro * reads,
        own_tokens=lengths.own,
        prompt_tokens=_longest_prompt(config, texts["test"]),
    )


def _flops_per_token(matrices: int, reached: int, trainable: int) -> int:
    """As `training.cost.train_flops`."""
    return 2 * matrices + 2 * reached + 2 * min(trainable, matrices)


def num_steps(config: RunConfig, size: DataSize, blocks: int) -> int:
    """Of the optimiser, as `training.run` counts them; `blocks`: examples that a row becomes."""
    train = config.train
    if not config.makes_steps:
        return 0
    steps = max(math.ceil(train.epochs * steps_per_epoch(config, size, blocks)), train.min_steps)
    return steps if train.max_steps is None else min(steps, train.max_steps)


def steps_per_epoch(config: RunConfig, size: DataSize, blocks: int) -> int:
    return math.ceil(train_rows(config, size) * blocks / config.train.batch_size)


def train_rows(config: RunConfig, size: DataSize) -> int:
    asked = config.task.train_size
    return size.train if asked == FULL else min(int(asked), size.train)


def fit_rows(config: RunConfig, size: DataSize) -> int:
    """Training rows that are measured whenever the selection split is, and once at the end where there is none."""
    return train_rows(config, size) if config.task.score_train else 0


def num_evaluations(config: RunConfig, size: DataSize, blocks: int) -> int:
    """Of the selection split: as often as `train.eval_every` says, and once at the end."""
    train, steps = config.train, num_steps(config, size, blocks)
    if not size.selection:
        return 0
    every = steps_per_epoch(config, size, blocks) if train.eval_every == "epoch" else train.eval_every
    return 1 + (0 if train.eval_every == "end" else steps // int(every))


def lengths_of(config: RunConfig, text: Text, *, with_answer: bool) -> Lengths:
    """A head reads the text alone; a training example has its own answer, an evaluated one those of every label."""
    task = config.task
    if not _packs(config):
        cut = [min(length / CHARACTERS_PER_TOKEN + SPECIAL_TOKENS, task.max_length) for length in _both(text)]
        return Lengths(0.0, *cut)
    if task.type == RUNNING_TEXT:
        text_tokens = [text.mean / CHARACTERS_PER_TOKEN / blocks_of(task, text), text.longest / CHARACTERS_PER_TOKEN]
        return Lengths(0.0, *(min(length + SPECIAL_TOKENS, task.max_length) for length in text_tokens))
    before, _, rest = task.prompt.user.partition("{")
    prefix = (len(task.prompt.system) + len(before)) / CHARACTERS_PER_TOKEN
    template = len(rest.partition("}")[2]) / CHARACTERS_PER_TOKEN
    answer = answer_tokens(task) if with_answer else max(1, len(task.labels)) * (answer_tokens(task) - 1)
    room = max(1.0, task.max_length - prefix)
    own = [min(length / CHARACTERS_PER_TOKEN + template + answer, room) for length in _both(text)]
    return Lengths(prefix, *own)


def blocks_of(task: TaskConfig, text: Text) -> int:
    """Examples that a row of mean length becomes: running text is cut, where another task's is one example."""
    if task.type != RUNNING_TEXT:
        return 1
    return max(1, math.ceil(text.mean / CHARACTERS_PER_TOKEN / (task.max_length - SPECIAL_TOKENS)))


def answer_tokens(task: TaskConfig) -> float:
    """Of a training example, the end of the sequence included."""
    if not task.labels:
        return task.max_new_tokens / 2
    label = sum(map(len, task.labels)) / len(task.labels)
    return max(1.0, (len(task.prompt.answer.replace("{label}", "")) + label) / CHARACTERS_PER_TOKEN) + 1


def num_rows(examples: int, lengths: Lengths, row_tokens: int) -> int:
    """Of packed examples; one that is longer than a row has a row alone."""
    per_row = max(1.0, (row_tokens - lengths.prefix) // lengths.own)
    return math.ceil(examples / per_row)


def _packs(config: RunConfig) -> bool:
    return config.model.architecture is Architecture.CAUSAL_LM and not config.task.head


def _both(text: Text) -> tuple[float, float]:
    return text.mean, text.longest


def _longest_prompt(config: RunConfig, text: Text) -> float:
    lengths = lengths_of(config, text, with_answer=False)
    return lengths.prefix + lengths.longest


def _evaluation_tokens(config: RunConfig, text: Text, examples: int) -> float:
    lengths, examples = lengths_of(config, text, with_answer=False), examples * blocks_of(config.task, text)
    rows = num_rows(examples, lengths, config.train.row_tokens) if _packs(config) else 0
    return examples * lengths.own + rows * lengths.prefix


def _width(examples: int, rows: int, lengths: Lengths) -> int:
    filled = lengths.prefix + max(lengths.own * examples / rows, lengths.longest)
    return math.ceil(filled / WIDTH_STEP) * WIDTH_STEP
