"""What the runs of a group train on their base model, and how it is saved.

A method attaches to the base model, names each run's parameters, and leaves the base model as it found it.
Plain LoRA serves any number of runs at once; every other method is a group of one through the same calls.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import PeftType
from safetensors.torch import save_file
from torch import Tensor, nn

from sweeper.checks import ConfigError
from sweeper.peft_method import PeftMethod
from sweeper.training.base_model import BaseModel, decoder_layers
from sweeper.training.stacked_lora import Lane, LoraStack, key_seed


class Method(Protocol):
    """`index` is the run's place in the group."""

    model: Any  # the base model, or PEFT's around it
    leaves_no_trace: bool  # whether the next group may have the same base model after `detach`

    def parameters(self, index: int) -> dict[str, nn.Parameter]:
        """Raises ConfigError where this run's method does not fit the base model."""

    def use(self, lanes: Sequence[Lane]) -> None:
        """Says which runs' rows the next forward holds."""

    def virtual_tokens(self, num_rows: int) -> Tensor | None:
        """[R, V, hidden] learned embeddings that precede every row, or None."""

    def save(self, index: int, artifacts: Path) -> None:
        """Writes `adapter/` in PEFT's format, `model/` in Transformers', or the changed weights."""

    def detach(self) -> None: ...


def attach(base: BaseModel, methods: Sequence[PeftMethod], seeds: Sequence[int]) -> Method:
    """Puts one method per run on the base model, each initialised from its own seed."""
    first = methods[0]
    if base.key.num_labels is None and all(method.stackable for method in methods):
        return StackedLora(base, methods, seeds)
    assert len(methods) == 1, "only plain LoRA runs share a forward"
    single: Method = SINGLE[first.method](base, first, seeds[0])
    return single


class Frozen:
    """`none`: the base model as it is."""

    leaves_no_trace = True

    def __init__(self, base: BaseModel, method: PeftMethod, seed: int) -> None:
        if base.fresh_weights and method.method == "none":
            raise ConfigError("peft", "none", f"{base.key.location} has no trained classification head to evaluate",
                              "train one, or set task.head=false")  # fmt: skip
        self.base = base
        self.model: Any = base.model

    def parameters(self, index: int) -> dict[str, nn.Parameter]:
        return {name: weight for name, weight in self.base.model.named_parameters() if weight.requires_grad}

    def use(self, lanes: Sequence[Lane]) -> None:
        key = lanes[0].dropout_key
        self.model.train(key is not None)
        if key is not None:  # PyTorch's own dropout layers draw from the global generator
            torch.manual_seed(key_seed(key))

    def virtual_tokens(self, num_rows: int) -> Tensor | None:
        return None

    def save(self, index: int, artifacts: Path) -> None:
        """Nothing was trained, so nothing is written."""

    def detach(self) -> None:
        self.base.model.requires_grad_(False)


class FullWeights(Frozen):
    """`full`: every weight of the base model."""

    leaves_no_trace = False

    def __init__(self, base: BaseModel, method: PeftMethod, seed: int) -> None:
        super().__init__(base, method, seed)
        initialise_fresh(base, seed)
        base.model.requires_grad_(True)

    def save(self, index: int, artifacts: Path) -> None:
        self.base.model.save_pretrained(artifacts / "model")
        self.base.tokenizer.save_pretrained(artifacts / "model")


class LastLayer(Frozen):
    """`last_layer`: one decoder layer, by index, and a classification head that the checkpoint did not bring."""

    leaves_no_trace = False

    def __init__(self, base: BaseModel, method: PeftMethod, seed: int) -> None:
        super().__init__(base, method, seed)
        layers = decoder_layers(base.model)
        if not -len(layers) <= method.layer < len(layers):
            raise ConfigError("peft.layer", method.layer, f"this model has layers 0 to {len(layers) - 1}")
        initialise_fresh(base, seed)
        base.model.requires_grad_(False)
        layers[method.layer].requires_grad_(True)
        for name in base.fresh_weights:
            base.model.get_parameter(name).requires_grad_(True)

    def save(self, index: int, artifacts: Path) -> None:
        folder = artifacts / "changed_weights"
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: weight.detach().contiguous().cpu() for name, weight in self.parameters(0).items()},
                  folder / "model.safetensors")  # fmt: skip
        reference = {"base_model": self.base.key.location, "revision": self.base.key.revision}
        (folder / "reference.json").write_text(json.dumps(reference, indent=1), encoding="utf-8")


class Adapter(Frozen):
    """Any PEFT type, through PEFT's own forward."""

    leaves_no_trace = False  # PEFT's unload keeps a trained head, and a prompt's wrapper

    def __init__(self, base: BaseModel, method: PeftMethod, seed: int) -> None:
        super().__init__(base, method, seed)
        initialise_fresh(base, seed)
        self.peft_model, _ = _add_adapters(base, [method], [seed])
        self.model = self.peft_model
        if self.peft_model.peft_config[adapter_name(0)].is_prompt_learning:
            _refuse_key_value_prompts(self.peft_model.peft_config[adapter_name(0)])

    def parameters(self, index: int) -> dict[str, nn.Parameter]:
        marked = _marked(adapter_name(index))
        return {
            name: weight
            for name, weight in self.peft_model.named_parameters()
            if weight.requires_grad and marked in f".{name}."
        }

    def virtual_tokens(self, num_rows: int) -> Tensor | None:
        if not self.peft_model.peft_config[adapter_name(0)].is_prompt_learning:
            return None
        prompts: Tensor = self.peft_model.get_prompt(batch_size=num_rows)
        return prompts

    def save(self, index: int, artifacts: Path) -> None:
        folder, scratch = artifacts / "adapter", artifacts / "adapter.partial"
        self.peft_model.save_pretrained(str(scratch), selected_adapters=[adapter_name(index)])
        shutil.rmtree(folder, ignore_errors=True)
        (scratch / adapter_name(index)).replace(folder)  # PEFT puts a named adapter one folder down
        shutil.rmtree(scratch)

    def detach(self) -> None:
        if hasattr(self.peft_model.base_model, "unload"):
            self.peft_model.unload()
        super().detach()


class StackedLora(Adapter):
    """Plain LoRA for K runs in one forward."""

    leaves_no_trace = True

    def __init__(self, base: BaseModel, methods: Sequence[PeftMethod], seeds: Sequence[int]) -> None:
        Frozen.__init__(self, base, methods[0], seeds[0])
        initialise_fresh(base, seeds[0])
        self.peft_model, self.refused = _add_adapters(base, methods, seeds)
        self.peft_model.eval()  # see stacked_lora: the frozen weights drop nothing
        self.model = self.peft_model.get_base_model()
        self.stack = LoraStack(self.peft_model)
        for index in range(len(methods)):
            for weight in _adapter_weights(self.peft_model, adapter_name(index)).values():
                weight.requires_grad_(True)  # PEFT freezes all but the adapter that it calls active

    def parameters(self, index: int) -> dict[str, nn.Parameter]:
        if index in self.refused:
            raise self.refused[index]
        return super().parameters(index)

    def use(self, lanes: Sequence[Lane]) -> None:
        self.stack.lanes = lanes

    def virtual_tokens(self, num_rows: int) -> Tensor | None:
        return None

    def detach(self) -> None:
        self.stack.close()
        super().detach()


SINGLE: dict[str, Any] = {"none": Frozen, "full": FullWeights, "last_layer": LastLayer, "adapter": Adapter}


def adapter_name(index: int) -> str:
    """Name of a run's adapter inside the group's PEFT model."""
    return f"run{index}"


def _marked(name: str) -> str:
    return f".{name}."


def _adapter_weights(model: PeftModel, name: str) -> dict[str, nn.Parameter]:
    return {key: weight for key, weight in model.named_parameters() if _marked(name) in f".{key}."}


def _add_adapters(
    base: BaseModel, methods: Sequence[PeftMethod], seeds: Sequence[int]
) -> tuple[PeftModel, dict[int, ConfigError]]:
    """An adapter for every run whose method fits the base model, and why the others' do not.

    Raises ConfigError where none fits.
    """
    model: PeftModel | None = None
    refused: dict[int, ConfigError] = {}
    for index, (method, seed) in enumerate(zip(methods, seeds, strict=True)):
        with torch.random.fork_rng():
            torch.manual_seed(seed)  # PEFT draws from the global generator
            try:
                model = _add_adapter(base, model, _peft_config(base, method), index)
            except ConfigError as error:
                refused[index] = error
    if model is None:
        raise refused[0]
    return model, refused


def _add_adapter(base: BaseModel, model: PeftModel | None, config: PeftConfig, index: int) -> PeftModel:
    try:
        if model is None:
            made: PeftModel = get_peft_model(base.model, config, adapter_name=adapter_name(index))
            return made
        model.add_adapter(adapter_name(index), config)
    except ValueError as error:
        raise ConfigError("peft.type", PeftType(config.peft_type).value, str(error).splitlines()[0]) from error
    return model


def _peft_config(base: BaseModel, method: PeftMethod) -> PeftConfig:
    assert method.type is not None
    task_type = "CAUSAL_LM" if base.key.num_labels is None else "SEQ_CLS"
    options = dict(method.options)
    if PeftType(method.type) is PeftType.PROMPT_TUNING and options.get("prompt_tuning_init") == "TEXT":
        options.setdefault("tokenizer_name_or_path", base.key.location)
    try:
        config: PeftConfig = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(method.type)](task_type=task_type, **options)
    except (TypeError, ValueError) as error:
        raise ConfigError("peft", method.name, str(error).splitlines()[0]) from error
    config.base_model_name_or_path = base.key.location
    return config


def _refuse_key_value_prompts(config: PeftConfig) -> None:
    if config.peft_type not in (PeftType.PROMPT_TUNING, PeftType.P_TUNING):
        raise ConfigError("peft.type", config.peft_type, "learns keys and values, which packed rows do not carry",
                          "use PROMPT_TUNING or P_TUNING")  # fmt: skip


def initialise_fresh(base: BaseModel, seed: int) -> None:
    """Draws the weights that the checkpoint did not bring (a new classification head) from the run's seed."""
    generator = torch.Generator().manual_seed(seed)
    std = getattr(base.model.config, "initializer_range", 0.02)
    with torch.no_grad():
        for name in base.fresh_weights:
            weight = base.model.get_parameter(name)
            drawn = torch.zeros(weight.shape)
            if weight.ndim > 1:
                drawn.normal_(0.0, std, generator=generator)
            weight.copy_(drawn)
