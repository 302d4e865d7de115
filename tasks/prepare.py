"""`python -m tasks.prepare`: a task's data set as a model reads it, prompt and answer, as Parquet files.

    python -m tasks.prepare task=sst2 out=prepared/sst2
    python -m tasks.prepare task=squad_v2 out=prepared/squad model=llama_3_2_1b      through its chat template
    python -m tasks.prepare task=sst2 task.train_size=1000 out=prepared/sst2-1k push=me/sst2-prompts

out      a new folder: train.parquet, selection.parquet, test.parquet, and dataset.json, which says what they are
push     <user or organisation>/<name> of a data set on the Hugging Face hub, made where it is not there yet
private  true | false: of a data set that push makes now; false unless given
model    whose chat template the prompts go through, where it has one; plain text unless given

Every other word is an override of the config, as of `python -m sweeper`. Columns: id, prompt, answer, text (both), and
label, the class number, of a classification. The splits are those that a run with this config has, scale=... included;
where a scale lists several values of a key of the task, say which: task.train_size=500.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sweeper import arguments, hub_upload
from sweeper.__main__ import in_one_line, open_hydra
from sweeper.checks import ConfigError
from sweeper.config import PromptStyle, RunConfig
from sweeper.search import overrides as command_line
from sweeper.search.command import CONFIG_NAME, read_command
from sweeper.search.scales import scaled
from sweeper.tracking import places
from tasks import chat, sources, template

if TYPE_CHECKING:
    import pandas as pd
    from hydra.core.override_parser.types import Override

    from tasks.splits import Splits

DESCRIPTION = "dataset.json"
OWN_KEYS = ("out", "push", "private")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code, as of `python -m sweeper`."""
    return in_one_line(list(sys.argv[1:] if argv is None else argv), prepare)


def prepare(words: list[str]) -> int:
    if arguments.asks_for_help(words):
        print((__doc__ or "").partition("\n\n")[2])
        return 0
    own = [word for word in words if word.partition("=")[0] in OWN_KEYS]
    given = arguments.parse(own, OWN_KEYS, needs=("out",), program="tasks.prepare")
    _check_target(Path(given["out"]))
    private = arguments.switch(given, "private")
    if "push" in given:
        hub_upload.check_name("push", given["push"])
        hub_upload.check_online("push", given["push"], "leave push out")
    elif "private" in given:
        raise ConfigError("private", given["private"], "says how push makes a data set", "push=me/my-name, say")
    overrides = [word for word in words if word not in own]
    has_model = any(word.partition("=")[0].partition(".")[0] == "model" for word in overrides)
    config = _config(overrides, has_model=has_model)
    source = sources.resolve(config.task, config.data_dir, embedded_model=config.model.is_embedded)
    splits = sources.load(source, config.task)
    frames = tables(config, splits, _texts(config) if has_model else plain)
    _write(Path(given["out"]), frames, description(config, splits, frames, has_model=has_model))
    for split, frame in frames.items():
        print(f"{len(frame):>8,} rows  {Path(given['out']) / split}.parquet")
    if "push" in given:
        print(_push(Path(given["out"]), list(frames), given["push"], private=private))
    return 0


def plain(prompts: Sequence[Any]) -> list[str]:
    return [chat.folded(prompt) for prompt in prompts]


def tables(config: RunConfig, splits: Splits, texts: Any) -> dict[str, pd.DataFrame]:
    """By split; one that has no rows is left out. `texts` makes prompts into what a model reads."""
    from tasks.splits import nested_subset

    task = config.task
    parts = {"train": nested_subset(splits.train, task.train_size, task.subset_seed), "selection": splits.selection,
             "test": splits.test}  # fmt: skip
    return {split: _table(config, rows, texts) for split, rows in parts.items() if len(rows)}


def description(
    config: RunConfig, splits: Splits, frames: Mapping[str, pd.DataFrame], *, has_model: bool
) -> dict[str, Any]:
    """What tells where the rows come from and how they became text."""
    task = config.to_dict()["task"]
    return {
        "task": task["name"],
        "source": splits.source,
        "digest": f"sha256:{splits.digest}",  # of all rows, whatever the size of the training subset
        "rows": {split: len(frame) for split, frame in frames.items()},
        "labels": task["labels"],
        "prompt": task["prompt"],
        "subset_seed": task["subset_seed"],
        "model": (config.model.hub_id or config.model.name) if has_model else None,  # whose chat template, if any
    }


def _config(overrides: Sequence[str], *, has_model: bool) -> RunConfig:
    """Checked as a run's is, its data included; a model that nobody asked for need not be at hand."""
    loader = open_hydra(None).config_loader
    own = command_line.parse(overrides, loader)
    command_line.check(own, loader, is_sweep=True)
    given = [override for override in scaled(own, loader, config_name=CONFIG_NAME)
             if override in own or _tells_of_data(override)]  # fmt: skip
    for override in given:
        if override.is_sweep_override():
            raise ConfigError(override.key_or_group, override.get_value_string(), "a data set is made with one value",
                              "give one of these")  # fmt: skip
    lines = [*command_line.settled(given), *([] if has_model else ["plan=true"])]
    return read_command(lines, loader, is_sweep=False).base


def _tells_of_data(override: Override) -> bool:
    """Not an axis of a scale along which the rows stay the same, such as `model=minilm,tfidf_svm`."""
    return not override.is_sweep_override() or override.key_or_group.partition(".")[0] == "task"


def _table(config: RunConfig, rows: pd.DataFrame, texts: Any) -> pd.DataFrame:
    import pandas as pd

    from tasks.prompting import Prompted
    from tasks.splits import ID, LABEL
    from tasks.task import load_task

    if config.task.type == "language_modeling":
        prompts = [""] * len(rows)
    else:
        prompts = texts(cast(Prompted, load_task(config.task)).prompts(rows))
    answers = _answers(config, rows)
    both = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    table = pd.DataFrame({ID: rows[ID].tolist(), "prompt": prompts, "answer": answers, "text": both}, dtype="str")
    if LABEL in rows:
        table[LABEL] = rows[LABEL].to_numpy()
    return table


def _answers(config: RunConfig, rows: pd.DataFrame) -> list[str]:
    """Of a question with several accepted answers the first, as training takes it."""
    from tasks.splits import ANSWERS, LABEL

    task = config.task
    if task.type == "classification":
        candidates = template.candidates(task)
        return [candidates[label] for label in rows[LABEL].tolist()]
    if task.type == "language_modeling":
        return list(rows[task.data.text].tolist())
    accepted = [json.loads(answers) for answers in rows[ANSWERS].tolist()]
    first = [answers[0]["text"] if answers else str(task.prompt.no_answer) for answers in accepted]
    return template.fill(template.parse("task.prompt.answer", task.prompt.answer), {"answer": first}, len(first))


def _texts(config: RunConfig) -> Any:
    """Of the model's own tokenizer: its chat template where it has one."""
    from sweeper.peft_method import PeftMethod
    from sweeper.training.base_model import BaseKey, load_tokenizer

    tokenizer = load_tokenizer(BaseKey.of(config, PeftMethod()))
    style = config.model.prompt_style
    rendered = chat.renderer(tokenizer, style)
    if style is PromptStyle.AUTO and not tokenizer.chat_template:
        print(f"{config.model.name} has no chat template: prompts are plain text", file=sys.stderr)
    return rendered.texts


def _check_target(out: Path) -> None:
    places.check_folder("out", out, out)
    if out.is_dir() and any(out.iterdir()):
        raise ConfigError("out", out, "is not empty", "name a new folder")


def _write(out: Path, frames: Mapping[str, pd.DataFrame], what: Mapping[str, Any]) -> None:
    """All files or none of them, also into a folder that is there: somebody may stand in it."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=out) as name:
        scratch = Path(name)
        for split, frame in frames.items():
            frame.to_parquet(scratch / f"{split}.parquet", index=False)
        (scratch / DESCRIPTION).write_text(json.dumps(what, indent=1, ensure_ascii=False), encoding="utf-8")
        for path in scratch.iterdir():
            path.rename(out / path.name)


def _push(out: Path, splits: Sequence[str], repo: str, *, private: bool) -> str:
    import datasets

    files = {split: str(out / f"{split}.parquet") for split in splits}
    with hub_upload.refusals("push", repo):
        datasets.DatasetDict.from_parquet(files).push_to_hub(repo, private=private)
    return f"pushed to https://huggingface.co/datasets/{repo}"


if __name__ == "__main__":
    sys.exit(main())
