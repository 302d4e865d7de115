from __future__ import annotations

import math
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from sweeper.checks import ConfigError
from sweeper.search.grammar import read_axis
from sweeper.search.space import Axis, Cell, Dimension, Role, Space, product


def axis(text: str, *, is_group: bool = False) -> Axis:
    return read_axis(OverridesParser.create().parse_override(text), is_group=is_group)


@pytest.mark.parametrize(
    ("text", "role", "dimension"),
    [
        ("peft.r=4,16", Role.SEARCH, Dimension(choices=(4, 16))),
        ("peft.r=choice(4,16)", Role.SEARCH, Dimension(choices=(4, 16))),
        ("train.optimizer=a,'b c',null", Role.SEARCH, Dimension(choices=("a", "b c", None))),
        ("train.load_best_model_at_end=true,false", Role.SEARCH, Dimension(choices=(True, False))),
        ("peft.target_modules=[q],[q,v]", Role.SEARCH, Dimension(choices=(["q"], ["q", "v"]))),
        ("peft.r=range(4,13,4)", Role.SEARCH, Dimension(low=4, high=12, step=4, integer=True)),
        ("peft.r=range(4,12,4)", Role.SEARCH, Dimension(low=4, high=8, step=4, integer=True)),
        ("peft.r=range(3,0,-1)", Role.SEARCH, Dimension(low=1, high=3, step=1, integer=True)),
        ("peft.r=tag(log,range(1,65))", Role.SEARCH, Dimension(low=1, high=64, step=1, log=True, integer=True)),
        ("train.weight_decay=range(0,0.3,0.1)", Role.SEARCH, Dimension(low=0.0, high=0.2, step=0.1)),
        ("train.learning_rate=interval(1e-5,1e-3)", Role.SEARCH, Dimension(low=1e-5, high=1e-3)),
        ("train.learning_rate=tag(log,interval(1e-5,1))", Role.SEARCH, Dimension(low=1e-5, high=1.0, log=True)),
        ("train.batch_size=int(interval(8,32))", Role.SEARCH, Dimension(low=8, high=32, integer=True)),
        ("task.train_size=100,1000,full", Role.DESIGN, Dimension(choices=(100, 1000, "full"))),
        ("task.head=true,false", Role.DESIGN, Dimension(choices=(True, False))),
        ("peft.r=tag(design,choice(4,16))", Role.DESIGN, Dimension(choices=(4, 16))),
        ("peft.r=tag(design,range(1,3))", Role.DESIGN, Dimension(low=1, high=2, step=1, integer=True)),
        ("task.train_size=tag(search,choice(100,1000))", Role.SEARCH, Dimension(choices=(100, 1000))),
        ("seed=1,2,3", Role.REPLICATES, Dimension(choices=(1, 2, 3))),
        ("seed=range(0,3)", Role.REPLICATES, Dimension(low=0, high=2, step=1, integer=True)),
    ],
)
def test_an_override_becomes_the_axis_that_hydras_grammar_means(text: str, role: Role, dimension: Dimension) -> None:
    found = axis(text)
    assert (found.role, found.dimension) == (role, dimension)


def test_a_config_group_is_a_design_axis() -> None:
    assert axis("peft=lora,qlora", is_group=True) == Axis(
        "peft", Role.DESIGN, Dimension(choices=("lora", "qlora")), True
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed=interval(1,2)", "seeds are replicates, never searched; list them: seed=1,2,3"),
        ("seed=tag(search,choice(1,2))", "seeds are replicates"),
        ("train.learning_rate=interval(2,1)", "an interval's start must be below its end"),
        ("train.learning_rate=tag(log,interval(0,1))", "a logarithmic interval starts above 0"),
        ("train.learning_rate=tag(log,choice(1,2))", "only numbers of an interval() or range()"),
        ("train.learning_rate=tag(design,interval(0,1))", "an interval cannot be a design axis"),
        ("task.train_size=range(5,1)", "the range is empty; it ends before its stop"),
        ("peft.r=range(1,5,0)", "a range needs a step other than 0"),
        ("peft.r=1,2,1", "a value appears twice"),
        ("peft.r=tag(serach,choice(1,2))", "a tag is log, or one of design and search"),
        ("peft.r=tag(design,search,choice(1,2))", "a tag is log, or one of design and search"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(").replace(")", r"\)")):
        axis(text)


@given(st.integers(-20, 20), st.integers(-20, 40), st.integers(-7, 7).filter(bool))
def test_a_range_excludes_its_stop_and_is_pythons(start: int, stop: int, step: int) -> None:
    text = f"peft.r=range({start},{stop},{step})"
    if not range(start, stop, step):
        with pytest.raises(ConfigError, match="range is empty"):
            axis(text)
        return
    assert axis(text).values() == sorted(range(start, stop, step))


@given(st.lists(st.integers(1, 4), min_size=0, max_size=4))
def test_cells_are_the_product_of_the_design_values(sizes: list[int]) -> None:
    axes = [Axis(f"k{index}", Role.DESIGN, Dimension(choices=tuple(range(size)))) for index, size in enumerate(sizes)]
    cells = list(product(axes))
    assert len(cells) == math.prod(sizes)
    assert len({tuple(cell.items()) for cell in cells}) == len(cells)


@given(st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(), min_size=1, max_size=3, unique=True)))
def test_points_of_a_finite_space_are_each_there_once(choices: dict[str, list[int]]) -> None:
    cell = Cell({}, {}, {key: Dimension(choices=tuple(values)) for key, values in choices.items()})
    points = [tuple(sorted(point.items())) for point in cell.points()]
    assert len(points) == cell.num_points == len(set(points))


@given(st.permutations([("a", [1, 2]), ("b", ["x", "y"]), ("c", [0.5, None])]))
def test_a_space_is_described_the_same_whatever_the_order_of_its_axes(axes: list[tuple[str, list[Any]]]) -> None:
    def described(order: list[tuple[str, list[Any]]]) -> dict[str, Any]:
        search = {key: Dimension(choices=tuple(reversed(values))) for key, values in order}
        return Space((Cell({}, {"d": 1}, search),), (0,)).describe()

    assert described(axes) == described(sorted(axes))
