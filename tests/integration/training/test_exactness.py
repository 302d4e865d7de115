"""The engine's promises, in numbers: packed equals unpacked, stacked equals PEFT, a run equals itself in company."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM

from sweeper.config import LossOn
from sweeper.peft_method import PeftMethod
from sweeper.training.base_model import BaseKey, BaseModel, load_base_model
from sweeper.training.causal import CausalData, CausalObjective, training_item
from sweeper.training.methods import Method
from sweeper.training.objective import Batch
from sweeper.training.packing import shared_prefix
from tasks.prompting import EncodedExample
from tests.integration.training.conftest import attach

WORDS = range(4, 24)


def key(folder: Path, dtype: str = "float32") -> BaseKey:
    return BaseKey(str(folder), None, dtype, ("none", True, "auto"), head=None, mutable=False)


def lora(**options: object) -> PeftMethod:
    defaults: dict[str, object] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}
    return PeftMethod.from_config({"name": "lora", "method": "adapter", "type": "LORA"} | defaults | options)


def examples(count: int, *, seed: int = 0, prefix: Sequence[int] = (1, 5, 6, 7, 8)) -> list[EncodedExample]:
    """Prompts that share a start, with one or two answer tokens and the end token."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        own = [rng.choice(WORDS) for _ in range(rng.randint(2, 9))]
        answer = [rng.choice(WORDS) for _ in range(rng.randint(1, 2))]
        made.append(EncodedExample(id=str(number), prompt=[*prefix, *own, 17], answer=[*answer, 2], label=0))
    return made


def data(encoded: Sequence[EncodedExample], *, row_tokens: int = 40, loss_on: LossOn = LossOn.ANSWER) -> CausalData:
    prefix = shared_prefix([example.prompt for example in encoded])
    items = [training_item(example, prefix, loss_on) for example in encoded]
    return CausalData(task=None, prefix=prefix, train=items, row_tokens=row_tokens, parts={}, max_new_tokens=8,
                      truncated=0, loss_on=loss_on)  # type: ignore[arg-type]  # fmt: skip


@pytest.fixture(params=["llama_folder", "gemma_folder"])
def base(request: pytest.FixtureRequest) -> BaseModel:
    return load_base_model(key(request.getfixturevalue(request.param)))


def gradients(method: Method, index: int = 0) -> dict[str, Tensor]:
    return {name: weight.grad.clone() for name, weight in method.parameters(index).items() if weight.grad is not None}


def relative(left: Tensor, right: Tensor) -> float:
    return float((left - right).detach().norm() / right.detach().norm().clamp_min(1e-30))


def warm_up(method: Method, indices: Sequence[int] = (0,)) -> None:
    """LoRA's B starts at zero, where half of the gradients vanish: move it."""
    with torch.no_grad():
        for index in indices:
            generator = torch.Generator().manual_seed(100 + index)
            for weight in method.parameters(index).values():
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)


@pytest.mark.parametrize("prefix", [(1, 5, 6, 7, 8), (1,), ()], ids=len)
@pytest.mark.parametrize("loss_on", list(LossOn))
def test_packed_rows_with_a_shared_prefix_equal_one_example_per_row(
    base: BaseModel, loss_on: LossOn, prefix: Sequence[int]
) -> None:
    encoded = examples(12, prefix=prefix)
    method = attach(base, [lora()], [0])
    warm_up(method)
    objective = CausalObjective(base, method)
    packed = objective.loss_sums([Batch(0, data(encoded, loss_on=loss_on), range(12), (0, 0, 0))])
    packed.sums.sum().backward()
    found = gradients(method)
    for weight in method.parameters(0).values():
        weight.grad = None
    expected = torch.zeros(())
    for example in encoded:  # plain Transformers: no packing, no prefix, no stack
        ids = torch.tensor([[*example.prompt, *example.answer]])
        logits = base.model(input_ids=ids[:, :-1], use_cache=False).logits[0]
        first = len(example.prompt) - 1 if loss_on is LossOn.ANSWER else 0
        expected = expected + functional.cross_entropy(logits[first:], ids[0, first + 1 :], reduction="sum")
    expected.backward()
    num_targets = sum(len(example.answer) + (len(example.prompt) - 1) * (loss_on is LossOn.ALL) for example in encoded)
    assert objective.weight(data(encoded, loss_on=loss_on), range(12)) == num_targets
    assert relative(packed.sums[0].detach(), expected.detach()) < 1e-5
    for name, gradient in gradients(method).items():
        assert relative(found[name], gradient) < 1e-5, name
    method.detach()


def test_a_group_of_one_equals_plain_peft_step_by_step(llama_folder: Path) -> None:
    encoded = examples(8)
    base = load_base_model(key(llama_folder))
    method = attach(base, [lora()], [3])
    ours = torch.optim.AdamW(method.parameters(0).values(), lr=1e-2)
    torch.manual_seed(3)
    plain = get_peft_model(
        AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32),
        LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules="all-linear"),
    )
    theirs = torch.optim.AdamW([weight for weight in plain.parameters() if weight.requires_grad], lr=1e-2)
    objective = CausalObjective(base, method)
    for step in range(10):
        forwarded = objective.loss_sums([Batch(0, data(encoded), range(8), (0, step, 0))])
        forwarded.sums.sum().backward()
        expected = torch.zeros(())
        for example in encoded:
            logits = plain(input_ids=torch.tensor([[*example.prompt, *example.answer]])).logits[0]
            answer = logits[len(example.prompt) - 1 : -1]
            expected = expected + functional.cross_entropy(answer, torch.tensor(example.answer), reduction="sum")
        expected.backward()
        assert relative(forwarded.sums[0].detach(), expected.detach()) < 1e-4, step
        for optimizer in (ours, theirs):
            optimizer.step()
            optimizer.zero_grad()
    method.detach()


MIXED = [
    {"r": 2}, {"r": 8, "lora_alpha": 32}, {"lora_dropout": 0.3}, {"target_modules": ["q_proj", "v_proj"]},
    {"r": 3, "lora_dropout": 0.1, "use_rslora": True}, {"r": 16}, {"target_modules": ["down_proj"], "r": 5}, {},
]  # fmt: skip


def train_together(base: BaseModel, chosen: Sequence[int], *, steps: int) -> dict[int, dict[str, Tensor]]:
    """Trains the chosen runs of MIXED in one group; their weights by number. Their data and rates differ too."""
    method = attach(base, [lora(**MIXED[number]) for number in chosen], [10 + number for number in chosen])
    objective = CausalObjective(base, method)
    datas = [data(examples(6 + 3 * number, seed=number), row_tokens=32 + 8 * number) for number in chosen]
    optimizers = [
        torch.optim.AdamW(method.parameters(place).values(), lr=1e-3 * (1 + number))
        for place, number in enumerate(chosen)
    ]
    for step in range(steps):
        batches = [
            Batch(place, datas[place], [(step + i) % len(datas[place].train) for i in range(2 + number % 3)],
                  (10 + number, step, 0))
            for place, number in enumerate(chosen)
        ]  # fmt: skip
        objective.loss_sums(batches).sums.sum().backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    weights = {
        number: {name.replace(f"run{place}", "run"): weight.detach().clone()
                 for name, weight in method.parameters(place).items()}
        for place, number in enumerate(chosen)
    }  # fmt: skip
    method.detach()
    return weights


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 1e-5)])
def test_a_run_in_a_mixed_group_of_eight_equals_the_same_run_alone(
    llama_folder: Path, dtype: str, tolerance: float
) -> None:
    base = load_base_model(key(llama_folder, dtype))
    together = train_together(base, range(8), steps=25)
    for number in range(8):
        alone = train_together(base, [number], steps=25)[number]
        for name, weight in alone.items():
            assert relative(together[number][name], weight) < tolerance, (number, name)


def test_the_exported_adapter_gives_the_same_logits_in_peft(llama_folder: Path, tmp_path: Path) -> None:
    base = load_base_model(key(llama_folder))
    method = attach(base, [lora(r=4), lora(r=8)], [0, 1])
    warm_up(method, (0, 1))
    method.save(1, tmp_path)
    from sweeper.training.stacked_lora import Lane

    ids = torch.tensor([[1, 5, 9, 12, 17]])
    method.use([Lane("run1", 1, 5)])
    ours = base.model(input_ids=ids).logits
    method.detach()
    plain = AutoModelForCausalLM.from_pretrained(llama_folder, dtype=torch.float32)
    untouched = plain(input_ids=ids).logits
    theirs = PeftModel.from_pretrained(plain, tmp_path / "adapter")(input_ids=ids).logits
    assert relative(ours, theirs) < 1e-6
    assert relative(theirs, untouched) > 1e-2
    assert relative(base.model(input_ids=ids).logits, untouched) < 1e-6, "the base model is left as it was"
