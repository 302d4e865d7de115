"""The typed configuration of one run: every key, its unit, its default and its rule.

Owns the meaning of `conf/`; knows nothing of Hydra's files and imports nothing heavy, so that a bad
value is refused in well under a second. YAML holds only differences from the defaults below.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

FULL = "full"  # the train size that means every row of the training pool


class ConfigError(ValueError):
    """Bad input from a person: one line that names the key, the value, the rule and the fix."""

    def __init__(self, key: str, value: object, rule: str, fix: str = "") -> None:
        self.key, self.value, self.rule, self.fix = key, value, rule, fix
        super().__init__(f"{key}={value!s}: {rule}" + (f"; {fix}" if fix else ""))


class Architecture(Enum):
    CAUSAL_LM = "causal_lm"
    ENCODER = "encoder"


class PromptStyle(Enum):
    AUTO = "auto"  # the model's chat template where it has one, plain text where not
    CHAT = "chat"
    PLAIN = "plain"


class Source(Enum):
    AUTO = "auto"  # files under data_dir, then the hub, then (embedded model only) the demo data
    FILES = "files"
    HUB = "hub"
    DEMO = "demo"


class LossOn(Enum):
    ANSWER = "answer"
    ALL = "all"


@dataclass
class ModelConfig:
    name: str = "mini"  # what tables call it
    architecture: Architecture = Architecture.CAUSAL_LM
    hub_id: str | None = None  # repository on the Hugging Face hub
    revision: str | None = None  # commit or tag there
    path: str | None = None  # local folder, takes precedence over the hub
    embedded: bool = False  # the weights that ship inside the package
    dtype: str = "auto"  # auto | float32 | bfloat16 | float16 | float64, of the frozen weights
    attn_implementation: str | None = None  # eager | sdpa; None leaves the choice to Transformers
    prompt_style: PromptStyle = PromptStyle.AUTO
    num_parameters: int | None = None  # for `plan=true` before the weights are at hand

    @property
    def is_embedded(self) -> bool:
        """Whether the weights are this project's own, which alone may train on demo data."""
        return self.embedded and not self.path

    def validate(self) -> None:
        one_of("model.dtype", self.dtype, ("auto", "float32", "bfloat16", "float16", "float64"))
        if self.num_parameters is not None:
            at_least("model.num_parameters", self.num_parameters, 1)
        if self.attn_implementation is not None:
            one_of("model.attn_implementation", self.attn_implementation, ("eager", "sdpa"))
        if not (self.embedded or self.path or self.hub_id):
            raise ConfigError("model.hub_id", None, "a model needs a hub_id or a path", "set model.path=<folder>")
        if self.path and not (Path(self.path) / "config.json").is_file():
            raise ConfigError("model.path", self.path, "no config.json in this folder",
                              "name a Hugging Face model folder")  # fmt: skip


@dataclass
class DataConfig:
    source: Source = Source.AUTO
    hub_id: str | None = None
    hub_name: str | None = None  # the hub's configuration ("subset") of the data set
    revision: str | None = None  # commit or tag there
    hub_splits: dict[str, str] = field(default_factory=dict)  # ours (train, test) -> the hub's
    files: dict[str, list[str]] = field(default_factory=dict)  # split -> candidate paths below data_dir
    text: str = "text"  # column
    label: str = "label"  # column


@dataclass
class PromptConfig:
    system: str = ""
    user: str = "{text}"  # {column} placeholders
    answer: str = " {label}"


@dataclass
class TaskConfig:
    name: str = "sst2"
    type: str = "classification"
    data: DataConfig = field(default_factory=DataConfig)
    labels: list[str] = field(default_factory=list)  # index = class number
    prompt: PromptConfig = field(default_factory=PromptConfig)
    head: bool = False  # classification head instead of a generated label; encoders always have one
    loss_on: LossOn = LossOn.ANSWER
    train_size: Any = FULL  # rows, or "full"
    selection_size: int = 1000  # rows held out of the training file to choose checkpoints and hyperparameters
    test_size: Any = FULL  # rows of the reporting split
    subset_seed: int = 0  # freezes the splits, apart from the run's own seed
    max_length: int = 256  # tokens of one example, its prompt and answer together
    too_long: str = "error"  # error | truncate (the text loses its end; counted in data/truncated)
    max_new_tokens: int = 10  # of a generated answer

    def validate(self) -> None:
        if not self.name.strip():
            raise ConfigError("task.name", self.name, "must not be empty", "MLflow's experiment is called by it")
        for key, size in (("task.train_size", self.train_size), ("task.test_size", self.test_size)):
            if size != FULL and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
                raise ConfigError(key, size, "must be a positive whole number of rows or 'full'")
        at_least("task.selection_size", self.selection_size, 0)
        at_least("task.max_length", self.max_length, 8)
        at_least("task.max_new_tokens", self.max_new_tokens, 1)
        one_of("task.too_long", self.too_long, ("error", "truncate"))
        if self.type == "classification" and len(set(self.labels)) < 2:
            raise ConfigError("task.labels", self.labels, "a classification needs at least two different labels")


@dataclass
class TrainConfig:
    epochs: float = 1.0
    min_steps: int = 0  # optimiser steps: a small training set is repeated until it reaches them
    max_steps: int | None = None  # optimiser steps: cuts the run short
    batch_size: int = 16  # examples per optimiser step
    gradient_accumulation_steps: int = 1  # forwards that share one optimiser step
    row_tokens: int = 512  # tokens of one packed row; a longer example has a row alone
    learning_rate: float = 2e-4
    optimizer: str = "adamw_torch"  # Transformers' names, or torch.optim.X / bitsandbytes.optim.X by class name
    optimizer_args: dict[str, Any] = field(default_factory=dict)
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0  # 0 switches clipping off
    lr_scheduler_type: str = "linear"  # Transformers' names
    lr_scheduler_args: dict[str, Any] = field(default_factory=dict)  # see LR_SCHEDULERS
    warmup_steps: float = 0.0  # optimiser steps, or below 1 a share of all
    logging_steps: int = 10  # optimiser steps between two points of the training curve
    eval_every: Any = "end"  # end | epoch | a number of optimiser steps, on the selection split; always at the end
    save_every: Any = 200  # epoch | never | a number of optimiser steps: checkpoints to resume from
    early_stopping_patience: int | None = None  # evaluations without improvement
    load_best_model_at_end: bool = False
    metric_for_best_model: str = "eval/accuracy"

    def validate(self) -> None:
        positive("train.epochs", self.epochs)
        positive("train.learning_rate", self.learning_rate)
        for key in ("batch_size", "gradient_accumulation_steps", "logging_steps"):
            at_least(f"train.{key}", getattr(self, key), 1)
        at_least("train.row_tokens", self.row_tokens, 16)
        for key in ("min_steps", "weight_decay", "max_grad_norm", "warmup_steps"):
            at_least(f"train.{key}", getattr(self, key), 0)
        if self.max_steps is not None:
            at_least("train.max_steps", self.max_steps, 1)
        if self.gradient_accumulation_steps > self.batch_size:
            raise ConfigError("train.gradient_accumulation_steps", self.gradient_accumulation_steps,
                              f"cannot exceed train.batch_size={self.batch_size}")  # fmt: skip
        self._validate_schedule()
        self._validate_intervals()

    def _validate_schedule(self) -> None:
        name, given = self.lr_scheduler_type, self.lr_scheduler_args
        one_of("train.lr_scheduler_type", name, LR_SCHEDULERS)
        for key, value in given.items():
            where = f"train.lr_scheduler_args.{key}"
            if key not in LR_SCHEDULERS[name]:
                raise ConfigError(where, value, f"{name} does not take it", suggestion(key, LR_SCHEDULERS[name]))
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(where, value, "must be a number")
            at_least(where, value, 0)
        if (needed := NEEDED_BY_LR_SCHEDULERS.get(name)) and needed not in given:
            raise ConfigError(f"train.lr_scheduler_args.{needed}", None, f"{name} needs it", "set it to 0.1, say")

    def _validate_intervals(self) -> None:
        for key, word in (("eval_every", "end"), ("save_every", "never")):
            value = getattr(self, key)
            if value not in ("epoch", word) and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(f"train.{key}", value, f"must be 'epoch', '{word}' or a positive number of steps")
        selects = self.load_best_model_at_end or self.early_stopping_patience is not None
        if selects and self.eval_every == "end":
            raise ConfigError("train.eval_every", "end", "choosing a checkpoint needs evaluations", "set it to epoch")
        if self.early_stopping_patience is not None:
            at_least("train.early_stopping_patience", self.early_stopping_patience, 1)


@dataclass
class RunConfig:
    """Everything that decides what one run computes, and where it is kept."""

    model: ModelConfig = field(default_factory=ModelConfig)
    task: TaskConfig = field(default_factory=TaskConfig)
    peft: dict[str, Any] = field(default_factory=dict)  # see `sweeper.peft_method.PeftMethod`
    train: TrainConfig = field(default_factory=TrainConfig)
    seed: int = 0
    replicates: int = 1  # the same point again under seed, seed + 1, ...
    data_dir: str | None = None  # folder of data files; $SWEEPER_DATA
    output_dir: str = "mlruns"
    tracking_uri: str | None = None  # sqlite:///<output_dir>/mlflow.db unless given
    plan: bool = False  # print what would be trained, train nothing
    retry_failed: bool = False  # a resumed sweep runs its failed trials again; else a failure is final

    def validate(self) -> None:
        self.model.validate()
        self.task.validate()
        self.train.validate()
        at_least("replicates", self.replicates, 1)
        selects = self.train.load_best_model_at_end or self.train.early_stopping_patience is not None
        if selects and not self.task.selection_size:
            raise ConfigError("task.selection_size", 0, "choosing a checkpoint needs a selection split")
        if not 0 <= self.seed < 2**32:
            raise ConfigError("seed", self.seed, "must lie in [0, 2**32)")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, nested by group."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=lambda value: value.value))
        return plain

    def content_hash(self) -> str:
        """Sixty-four hex digits that change with anything that can change the run's numbers."""
        content = {key: value for key, value in self.to_dict().items() if key not in VOLATILE}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


VOLATILE = frozenset({"replicates", "data_dir", "output_dir", "tracking_uri", "plan", "retry_failed"})

# Transformers' names, and what each takes in lr_scheduler_args: numbers. num_decay_steps below 1 is a share of all.
LR_SCHEDULERS: dict[str, tuple[str, ...]] = {
    "linear": (), "cosine": ("num_cycles",), "cosine_with_restarts": ("num_cycles",), "polynomial": ("lr_end", "power"),
    "constant": (), "constant_with_warmup": (), "inverse_sqrt": ("timescale",),
    "cosine_with_min_lr": ("min_lr_rate", "num_cycles"),
    "warmup_stable_decay": ("num_decay_steps", "min_lr_ratio", "num_cycles"),
}  # fmt: skip
NEEDED_BY_LR_SCHEDULERS = {"cosine_with_min_lr": "min_lr_rate", "warmup_stable_decay": "num_decay_steps"}


def one_of(key: str, value: str, allowed: Iterable[str]) -> None:
    names = sorted(allowed)
    if value not in names:
        raise ConfigError(key, value, f"not one of {', '.join(names)}", suggestion(value, names))


def at_least(key: str, value: float, minimum: float) -> None:
    if not math.isfinite(value) or value < minimum:
        raise ConfigError(key, value, f"must be at least {minimum}")


def positive(key: str, value: float) -> None:
    if not math.isfinite(value) or value <= 0:
        raise ConfigError(key, value, "must be greater than 0")


def suggestion(wrong: str, names: Iterable[str]) -> str:
    """`did you mean 'x'?` for the nearest name, or nothing where none is near."""
    near = difflib.get_close_matches(str(wrong), list(names), n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else ""


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"train": {"epochs": 1}}` as `{"train.epochs": 1}`; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat


def run_config(values: Mapping[str, Any]) -> RunConfig:
    """The RunConfig that `RunConfig.to_dict` came from."""
    config: RunConfig = _restored(RunConfig, values)
    return config


def _restored(cls: type[Any], values: Mapping[str, Any]) -> Any:
    types = get_type_hints(cls)
    restored = {}
    for key, value in values.items():
        expected = types[key]
        if dataclasses.is_dataclass(expected):
            value = _restored(expected, value)  # type: ignore[arg-type]
        elif isinstance(expected, type) and issubclass(expected, Enum):
            value = expected(value)
        restored[key] = value
    return cls(**restored)
