"""Where memory is short a forward holds less; what a step and an evaluation mean stays the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaForCausalLM

from sweeper.training import causal, head
from sweeper.training.causal import CausalObjective
from sweeper.training.head import HeadObjective
from tests.integration.training.small_runs import MakeConfig, Script, assert_same, folder_of, train_folders


def largest_forwards(patch: pytest.MonkeyPatch) -> dict[str, int]:
    """Filled while runs train: the most examples of one run in a training forward, the most rows of an evaluation."""
    largest = {"train": 0, "evaluate": 0}
    for kind in (CausalObjective, HeadObjective):
        losses = kind.loss_sums

        def counted(self: Any, batches: Any, losses: Any = losses) -> Any:
            largest["train"] = max(largest["train"], *(len(batch.indices) for batch in batches), 0)
            return losses(self, batches)

        patch.setattr(kind, "loss_sums", counted)
    read, logits = CausalObjective._read, HeadObjective._logits

    def count_tokens(self: Any, stacked: Any, lanes: Any) -> Any:
        if lanes[0].dropout_key is None:
            largest["evaluate"] = max(largest["evaluate"], stacked.rows.num_tokens)
        return read(self, stacked, lanes)

    def count_padded(self: Any, examples: Any, lane: Any) -> Any:
        if lane.dropout_key is None:
            largest["evaluate"] = max(largest["evaluate"], lane.rows * lane.width)
        return logits(self, examples, lane)

    patch.setattr(CausalObjective, "_read", count_tokens)
    patch.setattr(HeadObjective, "_logits", count_padded)
    return largest


# 64 rows in batches of 12: the last of an epoch has 4.
@pytest.mark.parametrize("case", [(1, 1.0, 12), (1, 0.25, 3), (2, 0.5, 3), (5, 0.25, 1)])
@pytest.mark.parametrize("task", [{}, {"head": True}], ids=["answer", "head"])
def test_a_smaller_share_of_memory_gives_the_same_run(
    make_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[int, float, int],
    task: dict[str, Any],
) -> None:
    pieces, share, expected = case
    monkeypatch.setattr(causal, "EVALUATION_TOKENS", 320)
    monkeypatch.setattr(head, "EVALUATION_TOKENS", 320)
    config = make_config(dtype="float64", batch_size=12, gradient_accumulation_steps=pieces, eval_every=5, task=task)
    short, whole = (folder_of(config, root=tmp_path / name) for name in ("short", "whole"))
    with monkeypatch.context() as during:
        largest = largest_forwards(during)
        train_folders([short], control=Script(memory_share=share))
    assert largest["train"] == expected
    limit = 320 * share
    assert limit / 2 < largest["evaluate"] <= limit * (1 if task else 1.3), "answers' forwards are even to an example"
    train_folders([whole])
    counted = ("perf/train_tokens", "perf/train_flops")  # with fewer examples a row the prefix comes more often
    assert all(short.summary()[name] >= whole.summary()[name] for name in counted)
    assert_same(short, whole, but=counted)
    started = short.last("started")
    assert started is not None
    assert started.get("memory_share", 1.0) == share
    assert ("memory_share" in started) == (share != 1)


def test_prompts_are_generated_fewer_at_a_time(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    generate = LlamaForCausalLM.generate

    def counted(self: Any, **options: Any) -> Any:
        sizes.append(len(options["inputs_embeds"]))
        return generate(self, **options)

    monkeypatch.setattr(LlamaForCausalLM, "generate", counted)
    config = make_config()
    config.peft = {"name": "none", "method": "none"}
    train_folders([folder_of(config)], control=Script(memory_share=0.125))
    assert max(sizes) == 8
