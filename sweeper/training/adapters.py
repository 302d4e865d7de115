"""PEFT's adapters inside a base model: made from a run's config, named by its place in the group, taken off again."""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import PeftType
from safetensors.torch import load_file
from torch import nn

from sweeper.checks import ConfigError
from sweeper.peft_method import PeftMethod
from sweeper.training.base_model import HEADS, BaseModel


def adapter_name(index: int) -> str:
    """Name of a run's adapter inside the group's PEFT model."""
    return f"run{index}"


def adapter_weights(model: PeftModel, index: int) -> dict[str, nn.Parameter]:
    marked = f".{adapter_name(index)}."
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad and marked in f".{name}."}


def add_adapter(base: BaseModel, model: PeftModel | None, method: PeftMethod, *, index: int, seed: int) -> PeftModel:
    """`model` with one adapter more; None stands for a base model without any.

    Raises ConfigError where the method does not fit. PEFT may then have gone half of the way: `remove_adapter`.
    """
    config = _peft_config(base, method)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # PEFT draws from the global generator
        try:
            if model is None:
                made: PeftModel = get_peft_model(base.model, config, adapter_name=adapter_name(index))
                return made
            model.add_adapter(adapter_name(index), config)
        except ValueError as error:
            raise ConfigError("peft.type", PeftType(config.peft_type).value, str(error).splitlines()[0]) from error
    return model


def load_adapter(model: PeftModel, index: int, folder: Path) -> None:
    """Gives the run's adapter the weights of another, saved by PEFT. Raises ConfigError where they do not fit."""
    saved, name = load_file(folder / "adapter_model.safetensors"), adapter_name(index)
    state = get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)
    own = {key: weight.shape for key, weight in state.items()}
    other = {key: weight.shape for key, weight in saved.items()}
    for key in sorted(own.keys() | other.keys()):
        if own.get(key) != other.get(key):
            shapes = [tuple(shape) if shape else "nothing" for shape in (other.get(key), own.get(key))]
            raise ConfigError("peft.start_from", folder, f"has {shapes[0]} for {key}, and this run {shapes[1]}",
                              "train with that adapter's own peft settings")  # fmt: skip
    set_peft_model_state_dict(model, saved, adapter_name=name)


def remove_adapter(base: BaseModel, model: PeftModel | None, index: int) -> PeftModel | None:
    """`model` without this adapter, and the base model's own layers back where no other is; None after the last."""
    name = adapter_name(index)
    for path, layer in list(base.model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.set_adapter([])  # else PEFT makes another one active, layer by layer, and warns of it
            layer.delete_adapter(name)
            if not layer._all_available_adapter_names():
                base.model.set_submodule(path, layer.get_base_layer())
    others = [other for other in model.peft_config if other != name] if model is not None else []
    if model is None or not others:
        vars(base.model).pop("peft_config", None)  # by which PEFT knows a model that it has been at
        return None
    model.peft_config.pop(name, None)
    model.set_adapter(others[0])
    return model


def refuse_key_value_prompts(config: PeftConfig) -> None:
    if config.is_prompt_learning and config.peft_type not in (PeftType.PROMPT_TUNING, PeftType.P_TUNING):
        raise ConfigError("peft.type", config.peft_type, "learns keys and values, which packed rows do not carry",
                          "use PROMPT_TUNING or P_TUNING")  # fmt: skip


def _linear_layers(base: BaseModel) -> list[str]:
    """Names of the linear layers below the head."""
    body = f"{base.model.base_model_prefix}."
    return [name for name, layer in base.model.named_modules()
            if isinstance(layer, nn.Linear) and name.startswith(body)]  # fmt: skip


def _peft_config(base: BaseModel, method: PeftMethod) -> PeftConfig:
    assert method.type is not None
    task_type = "CAUSAL_LM" if base.key.head is None else HEADS[base.key.head.kind][1]
    options = dict(method.options)
    if PeftType(method.type) is PeftType.PROMPT_TUNING and options.get("prompt_tuning_init") == "TEXT":
        options.setdefault("tokenizer_name_or_path", base.key.location)
    if options.get("target_modules") == "all-linear" and task_type == "QUESTION_ANS":
        options["target_modules"] = _linear_layers(base)  # PEFT's own list has the head in it, which is trained whole
    try:
        config: PeftConfig = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(method.type)](task_type=task_type, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError("peft", method.name, str(error).splitlines()[0]) from error
    config.base_model_name_or_path = base.key.location
    return config
