"""The typed configuration of one run: every key, its unit, its default and its rule.

Owns the meaning of `conf/`; knows nothing of Hydra's files and imports nothing heavy, so that a bad
value is refused in well under a second. YAML holds only differences from the defaults below.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

from sweeper.checks import ConfigError, at_least, one_of, positive
from sweeper.metrics import headline
from sweeper.task_config import FULL, DataConfig, LossOn, PromptConfig, Source, TaskConfig
from sweeper.train_config import TrainConfig

__all__ = [
    "AUTO", "FULL", "Architecture", "BudgetConfig", "DataConfig", "LossOn", "ModelConfig", "PromptConfig",
    "PromptStyle", "ReportConfig", "ResumeConfig", "RunConfig", "Source", "TaskConfig", "TrainConfig", "flatten",
    "run_config",
]  # fmt: skip

AUTO = "auto"
PACKAGE = "package:"  # model.path=package:<name>/<folder>: weights that an installed Python package carries


class Architecture(Enum):
    CAUSAL_LM = "causal_lm"
    ENCODER = "encoder"
    CLASSICAL = "classical"  # TF-IDF and a linear classifier of scikit-learn, fitted in one go


class PromptStyle(Enum):
    AUTO = "auto"  # the model's chat template where it has one, plain text where not
    CHAT = "chat"
    PLAIN = "plain"


@dataclass
class ModelConfig:
    name: str = "mini"  # what tables call it
    architecture: Architecture = Architecture.CAUSAL_LM
    hub_id: str | None = None  # repository on the Hugging Face hub
    revision: str | None = None  # commit or tag there
    path: str | None = None  # local folder, or package:<name>/<folder>; takes precedence over the hub
    digest: str | None = None  # of a local folder's files, found before the run starts: `sweeper.model_digest`
    embedded: bool = False  # the weights that ship inside the package
    dtype: str = "auto"  # auto | float32 | bfloat16 | float16 | float64, of the frozen weights
    attn_implementation: str | None = None  # eager | sdpa; None leaves the choice to Transformers
    prompt_style: PromptStyle = PromptStyle.AUTO
    num_parameters: int | None = None  # for `plan=true` before the weights are at hand
    estimator: str | None = None  # of a classical model: sweeper/classical_options.py
    options: dict[str, Any] = field(default_factory=dict)  # of a classical model: {tfidf: {...}, estimator: {...}}

    @property
    def folder(self) -> Path | None:
        """The local folder that `path` means, whether or not it is there."""
        if self.path is None or not self.path.startswith(PACKAGE):
            return None if self.path is None else Path(self.path)
        package, _, rest = self.path.removeprefix(PACKAGE).partition("/")
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        places = spec.submodule_search_locations if spec else None
        return Path(places[0]) / rest if places else Path(self.path)

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
        if self.architecture is Architecture.CLASSICAL:
            return  # nothing to load
        if not (self.embedded or self.path or self.hub_id):
            raise ConfigError("model.hub_id", None, "a model needs a hub_id or a path", "set model.path=<folder>")
        if self.folder and not (self.folder / "config.json").is_file():
            is_package = str(self.path).startswith(PACKAGE)
            fix = "install that package" if is_package else "name a Hugging Face model folder"
            raise ConfigError("model.path", self.path, "no config.json in this folder", fix)


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
class ReportConfig:
    """What `analysis.table` shows of an experiment; no number of a run hangs on it."""

    columns: list[str] = field(default_factory=list)  # metric names without their split; empty: the task's own
    published: list[dict[str, Any]] = field(default_factory=list)  # per row: `when` (axis -> value), `source`, metrics


HEAD_OF_TASK = {"classification": "labels", "question_answering": "span"}  # task.type -> `RunConfig.head`


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
    report: ReportConfig = field(default_factory=ReportConfig)
    scale: str = FULL  # of an experiment: `full`, or one of `scales`
    scales: dict[str, list[str]] = field(default_factory=dict)  # name -> the overrides that it stands for

    @property
    def metric_for_best_model(self) -> str:
        named = self.train.metric_for_best_model
        return headline(self.task.type) if named == AUTO else named

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
        _ = self.head  # refuses a task that none can do

    @property
    def head(self) -> str | None:
        """`labels` or `span`: what stands in place of the words; None for a model that writes.

        Raises ConfigError for a task that no head can do.
        """
        is_encoder = self.model.architecture is Architecture.ENCODER
        if not (self.task.head or is_encoder):
            return None
        asked = self.task.type
        if asked not in HEAD_OF_TASK:
            fix = "choose a causal language model" if is_encoder else "set task.head=false"
            raise ConfigError("task.type", asked, "needs a model that writes", fix)
        return HEAD_OF_TASK[asked]

    @property
    def makes_steps(self) -> bool:
        """Whether an optimiser trains it step by step: a zero-shot run and a classical model know none."""
        return self.peft.get("method", "none") != "none" and self.model.architecture is not Architecture.CLASSICAL

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
    {
        "replicates",
        "data_dir",
        "output_dir",
        "tracking_uri",
        "plan",
        "retry_failed",
        "resume",
        "budget",
        "report",
        "scale",
        "scales",
    }
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
