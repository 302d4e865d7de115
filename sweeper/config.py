"""The typed configuration of one run: every key, its unit, its default and its rule.

Owns the meaning of `conf/`; knows nothing of Hydra's files and imports nothing heavy, so that a bad
value is refused in well under a second. YAML holds only differences from the defaults below.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

from sweeper.checks import ConfigError, at_least, one_of, positive
from sweeper.train_config import TrainConfig

FULL = "full"  # the train size that means every row of the training pool


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
class ResumeConfig:
    allow_drift: bool = False  # an unfinished sweep goes on though its config, data or code has changed


@dataclass
class BudgetConfig:
    minutes: float | None = None  # of this command, after which no further trial is asked for

    def validate(self) -> None:
        if self.minutes is not None:
            positive("budget.minutes", self.minutes)


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
    resume: ResumeConfig = field(default_factory=ResumeConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)

    def validate(self) -> None:
        self.model.validate()
        self.task.validate()
        self.train.validate()
        self.budget.validate()
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


# What one run computes does not hang on these.
VOLATILE = frozenset(
    {"replicates", "data_dir", "output_dir", "tracking_uri", "plan", "retry_failed", "resume", "budget"}
)


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
