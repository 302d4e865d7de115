"""`peft.start_from`: which earlier adapter a run goes on from, settled and checked before anything starts.

A run id, a folder with a PEFT adapter, or `last:<task name>` becomes a run id or a folder, and the digest of that
adapter's weights: both are part of what the run is. Reads JSON and the weights' bytes, never a tensor.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sweeper.atomic_json import read_json
from sweeper.checks import ConfigError, suggestion
from sweeper.config import RunConfig
from sweeper.peft_method import PeftMethod, adapter_fields, rewrites_base
from sweeper.search import model_files
from sweeper.tracking import earlier_adapter
from sweeper.tracking.damage import DamagedFile
from sweeper.tracking.lookup import completed
from sweeper.tracking.run_folder import RUNS, RunFolder, RunState

KEY, LAST = "peft.start_from", "last:"
WHERE = ("hub_id", "revision", "path", "embedded")  # keys of `model`, which say whose weights an adapter belongs to
# What an adapter computes hangs on these; their defaults are PEFT's.
DECIDING: dict[str, Any] = {
    "r": 8, "lora_alpha": 8, "alpha": 8, "use_rslora": False, "use_dora": False, "rank_pattern": {},
    "alpha_pattern": {}, "layers_to_transform": None, "num_virtual_tokens": None,
}  # fmt: skip


@dataclass
class Starts:
    """The adapters that one command's runs go on from; what `last:` means is settled once."""

    _settled: dict[str, tuple[str, str]] = field(default_factory=dict)  # asked, by model and place -> name, digest
    notes: list[str] = field(default_factory=list)  # for a person

    def settled(self, config: RunConfig) -> RunConfig:
        """With the name and the digest of the adapter. Raises ConfigError where it cannot go on from there."""
        asked = config.peft.get("start_from")
        if asked is None:
            return config
        key = json.dumps([asked, config.task.name, _whose(config.to_dict()["model"]), config.output_dir])
        if key not in self._settled:
            self._settled[key] = name, digest = _settle(config, str(asked))
            what = name if name == asked else f"{asked} is {name}"
            self.notes.append(f"{KEY}: {what} (adapter sha256 {digest[:12]})")
        name, digest = self._settled[key]
        if config.peft.get("start_digest") not in (None, digest):
            raise ConfigError("peft.start_digest", config.peft["start_digest"], f"the adapter of {name} has {digest}")
        _check_base(config, name)
        _check_fits(config, name)
        return replace(config, peft={**config.peft, "start_from": name, "start_digest": digest})


def _settle(config: RunConfig, asked: str) -> tuple[str, str]:
    """A run id or an absolute folder, and the digest of the adapter there."""
    runs = Path(config.output_dir) / RUNS
    name = _last(config, asked) if asked.startswith(LAST) else asked
    if (runs / name / "run.json").is_file():
        _check_run(config, RunFolder.open(runs / name))
    else:
        name = str(Path(name).expanduser().resolve())
    folder = earlier_adapter.folder_of(name, runs)
    for file in (earlier_adapter.CONFIG, earlier_adapter.WEIGHTS):
        if not (folder / file).is_file():
            known = [path.parent.name for path in runs.glob("*/run.json")]
            rule = f"no run of {runs}, and no folder with a PEFT adapter ({file})"
            fix = suggestion(asked, known) or f"name a run's id, a folder, or {LAST}<task name>"
            raise ConfigError(KEY, asked, rule if folder == Path(name) else f"left no {file}", fix)
    return name, earlier_adapter.digest(folder)


def _last(config: RunConfig, asked: str) -> str:
    """The id of the run of that task and this model that was completed last."""
    task = asked.removeprefix(LAST)
    if task == config.task.name:
        raise ConfigError(KEY, asked, "is these runs' own task, whose last run is soon another", "name a run's id")
    found = sorted(_complete(Path(config.output_dir) / RUNS, task, config))
    if not found:
        raise ConfigError(KEY, asked, f"no run of {task} with model={config.model.name} in {config.output_dir} is "
                          "complete and left an adapter",
                          f"train it first (task={task}, or an experiment of that task.name), or name a folder"
                          )  # fmt: skip
    return found[-1][1]


def _complete(runs: Path, task: str, config: RunConfig) -> Iterator[tuple[float, str]]:
    """When they ended, and their ids; a damaged folder is passed over: nobody asked for it by name."""
    model = _whose(config.to_dict()["model"])
    for path in runs.glob("*/run.json"):
        folder = RunFolder.open(path.parent)
        try:
            of = folder.identity.config
            fits = of["task"]["name"] == task and _whose(of["model"]) == model and _adapter(folder).is_file()
        except (DamagedFile, KeyError, TypeError):
            continue
        if fits and (time := completed(folder)) is not None:
            yield time, folder.run_id


def _adapter(folder: RunFolder) -> Path:
    return folder.artifacts / "adapter" / earlier_adapter.CONFIG


def _check_run(config: RunConfig, folder: RunFolder) -> None:
    if (state := folder.state()) is not RunState.COMPLETE:
        raise ConfigError(KEY, folder.run_id, f"is {state.value}", "take a complete run")
    if not _adapter(folder).is_file():
        raise ConfigError(KEY, folder.run_id, "left no adapter", "take a run that trained one")
    theirs, ours = folder.identity.config["model"], config.to_dict()["model"]
    for key in WHERE:
        if theirs.get(key) != ours[key] and not (key == "revision" and ours[key] == folder.model_commit()):
            rule = f"its adapter belongs to model={theirs['name']} with model.{key}={theirs.get(key)}, not {ours[key]}"
            raise ConfigError(KEY, folder.run_id, rule, "take a run of this model")


def _check_base(config: RunConfig, name: str) -> None:
    """Raises ConfigError where a run's adapter belongs to other weights that lay in the same folder."""
    runs, own = Path(config.output_dir) / RUNS, config.model.digest
    if own is None or not (runs / name / "run.json").is_file():
        return
    theirs = RunFolder.open(runs / name).identity.config["model"].get("digest")
    if theirs not in (None, own):
        digests = f"(model.digest={theirs[:12]}, not {own[:12]})"
        rule = f"its adapter belongs to other weights of {config.model.name} {digests}"
        raise ConfigError(KEY, name, rule, "take a run of this model")


def _whose(model: Mapping[str, Any]) -> list[Any]:
    return [model.get(key) for key in WHERE]


def _check_fits(config: RunConfig, name: str) -> None:
    """Raises ConfigError that names the first difference; the worker compares every tensor's name and shape."""
    method = PeftMethod.from_config(config.peft)
    saved = _saved(earlier_adapter.folder_of(name, Path(config.output_dir) / RUNS))
    if saved.get("peft_type") != method.type:
        raise _difference("type", method.type, saved.get("peft_type"))
    if method.type == "P_TUNING":
        raise ConfigError("peft.type", method.type, "is saved without the encoder that makes its prompt",
                          "leave peft.start_from out, or use PROMPT_TUNING")  # fmt: skip
    for init in (method.options.get("init_lora_weights", True), saved.get("init_lora_weights", True)):
        if method.type == "LORA" and rewrites_base(init):
            raise ConfigError(KEY, name, f"init_lora_weights={init} rewrites the base model below the adapter",
                              "leave it out")  # fmt: skip
    for key in sorted(DECIDING.keys() & adapter_fields(str(method.type))):
        own, other = (options.get(key, DECIDING[key]) for options in (method.options, saved))
        if (own or None) != (other or None):
            raise _difference(key, own, other)
    _check_targets(config, method.options.get("target_modules"), saved.get("target_modules"))


def _check_targets(config: RunConfig, own: object, other: object) -> None:
    """By the modules that they name in the model's files; without those, two lists by their words."""
    adapted = [model_files.adapted(config.model, wanted) for wanted in (own, other)]
    listed = [set(wanted) if isinstance(wanted, list | tuple) else set() for wanted in (own, other)]
    if all(adapted) and adapted[0] != adapted[1]:
        raise _difference("target_modules", own, sorted({path.rpartition(".")[2] for path in adapted[1]}))
    if not all(adapted) and all(listed) and listed[0] != listed[1]:
        raise _difference("target_modules", own, sorted(listed[1]))


def _difference(key: str, own: object, other: object) -> ConfigError:
    shown = f"[{','.join(map(str, other))}]" if isinstance(other, list) else other
    return ConfigError(f"peft.{key}", own, f"the adapter of {KEY} has {shown}", f"set peft.{key}={shown}")


def _saved(folder: Path) -> dict[str, Any]:
    try:
        return dict(read_json(folder / earlier_adapter.CONFIG))
    except (OSError, ValueError) as error:
        raise ConfigError(KEY, folder, f"{earlier_adapter.CONFIG} cannot be read ({error})") from error
