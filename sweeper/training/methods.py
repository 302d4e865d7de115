"""What the runs of a group train on their base model, and how it is saved.

A method names each run's parameters, and leaves the base model as it found it. Plain LoRA serves any number
of runs at once, who come and go; every other method is a group of one through the same calls.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import PeftModel
from safetensors.torch import save_file
from torch import Tensor, nn

from sweeper.checks import ConfigError
from sweeper.peft_method import PeftMethod
from sweeper.training import weight_updates
from sweeper.training.adapters import (
    adapter_name,
    adapter_weights,
    add_adapter,
    load_adapter,
    refuse_key_value_prompts,
    remove_adapter,
)
from sweeper.training.base_model import BaseModel, decoder_layers
from sweeper.training.stacked_lora import Lane, LoraStack, key_seed
from sweeper.training.weight_updates import WeightUpdate


class Method(Protocol):
    """`index` is the run's place in the group."""

    model: Any  # the base model, or PEFT's around it
    leaves_no_trace: bool  # whether the next group may have the same base model after `detach`

    def add(self, index: int, method: PeftMethod, seed: int) -> None:
        """Puts one run's method on the base model, initialised from the run's own seed.

        Raises ConfigError where it does not fit; `remove` then clears up.
        """

    def start_from(self, index: int, adapter: Path) -> None:
        """Gives the run's adapter the weights of an earlier one. Raises ConfigError where they do not fit."""

    def remove(self, index: int) -> None:
        """Frees what the run trained; the other runs do not notice."""

    def parameters(self, index: int) -> dict[str, nn.Parameter]: ...

    def use(self, lanes: Sequence[Lane]) -> None:
        """Says which runs' rows the next forward holds."""

    def virtual_tokens(self, num_rows: int) -> Tensor | None:
        """[R, V, hidden] learned embeddings that precede every row, or None."""

    def updates(self, index: int) -> list[WeightUpdate]:
        """Of the base model's weights that the run can have changed, against the model as it was loaded."""

    def save(self, index: int, artifacts: Path) -> None:
        """Writes `adapter/` in PEFT's format, `model/` in Transformers', or the changed weights."""

    def detach(self) -> None: ...


def method_for(base: BaseModel, method: PeftMethod) -> Method:
    """For a group that begins with a run of this method; every run is still to be added."""
    if base.key.head is None and method.stackable:
        return StackedLora(base)
    single: Method = SINGLE[method.method](base)
    return single


class Frozen:
    """`none`: the base model as it is."""

    leaves_no_trace = True

    def __init__(self, base: BaseModel) -> None:
        self.base = base
        self.model: Any = base.model
        self._before: dict[str, Tensor] = {}  # weights that are trained themselves, as they were loaded

    def add(self, index: int, method: PeftMethod, seed: int) -> None:
        assert index == 0, "only plain LoRA runs share a forward"
        if self.base.fresh_weights and method.method == "none":
            raise ConfigError("peft", "none", f"{self.base.key.location} has no trained head "
                              "to evaluate", "train one: peft=full, say")  # fmt: skip
        initialise_fresh(self.base, seed)

    def start_from(self, index: int, adapter: Path) -> None:
        raise AssertionError("only an adapter goes on from an earlier one")

    def remove(self, index: int) -> None:
        """The group of one ends with its run: `detach`."""

    def parameters(self, index: int) -> dict[str, nn.Parameter]:
        return {name: weight for name, weight in self.base.model.named_parameters() if weight.requires_grad}

    def use(self, lanes: Sequence[Lane]) -> None:
        key = lanes[0].dropout_key
        self.model.train(key is not None)
        if key is not None:  # PyTorch's own dropout layers draw from the global generator
            torch.manual_seed(key_seed(key))

    def virtual_tokens(self, num_rows: int) -> Tensor | None:
        return None

    def updates(self, index: int) -> list[WeightUpdate]:
        return weight_updates.compared(self._before, self.parameters(index))

    def save(self, index: int, artifacts: Path) -> None:
        """Nothing was trained, so nothing is written."""

    def detach(self) -> None:
        self.base.model.requires_grad_(False)


class FullWeights(Frozen):
    """`full`: every weight of the base model."""

    leaves_no_trace = False

    def add(self, index: int, method: PeftMethod, seed: int) -> None:
        super().add(index, method, seed)
        self.base.model.requires_grad_(True)
        self._before = weight_updates.copied(self.parameters(index))

    def save(self, index: int, artifacts: Path) -> None:
        self.base.model.save_pretrained(artifacts / "model")
        self.base.tokenizer.save_pretrained(artifacts / "model")


class LastLayer(Frozen):
    """`last_layer`: one decoder layer, by index, and a classification head that the checkpoint did not bring."""

    leaves_no_trace = False

    def add(self, index: int, method: PeftMethod, seed: int) -> None:
        super().add(index, method, seed)
        layers = decoder_layers(self.base.model)
        if not layers:
            raise ConfigError("peft.method", "last_layer", "this model has no list of layers")
        if not -len(layers) <= method.layer < len(layers):
            raise ConfigError("peft.layer", method.layer, f"this model has layers 0 to {len(layers) - 1}")
        self.base.model.requires_grad_(False)
        layers[method.layer].requires_grad_(True)
        for name in self.base.fresh_weights:
            self.base.model.get_parameter(name).requires_grad_(True)
        self._before = weight_updates.copied(self.parameters(index))

    def save(self, index: int, artifacts: Path) -> None:
        folder = artifacts / "changed_weights"
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: weight.detach().contiguous().cpu() for name, weight in self.parameters(0).items()},
                  folder / "model.safetensors")  # fmt: skip
        reference = {"base_model": self.base.key.location, "revision": self.base.commit or self.base.key.revision}
        (folder / "reference.json").write_text(json.dumps(reference, indent=1), encoding="utf-8")


class Adapter(Frozen):
    """Any PEFT type, through PEFT's own forward."""

    leaves_no_trace = False  # PEFT's unload keeps a trained head, and a prompt's wrapper

    def __init__(self, base: BaseModel) -> None:
        super().__init__(base)
        self.peft_model: PeftModel | None = None
        self._originals: dict[str, nn.Module] = {}  # whose weights the adapter rewrites as it is made

    def add(self, index: int, method: PeftMethod, seed: int) -> None:
        super().add(index, method, seed)
        if method.rewrites_base:
            self._originals = weight_updates.copied_modules(self.base.model)
        self.model = self.peft_model = add_adapter(self.base, None, method, index=index, seed=seed)
        refuse_key_value_prompts(self.model.peft_config[adapter_name(index)])

    def start_from(self, index: int, adapter: Path) -> None:
        assert self.peft_model is not None, "a run is added first"
        load_adapter(self.peft_model, index, adapter)

    def parameters(self, index: int) -> dict[str, nn.Parameter]:
        assert self.peft_model is not None, "a run is added first"
        return adapter_weights(self.peft_model, index)

    def updates(self, index: int) -> list[WeightUpdate]:
        return weight_updates.adapted(self.base.model, adapter_name(index), self._originals)

    def virtual_tokens(self, num_rows: int) -> Tensor | None:
        if not self.model.peft_config[adapter_name(0)].is_prompt_learning:
            return None
        prompts: Tensor = self.model.get_prompt(batch_size=num_rows)
        return prompts

    def save(self, index: int, artifacts: Path) -> None:
        assert self.peft_model is not None, "a run is added first"
        folder, scratch = artifacts / "adapter", artifacts / "adapter.partial"
        # No token is ever added here, which PEFT would ask the hub about otherwise.
        self.peft_model.save_pretrained(
            str(scratch), selected_adapters=[adapter_name(index)], save_embedding_layers=False
        )
        shutil.rmtree(folder, ignore_errors=True)
        (scratch / adapter_name(index)).replace(folder)  # PEFT puts a named adapter one folder down
        shutil.rmtree(scratch)

    def detach(self) -> None:
        if hasattr(getattr(self.peft_model, "base_model", None), "unload"):
            self.model.unload()
        super().detach()


class StackedLora(Adapter):
    """Plain LoRA for K runs in one forward."""

    leaves_no_trace = True

    def __init__(self, base: BaseModel) -> None:
        super().__init__(base)
        self.stack = LoraStack(base.model)

    def add(self, index: int, method: PeftMethod, seed: int) -> None:
        assert method.stackable, "only plain LoRA runs share a forward"
        self.peft_model = add_adapter(self.base, self.peft_model, method, index=index, seed=seed)
        self.stack.cover()

    def remove(self, index: int) -> None:
        self.peft_model = remove_adapter(self.base, self.peft_model, index)
        self.stack.cover()

    def use(self, lanes: Sequence[Lane]) -> None:
        self.stack.lanes = lanes

    def virtual_tokens(self, num_rows: int) -> Tensor | None:
        return None

    def detach(self) -> None:
        self.stack.close()
        if self.peft_model is not None:
            self.peft_model.unload()
        Frozen.detach(self)


SINGLE: dict[str, Any] = {"none": Frozen, "full": FullWeights, "last_layer": LastLayer, "adapter": Adapter}


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
