"""Scoring proves what greedy decoding writes; generation fills in the rest."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional
from transformers import GenerationConfig

from sweeper.peft_method import PeftMethod
from sweeper.training import causal, scoring
from sweeper.training.base_model import load_base_model
from sweeper.training.causal import CausalData, CausalObjective
from sweeper.training.objective import Batch, Part
from sweeper.training.packing import shared_prefix
from tasks.encoded import Encoded, EncodedExample
from tests.integration.training.conftest import attach
from tests.integration.training.test_exactness import data, examples, key, lora, warm_up

LABELS = [[14, 15], [20]]  # a label of two tokens and one of one token


class TwoLabels:
    """The only thing that predictions ask of a task."""

    def __init__(self, tokenizer: Any) -> None:
        self.names = [tokenizer.decode(tokens).strip() for tokens in LABELS]

    def parse(self, text: str) -> int | None:
        return self.names.index(text.strip()) if text.strip() in self.names else None


def labelled(count: int) -> list[EncodedExample]:
    rng = random.Random(1)
    return [
        EncodedExample(example.id, example.prompt, [*LABELS[label], 2], label, candidates=LABELS)
        for example in examples(count, seed=5)
        for label in [rng.randrange(2)]
    ]


@pytest.mark.parametrize("steps", [0, 60, 400])
def test_the_proved_text_equals_generate_on_every_example(llama_folder: Path, steps: int) -> None:
    base = load_base_model(key(llama_folder))
    method = attach(base, [lora(r=8), lora(r=2)], [0, 1])
    warm_up(method, (0, 1))
    objective = CausalObjective(base, method)
    shown, asked = labelled(16), labelled(60)
    optimizer = torch.optim.AdamW(method.parameters(0).values(), lr=5e-3)
    for step in range(steps):  # none, some and all of the answers become labels
        objective.loss_sums([Batch(0, data(shown), [step % 16, (step + 5) % 16], (0, step, 0))]).sums.sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    encoded = Encoded(asked, 0, eos=2)
    own = CausalData(TwoLabels(base.tokenizer), shared_prefix([example.prompt for example in asked]), [], 64,
                     {Part.TEST: encoded}, max_new_tokens=6, truncated=0)  # type: ignore[arg-type]  # fmt: skip
    together = objective.predict([0, 1], [own, own], Part.TEST)
    method.use([_lane(0)])
    settings = GenerationConfig(do_sample=False, max_new_tokens=6, eos_token_id=2, pad_token_id=0)
    for example, prediction in zip(asked, together[0], strict=True):
        ids = torch.tensor([example.prompt])
        written = base.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        text = base.tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)
        assert prediction.text == text
        assert prediction.predicted == own.task.parse(text)
    kinds = Counter(prediction.predicted is None for prediction in together[0])
    assert kinds[True] == 60 if steps == 0 else kinds[False] > 0, kinds
    method.detach()


def _lane(index: int) -> Any:
    from sweeper.training.stacked_lora import Lane

    return Lane(f"run{index}", 1, 1)


def test_label_likelihoods_equal_one_forward_per_label(llama_folder: Path) -> None:
    base = load_base_model(key(llama_folder))
    method = attach(base, [lora()], [0])
    warm_up(method)
    asked = labelled(20)
    encoded = Encoded(asked, 0, eos=2)
    own = CausalData(TwoLabels(base.tokenizer), [], [], 64, {Part.TEST: encoded}, 4, 0)  # type: ignore[arg-type]
    (predictions,) = CausalObjective(base, method).predict([0], [own], Part.TEST)
    for example, prediction in zip(asked, predictions, strict=True):
        for tokens, found in zip(LABELS, prediction.log_likelihoods, strict=True):
            ids = torch.tensor([[*example.prompt, *tokens]])
            method.use([_lane(0)])
            with torch.no_grad():
                logits = base.model(input_ids=ids).logits[0, len(example.prompt) - 1 : -1]
            expected = -functional.cross_entropy(logits, torch.tensor(tokens), reduction="sum")
            assert found == pytest.approx(float(expected), rel=1e-4, abs=1e-5)
    method.detach()


def test_answers_of_any_length_are_measured_and_proved_in_slices(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Open answers: every example has candidates of its own, some of them what the model really writes."""
    base = load_base_model(key(llama_folder))
    method = attach(base, [lora()], [0])
    warm_up(method)
    method.use([_lane(0)])
    rng = random.Random(3)
    settings = GenerationConfig(do_sample=False, max_new_tokens=6, eos_token_id=2, pad_token_id=0)
    asked = []
    for example in examples(12, seed=7):
        ids = torch.tensor([example.prompt])
        written = base.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        tokens = written[0, ids.shape[1] :].tolist()
        made_up = [rng.randrange(3, 60) for _ in range(rng.randrange(1, 9))]
        asked.append(EncodedExample(example.id, example.prompt, [], None, candidates=[made_up, tokens]))
    ends = {prediction.candidates[1][-1] for prediction in asked}  # the last token stands for the end of the sequence
    asked = [replace(one, candidates=[one.candidates[0], one.candidates[1][:-1]]) for one in asked]
    own = CausalData(TwoLabels(base.tokenizer), [], [], 64, {Part.TEST: Encoded(asked, 0, eos=2)}, 6, 0)  # type: ignore[arg-type]
    monkeypatch.setattr(CausalObjective, "_ends", lambda *_: ends)
    (whole,) = CausalObjective(base, method).predict([0], [own], Part.TEST)
    monkeypatch.setattr(scoring, "MAX_LOGITS", 5 * base.model.config.vocab_size)
    monkeypatch.setattr(causal, "generate", _nothing_is_left_to_generate)
    (sliced,) = CausalObjective(base, method).predict([0], [own], Part.TEST)
    for example, one, other in zip(asked, whole, sliced, strict=True):
        assert one.text == other.text == base.tokenizer.decode(list(example.candidates[1]), skip_special_tokens=True)
        assert one.log_likelihoods == pytest.approx(other.log_likelihoods, rel=1e-5, abs=1e-5)
        assert one.num_tokens == len(example.candidates[0])
        for tokens, found in zip(example.candidates, one.log_likelihoods, strict=True):
            method.use([_lane(0)])
            with torch.no_grad():
                logits = base.model(input_ids=torch.tensor([[*example.prompt, *tokens]])).logits[0]
            read = logits[len(example.prompt) - 1 : -1]
            expected = -functional.cross_entropy(read, torch.tensor(list(tokens)), reduction="sum")
            assert found == pytest.approx(float(expected), rel=1e-4, abs=1e-4)
    method.detach()


def test_a_proved_answer_ends_where_generation_would(llama_folder: Path) -> None:
    base = load_base_model(key(llama_folder))
    method = attach(base, [lora()], [0])
    warm_up(method)
    method.use([_lane(0)])
    asked = []
    for example in examples(6, seed=9):
        ids, settings = torch.tensor([example.prompt]), GenerationConfig(do_sample=False, max_new_tokens=7)
        written = base.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        *tokens, end = written[0, ids.shape[1] :].tolist()
        asked.append((EncodedExample(example.id, example.prompt, [], None, candidates=[tokens]), end))
    for example, end in asked:
        own = CausalData(TwoLabels(base.tokenizer), [], [], 64, {Part.TEST: Encoded([example], 0, eos=end)}, 3, 0)  # type: ignore[arg-type]
        ((prediction,),) = CausalObjective(base, method).predict([0], [own], Part.TEST)
        assert prediction.text == base.tokenizer.decode(list(example.candidates[0][:3]), skip_special_tokens=True)
    method.detach()


def _nothing_is_left_to_generate(_model: Any, _tokenizer: Any, prompts: Any, **_settings: Any) -> list[str]:
    assert not prompts
    return []


def test_slices_of_the_logits_have_the_gradients_of_all_at_once(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = load_base_model(key(llama_folder, "float64"))
    method = attach(base, [lora()], [0])
    warm_up(method)
    objective, shown = CausalObjective(base, method), data(labelled(8))

    def gradients() -> list[torch.Tensor]:
        objective.loss_sums([Batch(0, shown, range(8), (0, 0, 0))]).sums.sum().backward()
        found = [weight.grad.clone() for weight in method.parameters(0).values() if weight.grad is not None]
        base.model.zero_grad(set_to_none=True)
        return found

    whole = gradients()
    monkeypatch.setattr(scoring, "MAX_LOGITS", 3 * base.model.config.vocab_size)
    sliced = gradients()
    assert len(whole) == len(sliced) > 0
    for one, other in zip(whole, sliced, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
    method.detach()


@pytest.mark.parametrize("sizes", [(60, 1), (1, 60), (1, 1)])
def test_a_run_with_few_examples_does_not_make_its_neighbours_forwards_large(
    llama_folder: Path, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int]
) -> None:
    base = load_base_model(key(llama_folder))
    method = attach(base, [lora(r=8), lora(r=2)], [0, 1])
    warm_up(method, (0, 1))
    objective = CausalObjective(base, method)
    owns = [
        CausalData(TwoLabels(base.tokenizer), [], [], 64, {Part.TEST: Encoded(labelled(size), 0, eos=2)}, 4, 0)  # type: ignore[arg-type]
        for size in sizes
    ]
    alone = [objective.predict([run], [own], Part.TEST)[0] for run, own in enumerate(owns)]
    monkeypatch.setattr(causal, "EVALUATION_TOKENS", 80)
    forwarded: list[int] = []
    read = CausalObjective._read

    def counted(self: CausalObjective, stacked: Any, lanes: Any) -> Any:
        forwarded.append(stacked.rows.num_tokens)
        return read(self, stacked, lanes)

    monkeypatch.setattr(CausalObjective, "_read", counted)
    together = objective.predict([0, 1], owns, Part.TEST)
    assert max(forwarded) < 2 * 80, forwarded
    for ours, theirs in zip(together, alone, strict=True):
        assert [prediction.text for prediction in ours] == [prediction.text for prediction in theirs]
        for left, right in zip(ours, theirs, strict=True):
            assert left.log_likelihoods == pytest.approx(right.log_likelihoods, rel=1e-4, abs=1e-5)
    method.detach()


@pytest.mark.filterwarnings("ignore:Position ids are not supported")
def test_learned_virtual_tokens_generate_as_in_peft(llama_folder: Path) -> None:
    base = load_base_model(key(llama_folder))
    tuning = {"name": "prompt", "method": "adapter", "type": "PROMPT_TUNING", "num_virtual_tokens": 5}
    method = attach(base, [PeftMethod.from_config(tuning)], [0])
    asked = labelled(20)
    own = CausalData(TwoLabels(base.tokenizer), shared_prefix([example.prompt for example in asked]), [], 64,
                     {Part.TEST: Encoded(asked, 0, eos=2)}, max_new_tokens=6, truncated=0)  # type: ignore[arg-type]  # fmt: skip
    (predictions,) = CausalObjective(base, method).predict([0], [own], Part.TEST)
    settings = GenerationConfig(do_sample=False, max_new_tokens=6, eos_token_id=2, pad_token_id=0)
    for example, prediction in zip(asked, predictions, strict=True):
        ids = torch.tensor([example.prompt])  # one prompt at a time: no padding for PEFT to place
        written = method.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        tokens = written[0, ids.shape[1] :] if written.shape[1] > 6 else written[0]
        assert prediction.text == base.tokenizer.decode(tokens, skip_special_tokens=True)
    method.detach()
