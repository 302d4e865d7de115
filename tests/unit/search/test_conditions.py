"""Conditional axes: the `when` of `hydra.sweeper.params`, from YAML to the points that are asked."""

from __future__ import annotations

import itertools
import json
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeper.__main__ import open_hydra
from sweeper.checks import ConfigError
from sweeper.search import conditions
from sweeper.search.asking import Asker
from sweeper.search.command import read_command
from sweeper.search.plan import plan_text
from sweeper.search.space import Cell, Dimension, Space
from sweeper.search.study import Sweep
from tests.unit.search.test_study import finish, stored

MakeDeclared = Callable[..., Sweep]
RATE = {"train.learning_rate": "tag(log,interval(1e-5,1e-2))"}
ALPHA = {"peft.r": "choice(2,4,8)", "peft.lora_alpha": {"space": "choice(8,16)", "when": {"peft.r": [4, 8]}}}


@pytest.fixture
def make_declared(make_sweep: Callable[..., Sweep], small_data: Path, tmp_path: Path) -> MakeDeclared:
    """`make_declared({"peft.r": "2,4"}, "peft=lora")`: an experiment that declares these axes, with -m."""
    make_sweep()  # puts the empty studies in their place

    def make(params: Mapping[str, Any], *overrides: str) -> Sweep:
        folder = tmp_path / "conf" / "experiment"
        folder.mkdir(parents=True, exist_ok=True)
        content = yaml.safe_dump({"hydra": {"sweeper": {"params": dict(params)}}}, sort_keys=False)
        (folder / "mine.yaml").write_text(f"# @package _global_\n{content}", encoding="utf-8")
        loader = open_hydra(str(tmp_path / "conf")).config_loader
        GlobalHydra.instance().clear()
        size = [] if "task.train_size" in params else ["task.train_size=20"]
        fixed = ["experiment=mine", f"data_dir={small_data}", "task.selection_size=20",
                 "hydra.sweeper.confirm_seeds=0", *size]  # fmt: skip
        return read_command([*fixed, f"output_dir={tmp_path / 'out'}", *overrides], loader, is_sweep=True)

    return make


def points(sweep: Sweep) -> list[dict[str, Any]]:
    return [cell.values | point for cell in sweep.space.cells for point in cell.points()]


def test_a_condition_on_a_searched_value_decides_at_each_point(make_declared: MakeDeclared) -> None:
    sweep = make_declared(ALPHA)
    expected = [{"peft.r": 2}, *({"peft.r": rank, "peft.lora_alpha": alpha} for rank in (4, 8) for alpha in (8, 16))]
    assert points(sweep) == expected
    assert sweep.num_trials == 5
    with sweep:
        trials = finish(sweep)
    assert [trial.params for trial in trials] == expected
    assert [trial.runs[0].peft["lora_alpha"] for trial in trials] == [32, 8, 16, 8, 16]  # absent: the config's own


def test_a_condition_on_a_group_decides_in_each_cell(make_declared: MakeDeclared) -> None:
    params = {"peft": "choice(lora,full)", "peft.lora_dropout": {"space": "choice(0.0,0.1)", "when": {"peft": "lora"}}}
    sweep = make_declared(params)
    dropouts = [{"peft": "lora", "peft.lora_dropout": dropout} for dropout in (0.0, 0.1)]
    assert points(sweep) == [*dropouts, {"peft": "full"}]
    assert sweep.space.notes == []
    params["train.batch_size"] = {"space": "4,8", "when": {"peft": "full"}}  # a key that every method has
    assert points(make_declared(params)) == [
        *dropouts,
        *({"peft": "full", "train.batch_size": size} for size in (4, 8)),
    ]


def test_a_condition_on_a_design_axis_decides_in_each_cell(make_declared: MakeDeclared) -> None:
    sweep = make_declared(
        {"task.train_size": "10,20,full", "train.epochs": {"space": "2,1", "when": {"task.train_size": [10, "full"]}}}
    )
    assert [(cell.values["task.train_size"], cell.num_points) for cell in sweep.space.cells] == [
        (10, 2),
        (20, 1),
        ("full", 2),
    ]
    assert sweep.num_trials == 5


def test_a_design_axis_may_be_conditional_itself(make_declared: MakeDeclared) -> None:
    head = {"space": "tag(design,choice(4,8))", "when": {"task.train_size": 20}}
    sweep = make_declared({"train.batch_size": head, "task.train_size": "10,20"})
    expected = [{"task.train_size": 10}, *({"task.train_size": 20, "train.batch_size": size} for size in (4, 8))]
    assert points(sweep) == expected
    with sweep:
        assert [trial.cell for trial in finish(sweep)] == expected


@pytest.mark.parametrize(
    ("when", "fixed", "there"),
    [
        ({"train.optimizer": ["sgd", "adamw_torch"]}, "train.optimizer=sgd", True),
        ({"train.optimizer": "sgd"}, "train.optimizer=adamw_torch", False),
        ({"train.epochs": 2}, "train.epochs=2.0", True),  # equal once both are numbers of epochs
        ({"task.loss_on": "ALL"}, "task.loss_on=all", True),
        ({"train.load_best_model_at_end": False}, "train.epochs=1", True),  # the default counts
        ({"peft.r": 16, "train.epochs": 3}, "train.epochs=1", False),  # all must hold
        ({"peft.r": 16}, "peft.r=16", True),
        ({"peft": "lora", "model": "mini"}, "seed=1", True),
        ({"train.optimizer_args.momentum": 0.9}, "seed=1", False),
    ],
)
def test_a_condition_on_a_fixed_value(
    make_declared: MakeDeclared, when: dict[str, Any], fixed: str, there: bool
) -> None:
    sweep = make_declared({"train.batch_size": {"space": "4,8", "when": when}}, fixed)
    assert list(sweep.space.search) == (["train.batch_size"] if there else [])


def test_the_command_line_fixes_a_parent_or_replaces_a_child(make_declared: MakeDeclared) -> None:
    assert points(make_declared(ALPHA, "peft.r=2")) == [{}]
    assert points(make_declared(ALPHA, "peft.r=4")) == [{"peft.lora_alpha": 8}, {"peft.lora_alpha": 16}]
    assert points(make_declared(ALPHA, "peft.r=range(1,4)", "peft.lora_alpha=3")) == [
        {"peft.r": rank} for rank in (1, 2, 3)
    ]
    assert len(points(make_declared(ALPHA, "peft.lora_alpha=1,2"))) == 6
    narrowed = [{"peft.r": 4, "peft.lora_alpha": 8}, {"peft.r": 4, "peft.lora_alpha": 16}, {"peft.r": 16}]
    assert points(make_declared(ALPHA, "peft.r=4,16")) == narrowed


def test_what_hangs_on_an_axis_that_a_method_lacks_is_absent_as_well(make_declared: MakeDeclared) -> None:
    params = {
        "peft": "choice(full,lora)",
        **ALPHA,
        "train.batch_size": {"space": "4,8", "when": {"peft.lora_alpha": 8}},
    }
    counts = {cell.values["peft"]: cell.num_points for cell in make_declared(params).space.cells}
    assert counts == {"full": 1, "lora": 1 + 2 * (2 + 1)}


def test_one_value_under_a_condition_is_an_axis_of_one(make_declared: MakeDeclared) -> None:
    params = {"peft.r": "2,4", "peft.lora_alpha": {"space": 8, "when": {"peft.r": 4}}}
    assert points(make_declared(params)) == [{"peft.r": 2}, {"peft.r": 4, "peft.lora_alpha": 8}]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"peft.r": {"spcae": "2,4"}}, "hydra.sweeper.params.peft.r=spcae: an axis is a text of values, or {space: "),
        ({"peft.r": {"spcae": "2,4"}}, "did you mean 'space'?"),
        ({"train": {"epochs": "1,2"}}, "keys are dotted: train.epochs"),
        ({"peft.r": {"when": {"peft": "lora"}}}, "hydra.sweeper.params.peft.r.space=None: an axis is a text of values"),
        ({"peft.r": {"space": [2, 4], "when": {"peft": "lora"}}}, 'an axis is a text of values; space: "choice(8,16)"'),
        ({"peft.r": {"space": "2,4", "when": "lora"}}, "a condition maps keys to a value or a list of values"),
        ({"peft.r": {"space": "2,4", "when": {"peft": []}}}, "a condition maps keys to a value or a list of values"),
        ({"peft.r": {"space": "2,4", "when": {"pfet": "lora"}}},
         "hydra.sweeper.params.peft.r.when=pfet: lora: no such config group or key; did you mean 'peft'?"),
        ({"peft.r": {"space": "2,4", "when": {"train.optimiser": "sgd"}}}, "did you mean 'train.optimizer'?"),
        ({"train.epochs": {"space": "2,4", "when": {"peft.rr": 4}}}, "for peft.type=LORA; did you mean 'r'?"),
        ({"peft.r": {"space": "2,4", "when": {"peft": "lroa"}}}, "peft: lroa: no such choice; did you mean 'lora'?"),
        ({"peft.r": {"space": "2,4", "when": {"seed": 1}}}, "seeds are replicates: nothing hangs on them"),
        ({"peft.r": {"space": "2,4", "when": {"train.epochs": "many"}}}, "train.epochs: many: must be a number"),
        ({"peft.r": {"space": "2,4", "when": {"peft.r": 2}}}, "peft.r -> peft.r: these conditions go round in"),
        ({"peft.r": {"space": "2,4", "when": {"train.epochs": 1}},
          "train.epochs": {"space": "1,2", "when": {"peft.r": 2}}},
         "peft.r -> train.epochs -> peft.r: these conditions go round"),
        ({"peft.r": "2,4", "train.epochs": {"space": "1,2", "when": {"peft.r": 8}}},
         "hydra.sweeper.params.train.epochs.when=peft.r: 8: not a value of that axis (2, 4)"),
        ({"peft.r": "range(2,8,2)", "train.epochs": {"space": "1,2", "when": {"peft.r": 5}}},
         "peft.r: 5: not a value of that axis (whole numbers 2 to 6, step 2)"),
        ({"train.optimizer": "sgd,adamw_torch", "train.epochs": {"space": "1,2", "when": {"train.optimizer": "sdg"}}},
         "did you mean 'sgd'?"),
        ({"peft.use_dora": "true,false", "train.epochs": {"space": "1,2", "when": {"peft.use_dora": 1}}},
         "peft.use_dora: 1: not a value of that axis"),
        ({**RATE, "train.epochs": {"space": "1,2", "when": {"train.learning_rate": 1e-3}}},
         "an interval has no single values to be equal to"),
        ({"peft.r": "2,4", "task.train_size": {"space": "10,20", "when": {"peft.r": 2}}},
         "a design axis cannot hang on a searched value"),
        ({"peft": {"space": "lora,full", "when": {"peft.r": 4}}},
         "hydra.sweeper.params.peft.when=peft.r: a config group hangs on other config groups only"),
        ({"peft": {"space": "lora,full", "when": {"model": "mni"}}},
         "hydra.sweeper.params.peft.when.model=mni: no such choice; did you mean 'mini'?"),
        ({"peft": {"space": "lora,full", "when": {"model": "mini"}},
          "model": {"space": "mini,minilm", "when": {"peft": "lora"}}},
         "hydra.sweeper.params.peft.when=peft, model: these conditions go round in a circle"),
        ({"peft.r": "2,4", "train.epochs": {"space": "1,2", "when": {"peft.r": 2}},
          "train.batch_size": {"space": "4,8", "when": {"train.epochs": 1, "peft.r": 4}}},
         "hydra.sweeper.params.train.batch_size.when=peft.r: no value of it meets every condition on the way"),
        ({"peft.r": {"space": "2,0", "when": {"train.optimizer": "adamw_torch"}}}, "peft.r=0: must be a positive"),
    ],
)  # fmt: skip
def test_a_wrong_condition_is_refused_with_its_fix(
    make_declared: MakeDeclared, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        make_declared(params, "hydra.sweeper.n_trials=3")
    assert "\n" not in str(caught.value)


def test_a_config_group_may_hang_on_another(make_declared: MakeDeclared) -> None:
    """Where it does not, it keeps the choice that it has."""
    params = {"peft": {"space": "none,full", "when": {"model": "mini"}}, "model": "mini,llama_3_2_1b"}
    sweep = make_declared(params, "plan=true")
    assert [(cell.values["model"], cell.values["peft"]) for cell in sweep.space.cells] == [
        ("mini", "none"), ("mini", "full"), ("llama_3_2_1b", "lora")]  # fmt: skip
    alone = make_declared(params, "model=mini")
    assert [cell.values for cell in alone.space.cells] == [{"peft": "none"}, {"peft": "full"}]
    assert [cell.values for cell in make_declared(params, "peft=ia3", "model=mini").space.cells] == [{}]


def test_a_condition_on_a_value_that_follows_others_is_refused(make_declared: MakeDeclared) -> None:
    params = {"peft.r": "2,4", "train.epochs": {"space": "1,2", "when": {"peft.lora_alpha": 4}}}
    with pytest.raises(ConfigError, match="follows other keys by an interpolation; name one of those keys"):
        make_declared(params, "peft.lora_alpha=${peft.r}")


def test_the_values_of_a_child_are_checked_where_it_is_there(make_declared: MakeDeclared) -> None:
    params = {**ALPHA, "peft.lora_alpha": {"space": "choice(8,-1)", "when": {"peft.r": 8}}}
    with pytest.raises(ConfigError, match=re.escape("peft.lora_alpha=-1: must be greater than 0")):
        make_declared(params)


@pytest.mark.parametrize("line", ["peft.r={space:'2,4',when:{peft:lora}}", "+train.optimizer_args.momentum={space:1}",
                                  "hydra.sweeper.params.peft.r={space:'2,4'}"])  # fmt: skip
def test_the_command_line_has_no_long_form(make_sweep: Callable[..., Sweep], line: str) -> None:
    with pytest.raises(ConfigError, match=r"stand in a YAML file's hydra\.sweeper\.params only"):
        make_sweep(line)


def test_a_plan_and_the_parent_run_show_conditions(make_declared: MakeDeclared) -> None:
    sweep = make_declared(ALPHA)
    assert "  search  peft.lora_alpha: 8, 16  (when peft.r is 4 or 8)" in plan_text(sweep).splitlines()
    assert sweep.parameters["peft.lora_alpha"] == "8, 16  (when peft.r is 4 or 8)"


def test_the_sweep_id_changes_with_a_condition_not_with_its_order(make_declared: MakeDeclared) -> None:
    def sweep_id(*ranks: int) -> str:
        return make_declared({**ALPHA, "peft.lora_alpha": {"space": "8,16", "when": {"peft.r": list(ranks)}}}).sweep_id

    assert sweep_id(4, 8) == sweep_id(8, 4)
    assert len({sweep_id(4, 8), sweep_id(2, 8), make_declared({**ALPHA, "peft.lora_alpha": "8,16"}).sweep_id}) == 3


@pytest.mark.parametrize("n_trials", [None, 3])
def test_the_limit_of_runs_counts_conditional_points_exactly(make_declared: MakeDeclared, n_trials: int | None) -> None:
    params = {"task.train_size": "10,20", **ALPHA, "train.epochs": {"space": "1,2", "when": {"task.train_size": 10}}}
    total = 10 + 5 if n_trials is None else 3 + 3
    sampled = [] if n_trials is None else [f"hydra.sweeper.n_trials={n_trials}"]
    assert make_declared(params, *sampled, f"hydra.sweeper.max_runs={total}").num_trials == total
    with pytest.raises(ConfigError, match=f"this sweep has {total} runs, more than"):
        make_declared(params, *sampled, f"hydra.sweeper.max_runs={total - 1}")


def test_a_space_too_large_to_list_is_counted(make_declared: MakeDeclared) -> None:
    large = {"space": "range(0,1000000)", "when": {"peft.r": 7}}
    with pytest.raises(ConfigError, match="this sweep has 1,000,998 runs"):
        make_declared({"peft.r": "range(1,1000)", "train.logging_steps": large})


def active(cell: Cell, params: Mapping[str, Any]) -> set[str]:
    """The keys that a point must have, by the words of the conditions alone."""
    there: set[str] = set()
    for _ in cell.search:
        for key, dimension in cell.search.items():
            if all(parent in there and params.get(parent) in allowed for parent, allowed in dimension.when.items()):
                there.add(key)
    return there


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsgaii"])
def test_a_sampled_trial_has_the_active_keys_only(
    make_declared: MakeDeclared, sampler: str, capfd: pytest.CaptureFixture[str]
) -> None:
    params = {**RATE, **ALPHA, "peft.lora_dropout": {"space": "interval(0.0,0.3)", "when": {"peft.lora_alpha": 8}}}
    sampled = (f"hydra.sweeper.sampler={sampler}", "hydra.sweeper.n_trials=25")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with make_declared(params, *sampled) as first:
            trials = finish(first, limit=12)
            left = first.ask()
            assert left
        with make_declared(params, *sampled) as second:
            again = second.ask()
            assert again
            assert (again.number, again.params) == (left.number, left.params)
    (cell,) = first.space.cells
    for trial in (*trials, left):
        assert set(trial.params) == active(cell, trial.params)
        assert trial.runs[0].peft["lora_alpha"] == trial.params.get("peft.lora_alpha", 32)
        assert trial.runs[0].peft["lora_dropout"] == trial.params.get("peft.lora_dropout", 0.05)
    assert {len(trial.params) for trial in trials} == {2, 3, 4}
    assert capfd.readouterr().err == ""


def test_a_condition_on_a_step_of_floats_holds_when_sampled(make_declared: MakeDeclared) -> None:
    """Samplers come to 0.1 + 0.2, which is not 0.3."""
    child = {"space": "interval(0.0,0.2)", "when": {"train.weight_decay": 0.3}}
    params = {"train.weight_decay": "range(0.0,0.5,0.1)", "peft.lora_dropout": child}
    with make_declared(params, "hydra.sweeper.sampler=random", "hydra.sweeper.n_trials=20") as sweep:
        trials = finish(sweep)
    assert {trial.params["train.weight_decay"] for trial in trials} <= {0.0, 0.1, 0.2, 0.3, 0.4}
    there = [trial for trial in trials if "peft.lora_dropout" in trial.params]
    assert there
    assert there == [trial for trial in trials if trial.params["train.weight_decay"] == 0.3]


def test_a_failed_conditional_trial_is_retried_at_its_point(make_declared: MakeDeclared) -> None:
    from tests.unit.search.test_retry import with_a_failure

    params, sampled = {**RATE, **ALPHA}, ("hydra.sweeper.sampler=random", "hydra.sweeper.n_trials=4")
    for number in range(4):
        with make_declared(params, *sampled, f"hydra.sweeper.seed={number}", f"train.epochs={number + 1}") as first:
            wrong = with_a_failure(first, number)
        retry = (f"hydra.sweeper.seed={number}", f"train.epochs={number + 1}", "retry_failed=true")
        with make_declared(params, *sampled, *retry) as second:
            (again,) = finish(second)
        assert again.params == wrong.params


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Dimension]:
    """Up to five axes of up to three values; each may hang on some of those before it."""
    space: dict[str, Dimension] = {}
    for key in "abcde"[: draw(st.integers(0, 5))]:
        values = tuple(draw(st.lists(st.sampled_from([0, 1, 2, "x", True, None]), min_size=1, max_size=3, unique=True)))
        parents = draw(st.lists(st.sampled_from(list(space)), max_size=2, unique=True)) if space else []
        when = {
            parent: tuple(draw(st.lists(st.sampled_from(space[parent].values()), min_size=1, max_size=2, unique=True)))
            for parent in parents
        }
        numbers = Dimension(low=0, high=draw(st.integers(0, 2)), step=1, integer=True, when=when)
        space[key] = draw(st.sampled_from([Dimension(choices=values, when=when), numbers]))
    return space


def same(value: Any, other: Any) -> bool:
    return json.dumps(value) == json.dumps(other)


def brute_force(space: Mapping[str, Dimension]) -> set[str]:
    """The full product, with the inactive keys dropped."""
    found = set()
    for combination in itertools.product(*(dimension.values() for dimension in space.values())):
        point: dict[str, Any] = {}
        for (key, dimension), value in zip(space.items(), combination, strict=True):
            wanted = dimension.when.items()
            if all(
                parent in point and any(same(point[parent], item) for item in allowed) for parent, allowed in wanted
            ):
                point[key] = value
        found.add(json.dumps(point))
    return found


@given(spaces())
@settings(max_examples=300, deadline=None)
def test_points_are_the_product_without_inactive_keys(space: dict[str, Dimension]) -> None:
    cell = Cell({}, {}, space)
    listed = [json.dumps(point) for point in cell.points()]
    assert len(listed) == len(set(listed)) == cell.num_points
    assert set(listed) == brute_force(space)


@given(spaces(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_puts_parents_first_whatever_it_was(space: dict[str, Dimension], random: Any) -> None:
    keys = list(space)
    random.shuffle(keys)
    placed = conditions.ordered({key: space[key] for key in keys})
    assert set(placed) == set(space)
    for position, dimension in enumerate(placed.values()):
        assert dimension.when.keys() <= set(list(placed)[:position])
    assert conditions.count(placed) == conditions.count(space)


@given(spaces(), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_every_sampled_trial_is_a_point_of_the_space(space: dict[str, Dimension], seed: int) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    cell = Cell({}, {}, space)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=3))
    asker = Asker(Space((cell,), (0,)), lambda cell, point: pytest.fail("asks for no config"), study_per_cell=True)
    for number in range(8):
        opened = asker.sampled(study, cell)
        assert json.dumps(opened.point) in brute_force(space)
        assert set(study.trials[-1].params) == set(opened.point)
        study.tell(opened.number, float(number))


def test_epochs_that_differ_alone_follow_one_another_from_the_most(make_declared: MakeDeclared) -> None:
    params = {
        "train.epochs": "1,20,5",
        "peft.r": "2,4",
        "peft.lora_alpha": {"space": "8,16", "when": {"train.epochs": [5, 20]}},
    }
    sweep = make_declared(params)
    asked = [(point["peft.r"], point.get("peft.lora_alpha"), point["train.epochs"]) for point in points(sweep)]
    assert asked == [(2, None, 1), (4, None, 1), (2, 8, 20), (2, 8, 5), (2, 16, 20), (2, 16, 5),
                     (4, 8, 20), (4, 8, 5), (4, 16, 20), (4, 16, 5)]  # fmt: skip


def test_cells_are_asked_so_and_listed_as_declared(make_sweep: Callable[..., Sweep]) -> None:
    space = ("train.epochs=tag(design,choice(1,20,5))", "task.train_size=10,20")
    with make_sweep(*space) as sweep:
        asked = [(trial.cell["task.train_size"], trial.cell["train.epochs"]) for trial in finish(sweep)]
    assert asked == [(10, 20), (10, 5), (10, 1), (20, 20), (20, 5), (20, 1)]
    assert [cell.values["train.epochs"] for cell in sweep.space.cells] == [1, 1, 20, 20, 5, 5]
    assert len(stored(sweep)) == 6
