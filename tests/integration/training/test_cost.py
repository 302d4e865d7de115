"""What is said of a run's arithmetic, beside what PyTorch counts as it runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sweeper.launch.model_shape import reached_layers, shape_of
from sweeper.peft_method import PeftMethod
from sweeper.training.base_model import BaseKey, load_base_model
from sweeper.training.cost import train_flops
from tests.integration.training.conftest import attach
from tests.integration.training.small_runs import MakeConfig

TOKENS = 24
QUERIES = {"type": "LORA", "r": 4, "target_modules": ["q_proj"]}
MATRIX_PRODUCTS = {"mm", "addmm"}  # not attention's own, which are batched


def products_of_a_step(model: torch.nn.Module) -> int:
    """FLOPs of the linear layers in a forward and a backward of the layers below the head."""
    ids = torch.arange(TOKENS).reshape(2, -1) + 4
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids).last_hidden_state.sum().backward()
    counts = counter.get_flop_counts()["Global"]
    return sum(flops for operation, flops in counts.items() if operation.__name__.split(".")[0] in MATRIX_PRODUCTS)


@pytest.mark.parametrize(("peft", "reached"), [
    ({"method": "full"}, 2), ({"method": "last_layer", "layer": 0}, 2), ({"method": "last_layer"}, 1),
])  # fmt: skip
def test_the_arithmetic_of_a_step_is_what_pytorch_counts(
    make_config: MakeConfig, peft: dict[str, Any], reached: int
) -> None:
    config = make_config()
    config.peft = {"name": "own", **peft}
    method = PeftMethod.from_config(config.peft)
    base = load_base_model(BaseKey.of(config, method))
    trained = attach(base, [method], [0]).parameters(0).values()
    matrices = [weight for weight in trained if weight.ndim > 1 and weight.shape[0] != base.model.config.vocab_size]
    said = train_flops(tokens=TOKENS, matrices=base.num_matrix_weights, reached=base.num_reached_weights(trained),
                       trainable=sum(weight.numel() for weight in matrices))  # fmt: skip
    assert said == products_of_a_step(base.model.get_decoder())
    assert reached_layers(method, shape_of(config.model)) == reached


@pytest.mark.parametrize(("peft", "share"), [
    (QUERIES, 1), (QUERIES | {"layers_to_transform": 1}, 1 / 2), (QUERIES | {"layers_to_transform": [0, 1]}, 1),
    ({"type": "PROMPT_TUNING", "num_virtual_tokens": 4}, 1),
])  # fmt: skip
def test_a_backward_ends_at_the_lowest_layer_that_trains(
    make_config: MakeConfig, peft: dict[str, Any], share: float
) -> None:
    config = make_config()
    config.peft = {"name": "own", "method": "adapter", **peft}
    method = PeftMethod.from_config(config.peft)
    base = load_base_model(BaseKey.of(config, method))
    trained = attach(base, [method], [0]).parameters(0).values()
    assert base.num_reached_weights(trained) == base.num_matrix_weights * share
    assert reached_layers(method, shape_of(config.model)) == 2 * share
