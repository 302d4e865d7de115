"""What a run learns to do: the keys of `task`, their units, defaults and rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from sweeper.checks import ConfigError, at_least, one_of

FULL = "full"  # the size that means every row there is
TYPES = ("classification", "question_answering", "language_modeling")


class Source(Enum):
    AUTO = "auto"  # files under data_dir, then the hub, then (embedded model only) the demo data
    FILES = "files"
    HUB = "hub"
    DEMO = "demo"


class LossOn(Enum):
    ANSWER = "answer"
    ALL = "all"


@dataclass
class DataConfig:
    source: Source = Source.AUTO
    hub_id: str | None = None
    hub_name: str | None = None  # the hub's configuration ("subset") of the data set
    revision: str | None = None  # commit or tag there
    hub_splits: dict[str, str] = field(default_factory=dict)  # ours (train, test) -> the hub's
    files: dict[str, list[str]] = field(default_factory=dict)  # split -> candidate paths below data_dir
    text: str = "text"  # column; the one that loses its end where an example is too long
    question: str = "question"  # column of question answering, whose `text` is the context
    label: str = "label"  # column of the label, or of a question's accepted answers
    id: str | None = None  # column of the rows' own names; null: rows are numbered
    rows: Any = FULL  # of a source with one file: so many, stratified, before they are split
    rows_per_label: int | None = None  # instead of `rows`: so many of every label, of texts that occur once
    test_share: float | None = None  # of the one file `train`, held out as the test split; null: there is a test file
    split_by: str | None = None  # column whose equal values stay on one side of every split, such as an article's title

    def validate(self) -> None:
        check_size("task.data.rows", self.rows)
        if self.test_share is not None and not 0 < self.test_share < 1:
            raise ConfigError("task.data.test_share", self.test_share, "must lie between 0 and 1", "0.2, say")
        if self.rows_per_label is not None:
            at_least("task.data.rows_per_label", self.rows_per_label, 1)
            if self.rows != FULL:
                raise ConfigError("task.data.rows_per_label", self.rows_per_label, "excludes task.data.rows",
                                  f"task.data.rows={FULL}, or task.data.rows_per_label=null")  # fmt: skip
        for key, count in (("rows", self.rows), ("rows_per_label", self.rows_per_label)):
            if count not in (FULL, None) and self.test_share is None:
                rule = "samples the one file of which task.data.test_share is set"
                fix = "with a test file of its own, set task.train_size and task.test_size"
                raise ConfigError(f"task.data.{key}", count, rule, fix)

    def test_rows(self, pool: int) -> int:
        """How many of so many rows `test_share` holds out; `split_by` may make it a few more or less.

        Raises ConfigError where that is not a single one.
        """
        assert self.test_share is not None
        count = round(self.test_share * pool)
        if not count:
            raise ConfigError("task.data.test_share", self.test_share, f"holds out none of {pool} rows")
        return count


@dataclass
class PromptConfig:
    system: str = ""
    user: str = "{text}"  # {column} placeholders
    answer: str = " {label}"  # {answer} in question answering
    no_answer: str | None = None  # what is written where a question has no answer; null: every question has one


@dataclass
class TaskConfig:
    name: str = "sst2"
    type: str = "classification"
    data: DataConfig = field(default_factory=DataConfig)
    labels: list[str] = field(default_factory=list)  # index = class number
    prompt: PromptConfig = field(default_factory=PromptConfig)
    metrics: list[str] = field(default_factory=list)  # further families of scores: bleu, meteor, rouge
    head: bool = False  # a head instead of a generated answer; encoders always have one
    loss_on: LossOn = LossOn.ANSWER
    train_size: Any = FULL  # rows, or "full"
    selection_size: int = 1000  # rows held out of the training file to choose checkpoints and hyperparameters
    test_size: Any = FULL  # rows of the reporting split
    score_train: bool = False  # measures the training rows as well, under fit/, whenever the selection split is
    subset_seed: int = 0  # freezes the splits, apart from the run's own seed
    max_length: int = 256  # tokens of one example, its prompt and answer together; of one block of running text
    too_long: str = "error"  # error | truncate (the text, or a question's answer, loses its end: data/truncated)
    max_new_tokens: int = 10  # of a generated answer, or of one that a head cuts out

    def validate(self) -> None:
        if not self.name.strip():
            raise ConfigError("task.name", self.name, "must not be empty", "MLflow's experiment is called by it")
        one_of("task.type", self.type, TYPES)
        self.data.validate()
        check_size("task.train_size", self.train_size)
        check_size("task.test_size", self.test_size)
        at_least("task.selection_size", self.selection_size, 0)
        at_least("task.max_length", self.max_length, 8)
        at_least("task.max_new_tokens", self.max_new_tokens, 1)
        one_of("task.too_long", self.too_long, ("error", "truncate"))
        self._validate_type()

    def _validate_type(self) -> None:
        if self.type == "classification" and len(set(self.labels)) < 2:
            raise ConfigError("task.labels", self.labels, "a classification needs at least two different labels")
        if self.type != "classification" and self.data.rows_per_label is not None:
            raise ConfigError("task.data.rows_per_label", self.data.rows_per_label, f"task.type={self.type} has no "
                              "labels", "sample it with task.data.rows")  # fmt: skip
        if self.type != "classification" and self.labels:
            raise ConfigError("task.labels", self.labels, f"task.type={self.type} has none", "leave them out")
        if self.type == "language_modeling" and self.prompt != PromptConfig():
            raise ConfigError("task.prompt", "...", f"task.type={self.type} reads the text as it is", "leave it out")
        families = TEXT_METRICS if self.type == "question_answering" else ()
        for name in self.metrics:
            if name not in families:
                known = ", ".join(families) or "none"
                raise ConfigError("task.metrics", name, f"task.type={self.type} can add {known}")


TEXT_METRICS = ("bleu", "meteor", "rouge")  # of written answers, beside exact match and F1


def check_size(key: str, size: object) -> None:
    """Raises ConfigError."""
    if size != FULL and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise ConfigError(key, size, "must be a positive whole number of rows or 'full'")
