"""What is trained: the `peft` group, typed and checked against PEFT's own configuration classes.

A method is `none`, `full`, `last_layer` or `adapter`; an adapter is any PEFT type by name, and every
further key of the group is that type's own. PEFT takes seconds to import, so its source is read, not run.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from sweeper.checks import ConfigError, one_of, suggestion

METHODS = ("none", "full", "last_layer", "adapter")
OWN_KEYS = ("name", "method", "type", "layer", "quantization", "start_from", "start_digest")
OF_AN_ADAPTER = ("start_from", "start_digest")


@dataclass
class Quantization:
    type: str = "none"  # none | nf4
    double: bool = True  # quantise the quantisation constants as well
    keep_dequantized: str = "auto"  # auto | always | never: the 16-bit copy that saves dequantising each step

    def validate(self) -> None:
        one_of("peft.quantization.type", self.type, ("none", "nf4"))
        one_of("peft.quantization.keep_dequantized", self.keep_dequantized, ("auto", "always", "never"))


@dataclass
class PeftMethod:
    name: str = "none"
    method: str = "none"
    type: str | None = None  # PEFT's PeftType, of an adapter
    layer: int = -1  # decoder layer of last_layer, from 0; negative counts from the end
    quantization: Quantization = field(default_factory=Quantization)
    start_from: str | None = None  # an earlier adapter: run id below output_dir, folder, or last:<task name>
    start_digest: str | None = None  # sha256 of its weights, found before the run starts: `search.start_from`
    options: dict[str, Any] = field(default_factory=dict)  # keyword arguments of the PEFT type's config class

    @classmethod
    def from_config(cls, group: Mapping[str, Any]) -> PeftMethod:
        """Raises ConfigError for an unknown method, PEFT type or key."""
        own = {key: value for key, value in group.items() if key in OWN_KEYS}
        quantization = _quantization(own.pop("quantization", None) or {})
        options = {key: value for key, value in group.items() if key not in OWN_KEYS}
        method = cls(**own, quantization=quantization, options=options)
        method.validate()
        return method

    def validate(self) -> None:
        one_of("peft.method", self.method, METHODS)
        self.quantization.validate()
        if self.method in ("full", "last_layer") and self.quantization.type != "none":
            raise ConfigError("peft.quantization.type", self.quantization.type, f"{self.method} trains the weights")
        if self.start_from is not None and self.method != "adapter":
            raise ConfigError("peft.start_from", self.start_from, f"peft.method={self.method} has no adapter to go on "
                              "from", "set peft=lora, say")  # fmt: skip
        group = {"method": self.method, "type": self.type}
        names = keys(group)
        for key, value in self.options.items():
            if key not in names:
                raise unknown_key(group, key, value)
        _check_ranges(self.options)
        _check_targets(self.options.get("target_modules"))

    @property
    def stackable(self) -> bool:
        """Whether runs of this method can share a forward: plain LoRA, whatever the ranks."""
        excluded = ("use_dora", "use_qalora", "modules_to_save", "trainable_token_indices", "layer_replication",
                    "alora_invocation_tokens", "use_bdlora", "arrow_config", "target_parameters", "lora_bias",
                    "velora_config", "monteclora_config")  # fmt: skip
        plain_start = self.options.get("init_lora_weights", True) in (True, False, "gaussian", "orthogonal")
        plain = not any(self.options.get(key) for key in excluded) and self.options.get("bias", "none") == "none"
        return self.type == "LORA" and plain and plain_start

    @property
    def rewrites_base(self) -> bool:
        """Whether the base model's weights are others once the adapter is made."""
        return self.type == "LORA" and rewrites_base(self.options.get("init_lora_weights", True))


def rewrites_base(init_lora_weights: object) -> bool:
    """As PiSSA does, which moves a part of each weight into the adapter."""
    return init_lora_weights not in (True, False, None, "gaussian", "orthogonal", "eva")


def keys(group: Mapping[str, Any]) -> frozenset[str]:
    """The keys of the `peft` group that mean anything to the method which the group describes."""
    if group.get("method") == "adapter":
        return adapter_fields(group.get("type") or "") | set(OWN_KEYS) - {"layer"}
    return frozenset(OWN_KEYS).difference(OF_AN_ADAPTER) - (set() if group.get("method") == "last_layer" else {"layer"})


@cache
def every_key() -> frozenset[str]:
    """The keys of the `peft` group that mean anything to some method."""
    return frozenset(OWN_KEYS).union(*_peft_configs().values())


def unknown_key(group: Mapping[str, Any], key: str, value: object) -> ConfigError:
    """With the nearest key that the method has."""
    is_adapter = group.get("method") == "adapter"
    whose = f"peft.type={group.get('type')}" if is_adapter else f"peft.method={group.get('method', 'none')}"
    return ConfigError(f"peft.{key}", value, f"unknown key for {whose}", suggestion(key, sorted(keys(group))))


def _quantization(group: Mapping[str, Any]) -> Quantization:
    for key in group:
        if key not in Quantization.__dataclass_fields__:
            raise ConfigError(f"peft.quantization.{key}", group[key], "unknown key",
                              suggestion(key, Quantization.__dataclass_fields__))  # fmt: skip
    return Quantization(**group)


def _check_ranges(options: Mapping[str, Any]) -> None:
    for key in ("r", "num_virtual_tokens"):
        if key in options and (not isinstance(options[key], int) or options[key] < 1):
            raise ConfigError(f"peft.{key}", options[key], "must be a positive whole number")
    if "lora_alpha" in options and not options["lora_alpha"] > 0:
        raise ConfigError("peft.lora_alpha", options["lora_alpha"], "must be greater than 0")
    if "lora_dropout" in options and not 0 <= options["lora_dropout"] < 1:
        raise ConfigError("peft.lora_dropout", options["lora_dropout"], "must lie in [0, 1)")


def _check_targets(wanted: object) -> None:
    names = wanted if isinstance(wanted, list | tuple) else [wanted]
    if wanted is not None and not all(isinstance(name, str) for name in names):
        raise ConfigError("peft.target_modules", wanted, "must be a pattern or a list of names", "[q_proj,v_proj], say")


@cache
def adapter_fields(peft_type: str) -> frozenset[str]:
    """Names that the PEFT type's config class takes. Raises ConfigError for a type that PEFT does not have."""
    configs = _peft_configs()
    one_of("peft.type", peft_type, configs)
    return configs[peft_type]


@cache
def _peft_configs() -> dict[str, frozenset[str]]:
    """PEFT type -> the fields of its config class and of that class's bases, from PEFT's source."""
    spec = importlib.util.find_spec("peft")
    assert spec is not None, "peft is a dependency"
    assert spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0])
    classes: dict[str, ast.ClassDef] = {}
    for path in (root / "config.py", *sorted(root.glob("tuners/*/config.py"))):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                classes[node.name] = node
    types = {name: _assigned_peft_type(node) for name, node in classes.items()}
    return {peft_type: frozenset(_fields(name, classes)) for name, peft_type in types.items() if peft_type}


def _fields(name: str, classes: Mapping[str, ast.ClassDef]) -> set[str]:
    if name not in classes:
        return set()
    node = classes[name]
    own = {
        item.target.id for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
    }
    return own.union(*(_fields(base.id, classes) for base in node.bases if isinstance(base, ast.Name)))


def _assigned_peft_type(node: ast.ClassDef) -> str | None:
    """`X` of the line `self.peft_type = PeftType.X`."""
    for statement in ast.walk(node):
        if (
            isinstance(statement, ast.Assign)
            and isinstance(statement.targets[0], ast.Attribute)
            and statement.targets[0].attr == "peft_type"
            and isinstance(statement.value, ast.Attribute)
        ):
            return statement.value.attr
    return None
