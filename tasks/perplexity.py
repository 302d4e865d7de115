"""How well running text is foreseen, as a metric module of `evaluate`: see `tasks.text_metrics`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import datasets

from tasks.text_metrics import InMemory


class Perplexity(InMemory):
    description = "Loss (nats per token), perplexity and bits per character of texts, from their log-likelihoods."
    predictions, references = datasets.Value("float64"), datasets.Value("string")

    def _compute(
        self, predictions: Sequence[float], references: Sequence[str], num_tokens: Sequence[int]
    ) -> dict[str, float]:
        """From each text's log-likelihood, in nats. A token weighs as much in a short text as in a long one."""
        nats = -math.fsum(predictions)
        loss = nats / sum(num_tokens)
        scores = {"loss": loss, "bits_per_character": nats / math.log(2) / sum(map(len, references))}
        try:
            return scores | {"perplexity": math.exp(loss)}
        except OverflowError:  # of a model that foresees nothing: more than a float holds, and the loss says it
            return scores
