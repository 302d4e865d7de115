from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.__main__ import main, open_hydra
from sweeper.checks import ConfigError
from sweeper.config import PromptConfig, Source, TaskConfig
from sweeper.launch import devices
from sweeper.launch.footprint import GIB, Device
from sweeper.launch.forecast import Forecast, duration, forecast_text, rounded, size
from sweeper.launch.group import DataSize
from sweeper.launch.machine import Machine
from sweeper.launch.planned import data_size
from sweeper.launch.text_sample import DEMO, texts_of
from sweeper.launch.workload import Text
from sweeper.search.command import read_command
from sweeper.search.study import Sweep
from sweeper.tracking.run_folder import RunFolder, RunIdentity
from tasks import demo_reviews, hub
from tasks.sources import DataSource

MACHINE = Machine(flops_per_s=50e9, device=Device(is_gpu=False, free_bytes=8 * GIB), free_disk=100 * GIB)
DEMO_SWEEP = ("task.data.source=demo", "task.train_size=100,1000")
LLAMA = ("model=llama_2_7b_chat",)
MakeSweep = Callable[..., Sweep]


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available_cores", lambda: 2)
    monkeypatch.setattr(devices, "available_memory", lambda: 16 * GIB)
    monkeypatch.setattr(devices, "visible_gpus", tuple)


@pytest.fixture
def make_sweep(tmp_path: Path) -> MakeSweep:
    for split in ("train", "dev"):
        rows = [f"sentence number {index}\t{index % 2}" for index in range(60)]
        (tmp_path / f"{split}.tsv").write_text("\n".join(["sentence\tlabel", *rows]) + "\n", encoding="utf-8")
    fixed = [f"output_dir={tmp_path / 'out'}", f"data_dir={tmp_path}", "task.selection_size=20", "plan=true"]
    one_size = "task.train_size=20"

    def make(*overrides: str, is_sweep: bool = True) -> Sweep:
        size = [] if any(override.startswith("task.train_size") for override in overrides) else [one_size]
        return read_command([*fixed, *size, *overrides], open_hydra(config_dir=None).config_loader, is_sweep=is_sweep)

    return make


def lines_of(sweep: Sweep, machine: Machine = MACHINE) -> dict[str, str]:
    """First word -> the rest of its line."""
    lines = forecast_text(sweep, machine).splitlines()
    return {line.split()[0]: line.split(maxsplit=1)[1] for line in lines}


def with_memory(free: float) -> Machine:
    return dataclasses.replace(MACHINE, device=Device(is_gpu=False, free_bytes=int(free)))


def test_a_plan_names_runs_groups_time_memory_and_disk(make_sweep: MakeSweep) -> None:
    lines = lines_of(make_sweep(*DEMO_SWEEP))
    assert list(lines) == ["runs", "groups", "time", "memory", "disk"]
    assert lines["runs"] == "2 to train"
    assert lines["groups"] == "2 of 1 run; 2 slots on CPU (2 cores)"
    assert re.fullmatch(r"[\d.]+ minutes \(never measured here: a guess from FLOPs\)", lines["time"])
    assert re.search(r"mini lora \d\.\d+ GiB; a slot has 8\.0 GiB", lines["memory"])
    assert lines["disk"].endswith("100 GiB free")


def test_a_single_run_is_estimated_as_well(make_sweep: MakeSweep) -> None:
    assert lines_of(make_sweep("task.data.source=demo", is_sweep=False))["groups"].startswith("1 of 1 run; 1 slot")


def test_a_machine_twice_as_fast_trains_in_half_the_time(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("task.data.source=demo", "task.train_size=10000")
    fast = dataclasses.replace(MACHINE, flops_per_s=2 * MACHINE.flops_per_s)
    (slow_run,), (fast_run,) = (Forecast.of(sweep, machine).runs.values() for machine in (MACHINE, fast))
    assert slow_run.train_s == pytest.approx(2 * fast_run.train_s)
    assert slow_run.load_s == fast_run.load_s


def test_a_model_whose_files_are_not_at_hand_is_estimated_from_its_parameters(make_sweep: MakeSweep) -> None:
    text = forecast_text(make_sweep(*LLAMA, "peft=qlora"), MACHINE)
    assert "Llama-2-7b-chat qlora" in text
    assert "its sizes are guessed from model.num_parameters" in text


def test_a_warning_appears_exactly_where_memory_is_exceeded(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(*LLAMA, "peft=lora")
    ((_, needed),) = Forecast.of(sweep, with_memory(100 * GIB)).groups.values()
    assert "WARNING" not in forecast_text(sweep, with_memory(needed + 1))
    text = forecast_text(sweep, with_memory(needed - 1))
    assert f"WARNING Llama-2-7b-chat lora: a run takes {size(needed)} of memory, a slot has" in text
    assert "(task.train_size" not in text  # no cell to name: one value


@pytest.mark.parametrize(("command", "share"), [
    (("peft=lora", "peft.r=4,8,16,32"), 0.7),  # fewer together
    (("peft=lora", "train.batch_size=256"), 0.6),  # fewer examples in a forward
    (("peft=lora",), 0.5), (("peft=full",), 0.2),  # 4 bits
])  # fmt: skip
def test_what_a_warning_advises_helps(make_sweep: MakeSweep, command: tuple[str, ...], share: float) -> None:
    command = (*LLAMA, "hydra.launcher.slots=1", *command)
    ((_, needed),) = Forecast.of(make_sweep(*command), with_memory(500 * GIB)).groups.values()
    machine = with_memory(share * needed)
    text = forecast_text(make_sweep(*command), machine)
    advice = re.search(r"WARNING .*; (.*)", text)
    assert advice is not None
    changed = advice.group(1).split()
    keys = {override.partition("=")[0] for override in changed}
    kept = [override for override in command if override.partition("=")[0] not in keys]
    assert "WARNING" not in forecast_text(make_sweep(*kept, *changed), machine)


def test_where_nothing_helps_the_warning_says_so(make_sweep: MakeSweep) -> None:
    text = forecast_text(make_sweep(*LLAMA, "peft=qlora", "task.train_size=10,20"), with_memory(GIB))
    assert "a smaller model, or a larger device" in text
    assert "(task.train_size=20)" in text


def test_a_warning_appears_exactly_where_the_disk_is_exceeded(make_sweep: MakeSweep) -> None:
    sweep = make_sweep(*DEMO_SWEEP)
    forecast = Forecast.of(sweep, MACHINE)
    needed = sum(run.disk_bytes + run.checkpoint_bytes for run in forecast.runs.values())
    enough, short = (dataclasses.replace(MACHINE, free_disk=int(needed) + more) for more in (1, -1))
    assert "WARNING" not in forecast_text(sweep, enough)
    assert "WARNING the runs take" in forecast_text(sweep, short)


def test_a_budget_says_how_many_trials_fit(make_sweep: MakeSweep) -> None:
    command = ("task.data.source=demo", "train.learning_rate=tag(log,interval(1e-4,1e-2))",
               "hydra.sweeper.n_trials=40", "hydra.sweeper.confirm_seeds=0", "task.train_size=100")  # fmt: skip
    asked = Forecast.of(make_sweep(*command), MACHINE).times.asked_at
    middle = sorted(asked)[20] / 60
    lines = lines_of(make_sweep(*command, f"budget.minutes={middle + 0.01}"))
    fitting = sum(at / 60 <= middle + 0.01 for at in asked)
    assert f"about {fitting} of 40 trials" in lines["budget"]
    assert 16 < fitting < 40


def test_sampled_points_and_pruners_are_named(make_sweep: MakeSweep) -> None:
    text = forecast_text(make_sweep(
        "task.data.source=demo", "train.learning_rate=tag(log,interval(1e-4,1e-2))", "hydra.sweeper.n_trials=4",
        "task.train_size=100", "hydra.sweeper.pruner=median", "train.eval_every=epoch"), MACHINE)  # fmt: skip
    assert "the middle of each cell's space stands for them" in text
    assert "  time    at most " in text


def test_shared_runs_are_counted_and_not_trained(make_sweep: MakeSweep) -> None:
    lines = lines_of(make_sweep("task.data.source=demo", "task.train_size=100", "train.epochs=1,10,50",
                                "train.lr_scheduler_type=constant", "hydra.sweeper.confirm_seeds=0"))  # fmt: skip
    assert lines["runs"] == "1 to train; 2 shared: read from a run of more epochs"
    assert lines["groups"].startswith("1 of 1 run;")


RUNNING_TEXT = ("task.type=language_modeling", "task.labels=[]", "task.data.text=sentence",
                "task.prompt={system:'',user:'{text}',answer:' {label}'}")  # fmt: skip


@pytest.mark.parametrize("task", [(), RUNNING_TEXT])
@pytest.mark.parametrize("source", ["files", "hub"])  # the plan's own, whose texts are sampled, and another
def test_a_plan_learns_from_the_runs_of_its_folder(
    make_sweep: MakeSweep, tmp_path: Path, task: tuple[str, ...], source: str
) -> None:
    sweep = make_sweep(*task, is_sweep=False)
    assert "never measured here" in lines_of(sweep)["time"]
    config = dataclasses.replace(sweep.config(sweep.space.cells[0], {}), seed=1)
    folder = RunFolder.create(tmp_path / "out", RunIdentity.of(config, {"source": source, "digest": "d" * 64}))
    folder.started(slot=0)
    folder.metrics(2, {"data/train_examples": 20, "data/test_examples": 60, "perf/train_s": 40.0, "perf/eval_s": 8.0,
                       "perf/peak_memory_gib": 0.9, "perf/group_size": 1, "perf/train_tokens": 500})  # fmt: skip
    folder.finish("COMPLETE")
    assert "never measured here" not in lines_of(sweep)["time"]


def test_rows_that_only_the_hub_can_count_are_assumed(make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_cached", lambda _: True)
    sweep = make_sweep("task.data.source=hub", "task.train_size=full,100")
    assert "of the hub's data 10,000 rows of a paragraph are assumed" in forecast_text(sweep, MACHINE)
    for rows, texts in Forecast.of(sweep, MACHINE).data.values():
        assert (rows.train, rows.test) == (10_000, 10_000)
        assert texts["train"].mean == 400


def test_the_demo_texts_are_as_long_as_said() -> None:
    lengths = demo_reviews.splits()["train"]["sentence"].str.len()
    assert lengths.mean() == pytest.approx(DEMO.mean, rel=0.02)
    assert lengths.max() == DEMO.longest


def test_texts_are_sampled_from_the_files_of_each_split(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep = make_sweep("task.train_size=10")
    (tmp_path / "dev.tsv").write_text("sentence\tlabel\nabcd\t0\n" + "x" * 10 + "\t1\n", encoding="utf-8")
    config = sweep.config(sweep.space.cells[0], {})
    texts = texts_of(sweep.data.source(config), config.task)
    assert (texts["test"].mean, texts["test"].longest) == (7, 10)
    assert texts["train"].longest == len("sentence number 59")


def test_a_value_that_a_row_lacks_has_no_characters_and_a_row_must_be_an_object(tmp_path: Path) -> None:
    task, rows = TaskConfig(prompt=PromptConfig(user="{text}")), tmp_path / "rows.jsonl"
    source = DataSource(Source.FILES, "rows", "asked for", {"train": rows})
    rows.write_text('{"text": "abcd"}\n{"label": 1}\n{"text": null}\n', encoding="utf-8")
    assert texts_of(source, task)["train"] == Text(mean=4 / 3, longest=4)
    rows.write_text('{"text": "abcd"}\n["abcd"]\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be read: row 2 "):
        texts_of(source, task)


def test_of_one_file_the_held_out_rows_are_as_long_as_the_others(make_sweep: MakeSweep) -> None:
    sweep = make_sweep("task.train_size=10", "task.data.test_share=0.2")
    config = sweep.config(sweep.space.cells[0], {})
    assert data_size(sweep, config) == DataSize(train=28, selection=20, test=12)
    texts = texts_of(sweep.data.source(config), config.task)
    assert texts["test"] == texts["train"]
    assert texts["test"].longest == len("sentence number 59")


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.0342, "0.034"), (4.16, "4.2"), (99.6, "100"), (12345, "12,000")]
)
def test_figures_have_two_digits(value: float, text: str) -> None:
    assert rounded(value) == text


def test_units() -> None:
    assert duration(90) == "1.5 minutes"
    assert duration(3 * 3600) == "3.0 hours"
    assert size(5 * 2**20) == "5.0 MiB"
    assert size(2.5 * GIB) == "2.5 GiB"


def test_the_command_prints_it_after_the_cells(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["plan=true", "-m", "task.data.source=demo", f"output_dir={tmp_path / 'out'}"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("nothing was trained and nothing was written") < printed.index("\n  time    ")
    assert not (tmp_path / "out").exists()


def test_a_plan_loads_nothing_heavy(make_sweep: MakeSweep, tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from sweeper.__main__ import main\n"
        f"assert main(['plan=true', '-m', 'data_dir={tmp_path}', 'output_dir={tmp_path}/out', 'task.selection_size=20',"
        " 'task.train_size=10,20']) == 0\n"
        "heavy = {'torch', 'transformers', 'peft', 'mlflow', 'optuna', 'pandas', 'datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
