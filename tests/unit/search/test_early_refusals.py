"""What a worker would refuse after seconds of imports is refused before anything is written."""

from __future__ import annotations

import dataclasses
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants

from sweeper.checks import ConfigError
from sweeper.config import Architecture, ModelConfig, RunConfig, TaskConfig
from sweeper.search import model_files
from sweeper.search.plan import plan_text
from sweeper.search.study import Sweep

MakeSweep = Callable[..., Sweep]


def refused(make_sweep: MakeSweep, message: str, *overrides: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_sweep(*overrides)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        ("adamw_troch", "train.optimizer=adamw_troch: not one of Transformers' names"),
        ("adamw_troch", "did you mean 'adamw_torch'?"),
        ("NAdm", "did you mean 'NAdam'?"),
        ("LBFGS", "that takes lr and weight_decay; known: adamw_torch,"),
        ("Optimizer", "not one of Transformers' names"),
        ("GlobalOptimManager", "not one of Transformers' names"),
    ],
)
def test_an_optimizer_that_does_not_exist(make_sweep: MakeSweep, optimizer: str, message: str) -> None:
    refused(make_sweep, message, f"train.optimizer={optimizer}")


@pytest.mark.parametrize("optimizer", ["adamw_torch", "paged_adamw_32bit", "NAdam", "AdamW", "Lion8bit", "AdEMAMix"])
def test_an_optimizer_that_exists_passes(make_sweep: MakeSweep, optimizer: str) -> None:
    assert make_sweep(f"train.optimizer={optimizer}").base.train.optimizer == optimizer


def test_an_argument_that_the_optimizer_does_not_take(make_sweep: MakeSweep) -> None:
    message = "train.optimizer_args.amsgradd=True: AdamW does not take it; did you mean 'amsgrad'?"
    refused(make_sweep, message, "train.optimizer_args.amsgradd=true")
    refused(make_sweep, "NAdam does not take it", "train.optimizer=NAdam", "train.optimizer_args.amsgrad=true")


def test_a_sweep_without_rows_to_judge_by(make_sweep: MakeSweep) -> None:
    refused(make_sweep, "task.selection_size=0: a sweep judges its trials by eval/accuracy", "task.selection_size=0")
    assert make_sweep("task.selection_size=0", is_sweep=False).is_single


@pytest.mark.parametrize(("name", "key"), [("lr", "learning_rate"), ("weight_decay", "weight_decay")])
def test_an_argument_of_the_optimizer_that_has_a_key_of_its_own(make_sweep: MakeSweep, name: str, key: str) -> None:
    message = f"train.optimizer_args.{name}=0.5: would replace train.{key}; set train.{key}"
    refused(make_sweep, message, f"train.optimizer_args={{{name}:0.5}}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{n_startup_trials:x}"], "TPESampler cannot draw with them ('<' not supported between"),
        (["{n_startup_trials:x}", "hydra.sweeper.sampler=cmaes"], "CmaEsSampler cannot draw with them"),
        (["{n_startup_trial:3}"], "unknown to TPESampler; did you mean 'n_startup_trials'?"),
        (["{seed:3}"], "unknown to TPESampler"),
        (["{population_size:-1}", "hydra.sweeper.sampler=nsgaii"], "NSGAIISampler refuses them (`population_size`"),
    ],
)
def test_an_argument_that_the_sampler_does_not_take(
    make_sweep: MakeSweep, tmp_path: Path, arguments: list[str], message: str
) -> None:
    space = ("train.learning_rate=interval(1e-5,1e-3)", "hydra.sweeper.n_trials=2", f"output_dir={tmp_path / 'new'}")
    refused(make_sweep, message, *space, f"hydra.sweeper.sampler_args={arguments[0]}", *arguments[1:])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("sqlite:///", "names no database file; use sqlite:///<folder>/mlflow.db, or http://"),
        ("sqlite:///{folder}", "names no database file"),
        ("sqlite:///{folder}/text.db", "this file is no SQLite database"),
        ("sqlite:///{folder}/text.db/deeper/mlflow.db", "text.db is a file"),
        ("sqlite://", "neither an SQLite file nor a server"),
        ("ftp://server/x", "neither an SQLite file nor a server"),
        ("file:///{folder}", "MLflow keeps runs in plain folders no more"),
        ("mlruns", "MLflow keeps runs in plain folders no more"),
        ("http://", "names no server"),
        ("http://server:port", "names no server"),
        ("sqlite:////" + "x" * 300 + "/mlflow.db", "File name too long"),
    ],
)
def test_a_tracking_uri_that_cannot_be_used(make_sweep: MakeSweep, tmp_path: Path, uri: str, message: str) -> None:
    (tmp_path / "text.db").write_text("no database at all", encoding="utf-8")
    refused(make_sweep, message, f"tracking_uri='{uri.format(folder=tmp_path)}'")


@pytest.mark.parametrize("uri", ["sqlite:///{folder}/new/mlflow.db", "http://127.0.0.1:5000", "https://server/mlflow"])
def test_a_tracking_uri_that_can_be_used(make_sweep: MakeSweep, tmp_path: Path, uri: str) -> None:
    assert make_sweep(f"tracking_uri='{uri.format(folder=tmp_path)}'").base.tracking_uri


@pytest.mark.parametrize("name", ["mlflow.db", "optuna.db"])
def test_an_output_folder_with_something_else_in_a_databases_place(
    make_sweep: MakeSweep, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("no database at all", encoding="utf-8")
    refused(make_sweep, f"{name} in it is no SQLite database; move it away", f"output_dir={tmp_path}")


def test_an_output_folder_with_empty_databases_passes(make_sweep: MakeSweep, tmp_path: Path) -> None:
    for name in ("mlflow.db", "optuna.db"):
        (tmp_path / name).touch()
    assert make_sweep(f"output_dir={tmp_path}").num_trials == 1


def test_a_file_that_is_not_used_may_have_a_databases_name(make_sweep: MakeSweep, tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database at all", encoding="utf-8")
    assert make_sweep(f"output_dir={tmp_path}", "tracking_uri=http://127.0.0.1:5000").num_trials == 1


def test_an_output_folder_that_is_a_file(make_sweep: MakeSweep, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    refused(make_sweep, "taken is a file; name a folder", f"output_dir={tmp_path / 'taken' / 'deeper'}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task.prompt.user='{sentnce} is'"], "task.prompt.user={sentnce} is: "),
        (["task.prompt.user='{sentnce}'"], "has no column 'sentnce', only sentence, label; did you mean 'sentence'?"),
        (["task.prompt.system='{label_text}'"], "task.prompt.system={label_text}: "),
        (["task.data.text=sentences"], "task.data.text=sentences: "),
        (["task.data.label=labels"], "task.data.label=labels: "),
        (["task.prompt.answer='{lable}'"], "task.prompt.answer={lable}: a label's answer holds {label}"),
        (["task.type=clasification"], "did you mean 'classification'?"),
    ],
)  # fmt: skip
def test_a_prompt_that_does_not_fit_the_data(make_sweep: MakeSweep, overrides: list[str], message: str) -> None:
    refused(make_sweep, message, *overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["peft.target_modules=[query]"], "peft.target_modules=['query']: matches no module of this model"),
        (["peft.target_modules=[q_prj]"], "did you mean 'q_proj'?"),
        (["peft.target_modules=q_proj"], "matches no module of this model; write a list: [q_proj]"),
        (["peft.target_modules='['"], "no regular expression"),
        (["peft.target_modules=5"], "peft.target_modules=5: must be a pattern or a list of names"),
        (["peft.target_modules=[q_proj,5]"], "must be a pattern or a list of names"),
        (["peft.r=8,512"], "peft.r=512: larger than the full rank of every weight it would adapt; at most 256"),
        (["peft.target_modules=[v_proj]", "peft.r=200"], "at most 128"),
        (["peft=last_layer", "peft.layer=4"], "peft.layer=4: this model has 4 layers; from -4 to 3"),
    ],
)
def test_an_adapter_that_the_models_files_have_no_place_for(
    make_sweep: MakeSweep, overrides: list[str], message: str
) -> None:
    refused(make_sweep, message, *overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["peft.target_modules=[q_proj,v_proj]"],
        ["peft.target_modules=[layers.1.self_attn.q_proj]"],
        ["peft.target_modules='.*_proj'"],
        ["peft.target_modules=[lm_head]"],
        ["peft.target_modules=null"],
        ["peft.r=256"],
        ["peft=last_layer", "peft.layer=-4"],
    ],
)
def test_an_adapter_that_fits_passes(make_sweep: MakeSweep, overrides: list[str]) -> None:
    assert make_sweep(*overrides).num_trials == 1


def test_files_of_another_architecture_are_left_to_the_worker(make_sweep: MakeSweep, tmp_path: Path) -> None:
    header = json.dumps({"h.0.attn.weight": {"shape": [4, 4], "dtype": "F32", "data_offsets": [0, 64]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    for model_type, fits in (("unheard_of", True), ("llama", False)):
        folder = tmp_path / model_type
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}), encoding="utf-8")
        (folder / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes())
        command = ("peft.target_modules=[q_proj]", f"model.path={folder}")
        if fits:
            assert make_sweep(*command).num_trials == 1
        else:
            refused(make_sweep, "matches no module", *command)


def test_unreadable_weights_are_left_to_the_worker(make_sweep: MakeSweep, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 20)
    assert make_sweep("peft.target_modules=[nothing]", f"model.path={tmp_path}").num_trials == 1


def test_a_model_of_the_hub_without_a_copy_while_offline(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    message = "model.hub_id=meta-llama/Llama-3.2-1B: not on this machine, and HF_HUB_OFFLINE is set; set model.path="
    refused(make_sweep, message, "model=llama_3_2_1b")
    assert "meta-llama/Llama-3.2-1B: not on this machine" in plan_text(make_sweep("model=llama_3_2_1b", "plan=true"))
    copy = tmp_path / "models--meta-llama--Llama-3.2-1B" / "snapshots" / "abc"
    copy.mkdir(parents=True)
    (copy / "config.json").write_text("{}", encoding="utf-8")
    assert make_sweep("model=llama_3_2_1b").num_trials == 1
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert make_sweep("model=gemma_2_2b_it").num_trials == 1


def test_an_interval_over_whole_numbers(make_sweep: MakeSweep) -> None:
    refused(make_sweep, "must be a whole number", "train.max_steps=interval(20,400)", "hydra.sweeper.n_trials=3")
    make_sweep("train.max_steps=range(20,401)", "hydra.sweeper.n_trials=3")


HEADLESS = "peft.method=none: model=own has no trained head to evaluate; train one: peft=full, say"


@pytest.mark.parametrize(
    ("classes", "task_type", "is_refused"),
    [
        (["BertModel"], "classification", True),
        (["BertForMaskedLM"], "question_answering", True),
        (["BertForSequenceClassification"], "question_answering", True),
        (["BertForSequenceClassification"], "classification", False),
        (["BertForQuestionAnswering"], "question_answering", False),
        (None, "classification", False),  # only the worker can tell
    ],
)
def test_an_encoder_without_a_head_is_not_evaluated_as_it_is(
    tmp_path: Path, classes: list[str] | None, task_type: str, *, is_refused: bool
) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "bert"} | ({"architectures": classes} if classes else {}))
    )
    config = RunConfig(
        model=ModelConfig("own", Architecture.ENCODER, path=str(tmp_path)), task=TaskConfig(type=task_type)
    )
    assert refusal_of(config, "none") == (HEADLESS if is_refused else "")
    assert refusal_of(config, "full") == ""


def refusal_of(config: RunConfig, method: str) -> str:
    try:
        model_files.check(dataclasses.replace(config, peft={"name": method, "method": method}))
    except ConfigError as error:
        return str(error)
    return ""


def test_a_new_head_of_a_model_that_writes_is_not_evaluated_either(make_sweep: MakeSweep) -> None:
    message = "model=mini has no trained head to evaluate; train one: peft=full, say, or task.head=false"
    refused(make_sweep, message, "peft=none", "task.head=true")
    assert make_sweep("peft=none,full", is_sweep=True).num_trials == 2


@pytest.mark.parametrize(
    ("override", "fix"),
    [
        ("model=minilm", "choose a causal language model"),
        ("task.head=true", "set task.head=false"),
    ],
)
def test_a_head_cannot_write(make_sweep: MakeSweep, override: str, fix: str) -> None:
    refused(make_sweep, f"task.type=language_modeling: needs a model that writes; {fix}",
            "task=wikitext2", "peft=full", override)  # fmt: skip
