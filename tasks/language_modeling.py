"""Running text: a model goes on learning from it, and is judged by how well it foresees text it has not seen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from sweeper.checks import ConfigError
from sweeper.config import TaskConfig
from tasks.encoded import Encoded, EncodedExample, Limits
from tasks.prompting import IDS_ONLY, check_tokenizer
from tasks.splits import ID
from tasks.task import Prediction

# A row and what becomes of it, with task.max_length=6:
#   text     "Light is refracted by glass", row train-000007
#   block 0  <s> | Light is refract ed            train-000007#0
#   block 1  <s> | by glass </s>                  train-000007#1
# Every token right of the bar is learnt. The perplexity is that of the text's own tokens: </s> is no text.

SAMPLES = 5  # blocks of lowest and of highest loss, each, that a person is shown


@dataclass(frozen=True)
class Block:
    tokens: list[int]
    text: str


class LanguageModelingTask:
    """See `tasks.task.Task`."""

    def __init__(self, config: TaskConfig) -> None:
        self.labels: list[str] = []
        self.text_column = config.data.text

    def encode(self, rows: pd.DataFrame, tokenizer: Any, limits: Limits) -> Encoded:
        """A text that is longer than `limits.max_length` becomes several examples; nothing of it is dropped."""
        eos = check_tokenizer(limits.max_length, tokenizer)
        bos = eos if tokenizer.bos_token_id is None else int(tokenizer.bos_token_id)
        room = limits.max_length - 2  # bos before, eos after
        examples = []
        for name, row_blocks in zip(rows[ID].tolist(), self._blocks(rows, tokenizer, room), strict=True):
            last = len(row_blocks) - 1
            for number, block in enumerate(row_blocks):
                answer = [*block.tokens, eos] if number == last else block.tokens
                examples.append(EncodedExample(f"{name}#{number}", [bos], answer, None, candidates=[block.tokens],
                                               block=block.text))  # fmt: skip
        return Encoded(examples, truncated=0, eos=eos, writes=False)

    def encode_for_head(self, rows: pd.DataFrame, tokenizer: Any, limits: Limits) -> Encoded:
        raise ConfigError("task.type", "language_modeling", "a head reads a text and writes none",
                          "choose a causal language model and task.head=false")  # fmt: skip

    def parse(self, text: str) -> int | None:
        return None

    def score(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        from tasks.perplexity import Perplexity

        found: dict[str, float] = Perplexity().compute(
            predictions=[prediction.log_likelihoods[0] for prediction in predictions],
            references=[prediction.block for prediction in predictions],
            num_tokens=[prediction.num_tokens for prediction in predictions],
        )
        return found

    def table(self, predictions: Sequence[Prediction]) -> pd.DataFrame:
        """id, text, loss (nats per token), num_tokens, num_characters."""
        return pd.DataFrame(
            {
                "id": pd.Series([prediction.id for prediction in predictions], dtype="str"),
                "text": pd.Series([prediction.block for prediction in predictions], dtype="str"),
                "loss": [-prediction.log_likelihoods[0] / prediction.num_tokens for prediction in predictions],
                "num_tokens": [prediction.num_tokens for prediction in predictions],
                "num_characters": [len(prediction.block) for prediction in predictions],
            }
        )

    def confusion(self, predictions: Sequence[Prediction]) -> None:
        return None

    def leave(self, predictions: Sequence[Prediction], artifacts: Path) -> None:
        """sample_blocks.json, in the layout of MLflow's tables: the blocks foreseen best and worst."""
        table = self.table(predictions).sort_values("loss", kind="stable")
        ends = table if len(table) <= 2 * SAMPLES else pd.concat([table.head(SAMPLES), table.tail(SAMPLES)])
        content = ends.to_dict(orient="split", index=False)
        (artifacts / "sample_blocks.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    def _blocks(self, rows: pd.DataFrame, tokenizer: Any, room: int) -> Iterator[list[Block]]:
        """Per row, its blocks of at most `room` tokens."""
        texts = rows[self.text_column].tolist()
        if not texts:
            return
        found = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, **IDS_ONLY)
        for name, text, tokens, spans in zip(
            rows[ID].tolist(), texts, found["input_ids"], found["offset_mapping"], strict=True
        ):
            if not tokens:
                raise ConfigError("model", tokenizer.name_or_path, f"its tokenizer makes no token of {name}",
                                  "delete that row")  # fmt: skip
            starts = range(0, len(tokens), room)
            edges = [0, *(spans[start][0] for start in starts[1:]), len(text)]  # a block's text begins with its tokens
            yield [
                Block(tokens[start : start + room], text[begin:end])
                for start, (begin, end) in zip(starts, pairwise(edges), strict=True)
            ]
