from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sweeper.config import ModelConfig, RunConfig, TaskConfig
from sweeper.launch.footprint import (
    GIB,
    POINT_BYTES,
    PREDICTION_BYTES,
    Device,
    Member,
    checkpoint_bytes,
    disk_bytes,
    group_bytes,
    state_bytes,
    weight_bytes,
)
from sweeper.launch.group import DataSize
from sweeper.launch.model_shape import Shape, guessed, trainable_parameters
from sweeper.launch.workload import Text, workload
from sweeper.peft_method import PeftMethod
from sweeper.train_config import TrainConfig

SHAPE, SIZE = guessed(7 * 10**9), DataSize(1000, 100, 50)
TEXTS = dict.fromkeys(("train", "test"), Text(100, 300))
GPU = Device(is_gpu=True, free_bytes=20 * 10**9)
LORA = {"name": "lora", "method": "adapter", "type": "LORA", "r": 16, "target_modules": "all-linear"}
QLORA = {**LORA, "quantization": {"type": "nf4", "keep_dequantized": "never"}}
FULL = {"name": "full", "method": "full"}


def config(peft: dict[str, Any], **train: Any) -> RunConfig:
    return RunConfig(model=ModelConfig(hub_id="x"), task=TaskConfig(labels=["a", "b"]), peft=peft,
                     train=TrainConfig(**train))  # fmt: skip


def member(peft: dict[str, Any], **train: Any) -> Member:
    asked = config(peft, **train)
    return Member(asked, SHAPE, workload(asked, SHAPE, SIZE, TEXTS))


def test_weights_by_their_numbers() -> None:
    assert weight_bytes(config(LORA), SHAPE, GPU) == 2 * SHAPE.parameters
    assert weight_bytes(config(FULL), SHAPE, GPU) == 4 * SHAPE.parameters  # trained in float32
    assert weight_bytes(config(LORA), SHAPE, dataclasses.replace(GPU, has_bfloat16=False)) == 4 * SHAPE.parameters


def test_nf4_is_half_a_byte_and_its_constants() -> None:
    rest = SHAPE.parameters - SHAPE.matrices
    assert weight_bytes(config(QLORA), SHAPE, GPU) == SHAPE.matrices * (0.5 + 0.127 / 8) + rest * 2


@pytest.mark.parametrize(("free_gb", "kept"), [(20, False), (100, True)])
def test_the_dequantised_copy_is_kept_where_a_quarter_of_memory_holds_it(free_gb: int, *, kept: bool) -> None:
    auto = {**LORA, "quantization": {"type": "nf4"}}
    device = dataclasses.replace(GPU, free_bytes=free_gb * 10**9)
    copy = weight_bytes(config(auto), SHAPE, device) - weight_bytes(config(QLORA), SHAPE, device)
    assert copy == pytest.approx(2 * SHAPE.matrices if kept else 0)


@pytest.mark.parametrize(("name", "size"), [
    ("adamw_torch", 8), ("paged_adamw_32bit", 8), ("adamw_8bit", 2), ("PagedAdamW8bit", 2), ("lion_8bit", 1),
    ("sgd", 0), ("adafactor", 0),
])  # fmt: skip
def test_optimisers_keep_moments(name: str, size: float) -> None:
    assert state_bytes(name) == size


def test_sgd_with_momentum_keeps_one() -> None:
    assert state_bytes("sgd", momentum=0.9) == 4


def test_full_training_takes_16_bytes_a_weight_and_its_activations() -> None:
    assert 16 < group_bytes([member(FULL)], GPU) / SHAPE.parameters < 20


def test_activations_are_kept_from_the_lowest_layer_that_trains() -> None:
    lowest, highest = (member({"name": "last_layer", "method": "last_layer", "layer": layer}, batch_size=4096)
                       for layer in (0, -1))  # fmt: skip
    more, work = group_bytes([lowest], GPU) - group_bytes([highest], GPU), lowest.work
    assert more == pytest.approx((SHAPE.layers - 1) * work.rows * work.width * SHAPE.hidden * 34)


def test_each_run_of_a_group_adds_its_adapter_and_its_rows_but_no_weights() -> None:
    one, two, three = (group_bytes([member(LORA)] * number, GPU) for number in (4, 5, 6))  # above what is generated
    trainable = trainable_parameters(PeftMethod.from_config(LORA), SHAPE)
    assert three - two == pytest.approx(two - one)
    assert 16 * trainable < two - one < one / 2


def test_less_memory_with_accumulation_and_with_nf4() -> None:
    whole, pieces = member(LORA, batch_size=64), member(LORA, batch_size=64, gradient_accumulation_steps=16)
    assert group_bytes([pieces], GPU) < group_bytes([whole], GPU)
    assert group_bytes([member(QLORA)], GPU) < group_bytes([member(LORA)], GPU) / 2


def test_disk_is_the_trained_weights_and_the_records() -> None:
    trainable = trainable_parameters(PeftMethod.from_config(LORA), SHAPE)
    assert disk_bytes(member(LORA)) == pytest.approx(4 * trainable, rel=0.01)
    assert disk_bytes(member({"method": "none"})) < 10**6


def test_checkpoints_are_two_and_the_best() -> None:
    trainable = trainable_parameters(PeftMethod.from_config(LORA), SHAPE)
    of = [checkpoint_bytes(member(LORA, **train)) / trainable for train in (
        {"save_every": "never"}, {"save_every": 1000}, {"save_every": 50}, {"save_every": 5},
        {"save_every": 5, "load_best_model_at_end": True, "eval_every": "epoch"})]  # 63 steps  # fmt: skip
    assert of == [0, 0, 12, 24, 28]


def test_running_text_leaves_a_point_and_a_checkpoint_for_the_steps_of_its_blocks() -> None:
    asked = config(LORA, logging_steps=1, save_every=100)
    asked.task = TaskConfig(type="language_modeling", max_length=52)
    row, four = (Member(asked, SHAPE, workload(asked, SHAPE, SIZE, dict.fromkeys(("train", "test"), Text(length, 900))))
                 for length in (200, 800))  # 50 tokens to a block  # fmt: skip
    assert (row.work.steps, four.work.steps) == (63, 250)
    assert checkpoint_bytes(row) == 0
    assert checkpoint_bytes(four) == 2 * 12 * trainable_parameters(PeftMethod.from_config(LORA), SHAPE)
    assert disk_bytes(four) - disk_bytes(row) == (250 - 63) * POINT_BYTES + 3 * SIZE.test * PREDICTION_BYTES


def test_a_processor_keeps_the_weights_as_they_were_to_tell_how_far_they_moved() -> None:
    processor = Device(is_gpu=False, free_bytes=100 * 10**9, has_bfloat16=False)
    full, lora = (group_bytes([member(peft)], processor) / SHAPE.parameters for peft in (FULL, LORA))
    assert 20 < full < 24  # weight, gradient, two moments, the copy
    assert lora < 8


def test_more_logits_than_are_computed_at_a_time_take_no_more_memory() -> None:
    def peak(length: int) -> float:
        asked = config(LORA, batch_size=64)
        asked.task = TaskConfig(type="language_modeling", max_length=length)
        long = dict.fromkeys(("train", "test"), Text(10**5, 10**5))
        one = Member(asked, SHAPE, workload(asked, SHAPE, SIZE, long))
        return group_bytes([one], GPU) - SHAPE.layers * one.work.rows * one.work.width * SHAPE.hidden * 34

    assert peak(1024) == pytest.approx(peak(512))


def generated(shape: Shape, characters: int, **task: Any) -> float:
    """Bytes of a zero-shot run beyond its weights."""
    asked = config({"method": "none"})
    asked.task = dataclasses.replace(asked.task, max_length=4096, **task)
    texts = dict.fromkeys(("train", "test"), Text(characters, characters))
    return group_bytes([Member(asked, shape, workload(asked, shape, SIZE, texts))], GPU) - 2 * shape.parameters


def test_generated_answers_keep_keys_and_values_up_to_a_limit() -> None:
    shape = guessed(13 * 10**9)
    per_token = 2 * 2 * shape.layers * shape.hidden
    assert per_token == pytest.approx(0.8e6, rel=0.1)
    long, longer = generated(shape, 4 * 1000), generated(shape, 4 * 3000)
    assert longer == long == 4 * GIB
    assert 64 * 30 * per_token < generated(shape, 4 * 30) < long
    head, text = generated(shape, 4 * 1000, head=True), generated(shape, 4 * 1000, type="language_modeling")
    assert max(head, text) < 2 * GIB


def test_grouped_heads_keep_less() -> None:
    shape = guessed(13 * 10**9)
    grouped = dataclasses.replace(shape, linears={**shape.linears, "k_proj": (1, 8), "v_proj": (1, 8)})
    assert generated(grouped, 4 * 30) < generated(shape, 4 * 30) / 2


def test_pissa_keeps_the_base_model_as_it_was() -> None:
    processor = Device(is_gpu=False, free_bytes=100 * 10**9, has_bfloat16=False)
    more = group_bytes([member(LORA | {"init_lora_weights": "pissa"})], processor) - group_bytes(
        [member(LORA)], processor
    )
    assert more == weight_bytes(config(LORA), SHAPE, processor)
