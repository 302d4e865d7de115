"""Texts that a chat model writes to prompts, in batches: greedy at first, sampled when asked again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import GenerationConfig

from sweeper.checks import ConfigError
from sweeper.config import PromptStyle, RunConfig
from sweeper.peft_method import PeftMethod
from sweeper.training.base_model import BaseKey, BaseModel, load_base_model
from sweeper.training.generation import configured_ends, generate, greedy
from tasks.chat import renderer
from tasks.prompting import token_ids
from tasks.task import Prompt

# Of a text that is asked for again, as the greedy one would be the same. No model's own settings count, for sampling
# or against repetition: every model writes by the same rules, and its first attempt is as greedy as in evaluation.
SAMPLED = {"do_sample": True, "temperature": 0.7, "top_p": 0.95, "top_k": 0}


@dataclass
class ChatWriter:
    """See `tasks.answer_pairs.Writer`."""

    base: BaseModel
    max_new_tokens: int
    style: PromptStyle = PromptStyle.AUTO
    seed: int = 0

    @classmethod
    def load(cls, config: RunConfig, *, max_new_tokens: int) -> ChatWriter:
        """The model of the config, in the numbers of its method. Raises ConfigError where it cannot be loaded."""
        base = load_base_model(BaseKey.of(config, PeftMethod.from_config(config.peft)))
        return cls(base, max_new_tokens, config.model.prompt_style, config.seed)

    def __call__(self, prompts: Sequence[Prompt], *, attempt: int) -> list[str]:
        asked = self._tokens(prompts)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed + attempt)
            return generate(self.base.model, self.base.tokenizer, asked, settings=self._settings(attempt))

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Raises ConfigError where a prompt and its answer are more than the model reads."""
        tokenizer, config = self.base.tokenizer, self.base.model.config.get_text_config()
        limit = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", tokenizer.model_max_length))
        longest = max(map(len, self._tokens(prompts)), default=0)
        if longest + self.max_new_tokens > limit:
            raise ConfigError("max_new_tokens", self.max_new_tokens,
                              f"the writer reads {limit:,} tokens, and a prompt alone has up to {longest:,}",
                              "set fewer, or cut smaller chunks: chunk_tokens=<n>")  # fmt: skip

    def _tokens(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        render = renderer(self.base.tokenizer, self.style)
        return [[*render.start, *tokens] for tokens in token_ids(render.texts(prompts), self.base.tokenizer)]

    def _settings(self, attempt: int) -> GenerationConfig:
        own = self.base.tokenizer.eos_token_id
        ends = configured_ends(self.base.model) | ({own} if own is not None else set())
        settings = greedy(self.base.tokenizer, ends=ends, max_new_tokens=self.max_new_tokens)
        if attempt:
            settings.update(**SAMPLED)
        return settings
