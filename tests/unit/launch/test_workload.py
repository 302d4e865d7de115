from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeper.config import Architecture, ModelConfig, PromptConfig, RunConfig, TaskConfig
from sweeper.launch.group import DataSize, estimated_cost
from sweeper.launch.model_shape import guessed, shape_of
from sweeper.launch.sharing import share_key
from sweeper.launch.workload import Lengths, Text, blocks_of, lengths_of, num_evaluations, num_rows, num_steps, workload
from sweeper.train_config import TrainConfig

SHAPE, SIZE = guessed(10**8), DataSize(train=1000, selection=100, test=50)
TEXT = Text(mean=40, longest=80)  # 10 and 20 tokens
TEXTS = {"train": TEXT, "test": TEXT}
FULL = {"name": "full", "method": "full"}
# A prefix of (80 + 16) / 4 = 24 tokens; after the text 8 / 4 = 2; answers of 8 / 4 = 2 tokens and the end.
PROMPT = PromptConfig(system="s" * 80, user="u" * 16 + "{text}" + "v" * 8, answer="{label}")
TASK = TaskConfig(labels=["goodgood", "evilevil"], max_length=256, prompt=PROMPT)


def config(peft: dict[str, Any] = FULL, *, train_size: Any = "full", **train: Any) -> RunConfig:
    task = dataclasses.replace(TASK, train_size=train_size)
    return RunConfig(model=ModelConfig(embedded=True), task=task, peft=peft, train=TrainConfig(**train))


def test_steps_are_those_of_training() -> None:
    assert num_steps(config(train_size=100), SIZE, blocks=1) == 7  # 100 / 16, rounded up
    assert num_steps(config(train_size=100), SIZE, blocks=3) == 19
    assert num_steps(config(train_size=100, epochs=2.5), SIZE, blocks=1) == 18  # 17.5, rounded up
    assert num_steps(config(train_size=100, min_steps=250), SIZE, blocks=1) == 250
    assert num_steps(config(max_steps=5), SIZE, blocks=1) == 5
    assert num_steps(config({"method": "none"}), SIZE, blocks=1) == 0


def test_lengths_of_a_training_and_of_an_evaluated_example() -> None:
    assert lengths_of(config(), TEXT, with_answer=True) == Lengths(prefix=24, own=10 + 2 + 3, longest=20 + 2 + 3)
    assert lengths_of(config(), TEXT, with_answer=False).own == 10 + 2 + 2 * 2  # both labels, no end


def test_a_head_reads_the_text_alone() -> None:
    encoder = dataclasses.replace(config(), model=ModelConfig(hub_id="x", architecture=Architecture.ENCODER))
    assert lengths_of(encoder, TEXT, with_answer=True) == Lengths(prefix=0, own=12, longest=22)
    assert workload(encoder, SHAPE, SIZE, TEXTS).rows == 16  # one example a row


@pytest.mark.parametrize(("examples", "own", "rows"), [(16, 15, 1), (32, 15, 1), (33, 15, 2), (4, 600, 4)])
def test_examples_are_packed_into_rows(examples: int, own: float, rows: int) -> None:
    assert num_rows(examples, Lengths(prefix=24, own=own, longest=own), row_tokens=512) == rows  # 488 // 15 = 32 a row


def test_tokens_and_operations_by_hand() -> None:
    work = workload(config(train_size=160), SHAPE, SIZE, TEXTS)
    assert work.train_tokens == 10 * (16 * 15 + 24)  # ten steps of one row
    assert work.train_flops == work.train_tokens * 6 * SHAPE.matrices  # forward 2, backward 4
    # 100 and 50 examples of 16 tokens, 30 to a row of 512 tokens: 4 and 2 prefixes.
    assert work.eval_tokens == 100 * 16 + 4 * 24 + 50 * 16 + 2 * 24
    assert work.eval_flops == work.eval_tokens * 2 * SHAPE.matrices
    assert (work.rows, work.width, work.reads) == (1, 288, 16 * 3)  # 264 tokens, padded to a multiple of 32


def test_frozen_weights_have_no_gradient_of_their_own() -> None:
    lora = {"method": "adapter", "type": "LORA", "r": 1, "target_modules": ["q_proj"]}
    work = workload(config(lora), SHAPE, SIZE, TEXTS)
    assert work.train_flops / work.train_tokens == 4 * SHAPE.matrices + 2 * SHAPE.layers * 2 * SHAPE.hidden


def test_a_backward_reaches_no_layer_below_the_one_that_trains() -> None:
    last = workload(config({"method": "last_layer"}), SHAPE, SIZE, TEXTS)
    assert last.train_flops / last.train_tokens == 2 * SHAPE.matrices + 4 * SHAPE.matrices // SHAPE.layers


@pytest.mark.parametrize(("every", "number"), [("end", 1), ("epoch", 4), (10, 4)])
def test_evaluations_are_as_often_as_asked_and_once_at_the_end(every: Any, number: int) -> None:
    assert num_evaluations(config(train_size=160, epochs=3.0, eval_every=every), SIZE, blocks=1) == number


@given(rows=st.integers(1, 999), epochs=st.floats(0.1, 20), more_rows=st.integers(0, 500), more=st.floats(0, 10))
def test_more_rows_or_epochs_are_never_cheaper(rows: int, epochs: float, more_rows: int, more: float) -> None:
    less = workload(config(train_size=rows, epochs=epochs), SHAPE, SIZE, TEXTS)
    larger = workload(config(train_size=min(1000, rows + more_rows), epochs=epochs + more), SHAPE, SIZE, TEXTS)
    assert larger.train_flops >= less.train_flops
    assert larger.eval_flops >= less.eval_flops


def test_accumulation_makes_the_forward_smaller_not_the_work() -> None:
    whole, pieces = (workload(config(gradient_accumulation_steps=n, batch_size=64), SHAPE, SIZE, TEXTS)
                     for n in (1, 8))  # fmt: skip
    assert pieces.rows * pieces.width < whole.rows * whole.width
    assert pieces.train_tokens > whole.train_tokens  # more prefixes


def test_the_training_rows_are_measured_whenever_the_selection_split_is() -> None:
    plain, fit = (config(train_size=160, epochs=2.0, eval_every="epoch") for _ in range(2))
    fit.task.score_train = True
    more = workload(fit, SHAPE, SIZE, TEXTS).eval_tokens - workload(plain, SHAPE, SIZE, TEXTS).eval_tokens
    assert more == 3 * (160 * 16 + 6 * 24)  # two epochs and the end; 30 examples to a row
    unselected = DataSize(train=1000, selection=0, test=50)
    more = workload(fit, SHAPE, unselected, TEXTS).eval_tokens - workload(plain, SHAPE, unselected, TEXTS).eval_tokens
    assert more == 160 * 16 + 6 * 24
    assert estimated_cost(fit, SIZE) > estimated_cost(plain, SIZE)


def test_a_classical_model_makes_no_steps() -> None:
    model = ModelConfig(name="tfidf", architecture=Architecture.CLASSICAL, estimator="linear_svm")
    classical = dataclasses.replace(config(), model=model)
    work = workload(classical, shape_of(model), SIZE, TEXTS)
    assert (work.steps, work.train_flops) == (0, 0)
    assert shape_of(model).is_exact
    assert share_key(dataclasses.replace(classical, train=TrainConfig(lr_scheduler_type="constant"))) is None
    assert share_key(config(lr_scheduler_type="constant")) is not None


RUNNING = dataclasses.replace(TASK, type="language_modeling", labels=[], max_length=52)  # 50 tokens of text and 2 more
PASSAGE = Text(mean=480, longest=4000)  # 120 and 1000 tokens: three blocks


def running(**train: Any) -> RunConfig:
    return dataclasses.replace(config(**train), task=RUNNING)


def test_running_text_is_cut_into_blocks_that_are_trained_and_evaluated_whole() -> None:
    assert blocks_of(RUNNING, PASSAGE) == 3
    assert blocks_of(TASK, PASSAGE) == 1
    assert lengths_of(running(), PASSAGE, with_answer=True) == Lengths(prefix=0, own=42, longest=52)
    work = workload(running(), SHAPE, SIZE, dict.fromkeys(("train", "test"), PASSAGE))
    assert work.steps == 188  # 3 * 1000 / 16, rounded up
    assert work.train_tokens == 188 * 16 * 42
    assert work.eval_tokens == 3 * (100 + 50) * 42
    assert work.reads == 16 * 42  # every token is a target
    assert (work.steps_per_epoch, work.tested) == (188, 3 * 50)


def test_running_text_is_evaluated_as_often_as_its_blocks_make_steps() -> None:
    once, often = (workload(running(eval_every=every), SHAPE, SIZE, dict.fromkeys(("train", "test"), PASSAGE))
                   for every in ("end", 50))  # fmt: skip
    assert often.steps == 188
    assert often.eval_tokens - once.eval_tokens == 3 * (3 * 100 * 42)  # at 50, 100 and 150


def test_a_short_text_is_one_block() -> None:
    assert blocks_of(RUNNING, TEXT) == 1
    assert workload(running(), SHAPE, SIZE, TEXTS).steps == 63
