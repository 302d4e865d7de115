"""Prompts as the text that a model reads: through its tokenizer's chat template, or plain.

Knows nothing of rows and token budgets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sweeper.checks import ConfigError
from sweeper.config import PromptStyle
from tasks.task import Prompt

# Llama 3's template prints today's date unless it is given one: a model trained today would be asked another
# prompt tomorrow. This is the date that the template itself falls back on.
DATE = "26 Jul 2024"


@dataclass(frozen=True)
class Renderer:
    texts: Callable[[Sequence[Prompt]], list[str]]  # each up to where the answer begins
    start: list[int]  # token ids before every text's own


def renderer(tokenizer: Any, style: PromptStyle) -> Renderer:
    """Raises ConfigError where a chat template is asked for and there is none, or it leaves out what it is given."""
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if style is PromptStyle.CHAT and not has_template:
        raise ConfigError("model.prompt_style", style.value, "this tokenizer has no chat template", "set it to plain")
    if style is not PromptStyle.PLAIN and has_template:
        return Renderer(_chat(tokenizer), start=[])
    bos = tokenizer.bos_token_id
    return Renderer(lambda prompts: [folded(prompt) for prompt in prompts], start=[] if bos is None else [int(bos)])


def _chat(tokenizer: Any) -> Callable[[Sequence[Prompt]], list[str]]:
    system_role = _takes_system_role(tokenizer)

    def texts(prompts: Sequence[Prompt]) -> list[str]:
        return _apply(tokenizer, [_messages(prompt, system_role) for prompt in prompts]) if prompts else []

    probe = Prompt("alpha", "omega")
    rendered = texts([probe])[0]
    if probe.system not in rendered or probe.user not in rendered:
        raise ConfigError("model.prompt_style", "chat", "this model's chat template leaves out part of the prompt",
                          "set it to plain")  # fmt: skip
    return texts


def _takes_system_role(tokenizer: Any) -> bool:
    """Gemma 2's template raises an error at a system message; others drop it without a word."""
    from jinja2.exceptions import TemplateError

    try:
        return "alpha" in _apply(tokenizer, [_messages(Prompt("alpha", "omega"), system_role=True)])[0]
    except TemplateError:
        return False


def _messages(prompt: Prompt, system_role: bool) -> list[dict[str, str]]:
    if system_role and prompt.system:
        return [{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}]
    return [{"role": "user", "content": folded(prompt)}]


def folded(prompt: Prompt) -> str:
    """The system text in front of the user's."""
    return f"{prompt.system}\n{prompt.user}" if prompt.system else prompt.user


def _apply(tokenizer: Any, conversations: list[list[dict[str, str]]]) -> list[str]:
    rendered: list[str] = tokenizer.apply_chat_template(
        conversations, tokenize=False, add_generation_prompt=True, date_string=DATE
    )
    return rendered
