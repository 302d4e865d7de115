"""`peft.start_from` before anything starts: what it names, what it is settled to, and what does not fit."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeper.checks import ConfigError
from sweeper.config import RunConfig
from sweeper.launch.group import group_key
from sweeper.search.plan import plan_text
from sweeper.search.study import Sweep
from sweeper.tracking import earlier_adapter
from sweeper.tracking.run_folder import Reason, RunFolder, RunIdentity, RunState

MakeSweep = Callable[..., Sweep]
DATA = {"source": "files", "digest": "d" * 64}
ALL_LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTER: dict[str, Any] = {"peft_type": "LORA", "r": 16, "lora_alpha": 32, "target_modules": ALL_LINEAR,
                           "lora_dropout": 0.5, "use_dora": False, "init_lora_weights": True}  # fmt: skip


def save_adapter(folder: Path, content: bytes = b"weights", **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(ADAPTER | changes))
    (folder / "adapter_model.safetensors").write_bytes(content)
    return folder


@pytest.fixture
def earlier(make_sweep: MakeSweep, tmp_path: Path) -> Callable[..., RunFolder]:
    """A run of the embedded model on the task `physics`, with an adapter."""

    def make(seed: int = 0, state: RunState = RunState.COMPLETE, *, task: str = "physics", adapter: bool = True,
             **changes: Any) -> RunFolder:  # fmt: skip
        config = config_of(make_sweep(f"task.name={task}", f"seed={seed}"))
        folder = RunFolder.create(tmp_path / "out", RunIdentity.of(config, DATA))
        if adapter:
            save_adapter(folder.artifacts / "adapter", content=f"of seed {seed}".encode(), **changes)
        if state is not RunState.UNFINISHED:
            folder.finish(state, Reason.ERROR if state is RunState.FAILED else None)
        return folder

    return make


def config_of(sweep: Sweep) -> RunConfig:
    return sweep.config(sweep.space.cells[0], {})


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_run_stays_its_id_and_has_the_digest_of_its_weights(make_sweep: MakeSweep, earlier: Any) -> None:
    run = earlier()
    sweep = make_sweep(f"peft.start_from={run.run_id}")
    peft = config_of(sweep).peft
    assert (peft["start_from"], peft["start_digest"]) == (run.run_id, sha256(b"of seed 0"))
    assert f"note    peft.start_from: {run.run_id} (adapter sha256 {sha256(b'of seed 0')[:12]})" in plan_text(sweep)


def test_a_folder_is_settled_to_its_absolute_path(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_adapter(tmp_path / "an adapter")
    monkeypatch.chdir(tmp_path)
    assert config_of(make_sweep("peft.start_from='an adapter'")).peft["start_from"] == str(tmp_path / "an adapter")


def test_last_is_the_run_of_that_task_and_model_that_was_completed_last(make_sweep: MakeSweep, earlier: Any) -> None:
    old, new = earlier(seed=1), earlier(seed=0)
    time.sleep(0.002)
    old.finish(RunState.COMPLETE)
    earlier(seed=2, state=RunState.FAILED)
    earlier(seed=3, adapter=False)
    earlier(seed=4, task="chemistry")
    sweep = make_sweep("peft.start_from=last:physics")
    assert config_of(sweep).peft["start_from"] == old.run_id != new.run_id
    assert f"peft.start_from: last:physics is {old.run_id}" in plan_text(sweep)


def test_what_last_means_does_not_change_within_a_sweep(make_sweep: MakeSweep, earlier: Any) -> None:
    first = earlier()
    sweep = make_sweep("peft.start_from=last:physics", "train.learning_rate=1e-3,1e-4")
    time.sleep(0.002)
    earlier(seed=1)
    assert config_of(sweep).peft["start_from"] == first.run_id
    assert len(sweep.starts.notes) == 1


def test_other_weights_are_another_run(make_sweep: MakeSweep, tmp_path: Path) -> None:
    save_adapter(tmp_path / "a", b"one")
    hashes = [config_of(make_sweep(f"peft.start_from={tmp_path / 'a'}")).content_hash()]
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(b"other")
    hashes.append(config_of(make_sweep(f"peft.start_from={tmp_path / 'a'}")).content_hash())
    hashes.append(config_of(make_sweep()).content_hash())
    assert len(set(hashes)) == 3


def test_an_axis_of_adapters_and_none(make_sweep: MakeSweep, earlier: Any) -> None:
    run = earlier()
    sweep = make_sweep(f"peft.start_from=null,{run.run_id}")
    configs = [sweep.config(cell, point) for cell in sweep.space.cells for point in cell.points()]
    assert [config.peft["start_from"] for config in configs] == [None, run.run_id]
    assert group_key(configs[0]) == group_key(configs[1])


def test_a_method_without_an_adapter_is_the_row_above_those_that_go_on(make_sweep: MakeSweep, earlier: Any) -> None:
    run = earlier()
    sweep = make_sweep("peft=none,lora,full", "peft.start_from=last:physics")
    starts = {cell.values["peft"]: sweep.config(cell, {}).peft.get("start_from") for cell in sweep.space.cells}
    assert starts == {"none": None, "lora": run.run_id, "full": None}
    for method in ("none", "full"):
        note = f"peft={method} has no such key: its runs are without peft.start_from=last:physics"
        assert f"  note    {note}" in plan_text(sweep).splitlines()


@pytest.mark.parametrize("is_sweep", [True, False])
def test_what_an_experiment_goes_on_from_is_not_for_a_method_without_an_adapter(
    make_sweep: MakeSweep, *, is_sweep: bool
) -> None:
    (cell,) = (
        sweep := make_sweep("experiment=domain_qa", "task=sst2", "report={columns:[],published:[]}", "model=mini",
                            "train.eval_every=end", "peft=none", is_sweep=is_sweep)
    ).space.cells  # fmt: skip
    assert sweep.config(cell, {}).peft["start_from"] is None
    assert "its runs are without peft.start_from=last:domain_text" in plan_text(sweep)


@pytest.mark.parametrize("methods", ["none", "none,full"])
def test_asked_for_where_no_method_has_an_adapter_it_is_refused(make_sweep: MakeSweep, methods: str) -> None:
    with pytest.raises(ConfigError, match=r"peft\.method=none has no adapter to go on from"):
        make_sweep(f"peft={methods}", "peft.start_from=last:physics")


@pytest.mark.parametrize(
    ("changes", "overrides", "message"),
    [
        ({"r": 8}, [], "peft.r=16: the adapter of peft.start_from has 8; set peft.r=8"),
        ({"lora_alpha": 16}, [], "peft.lora_alpha=32: the adapter of peft.start_from has 16"),
        ({"use_dora": True}, [], "peft.use_dora=False: the adapter of peft.start_from has True"),
        ({"peft_type": "LOHA"}, [], "peft.type=LORA: the adapter of peft.start_from has LOHA"),
        ({"target_modules": ["q_proj", "v_proj"]}, [], "has [q_proj,v_proj]; set peft.target_modules=[q_proj,v_proj]"),
        ({}, ["peft.target_modules=[q_proj]"], "peft.target_modules=['q_proj']: the adapter of peft.start_from has"),
        ({"init_lora_weights": "pissa"}, [], "init_lora_weights=pissa rewrites the base model"),
        ({}, ["+peft.init_lora_weights=olora"], "init_lora_weights=olora rewrites the base model"),
        ({}, ["+peft.start_digest=abc"], "peft.start_digest=abc: the adapter of"),
        (
            {"peft_type": "P_TUNING", "num_virtual_tokens": 20},
            ["peft=prompt_tuning", "peft.type=P_TUNING", "+peft.start_from={folder}"],
            "without the encoder that makes",
        ),
        (
            {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4},
            ["peft=prompt_tuning", "+peft.start_from={folder}"],
            "peft.num_virtual_tokens=20: the adapter of",
        ),
        ({}, ["peft=full", "+peft.start_from={folder}"], "peft.method=full has no adapter to go on from"),
    ],
)
def test_an_adapter_that_does_not_fit(
    make_sweep: MakeSweep, tmp_path: Path, changes: dict[str, Any], overrides: list[str], message: str
) -> None:
    folder = save_adapter(tmp_path / "adapter", **changes)
    given = [override.format(folder=folder) for override in overrides]
    if not any("start_from" in override for override in given):
        given.append(f"peft.start_from={folder}")
    with pytest.raises(ConfigError) as raised:
        make_sweep(*given)
    assert message in str(raised.value)


def test_targets_are_compared_by_what_they_name(make_sweep: MakeSweep, tmp_path: Path) -> None:
    save_adapter(tmp_path / "by words", target_modules=["self_attn.q_proj", "v_proj"])
    sweep = make_sweep(f"peft.start_from='{tmp_path / 'by words'}'", "peft.target_modules='.*[qv]_proj'")
    assert sweep.num_trials == 1


def test_what_is_there_but_cannot_be_gone_on_from(make_sweep: MakeSweep, earlier: Any, tmp_path: Path) -> None:
    refused = {
        "nowhere": "no run of",
        earlier(seed=1, state=RunState.FAILED).run_id: "is FAILED; take a complete run",
        earlier(seed=2, state=RunState.UNFINISHED).run_id: "is UNFINISHED",
        earlier(seed=3, adapter=False).run_id: "left no adapter",
        "last:chemistry": "train it first (task=chemistry, or an experiment of that task.name), or name a folder",
        "last:sst2": "is these runs' own task",
    }
    for asked, message in refused.items():
        with pytest.raises(ConfigError) as raised:
            make_sweep(f"peft.start_from={asked}")
        assert message in str(raised.value)
        assert raised.value.key == "peft.start_from"


def test_the_adapter_of_another_model_is_refused(make_sweep: MakeSweep, earlier: Any, tmp_path: Path) -> None:
    run = earlier()
    with pytest.raises(ConfigError, match=r"belongs to model=mini with model.revision=\w+, not other; take a run of"):
        make_sweep(f"peft.start_from={run.run_id}", "model.revision=other")


def test_weights_that_changed_since_they_were_planned(earlier: Any) -> None:
    run = earlier()
    runs, was = run.path.parent, sha256(b"of seed 0")
    assert earlier_adapter.unchanged(run.run_id, runs, was=was) == run.artifacts / "adapter"
    (run.artifacts / "adapter" / "adapter_model.safetensors").write_bytes(b"other")
    with pytest.raises(ConfigError, match="is another one than when it was planned"):
        earlier_adapter.unchanged(run.run_id, runs, was=was)
    (run.artifacts / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(ConfigError, match="is gone"):
        earlier_adapter.unchanged(run.run_id, runs, was=was)
