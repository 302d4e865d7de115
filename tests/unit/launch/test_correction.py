from __future__ import annotations

import math
import random

import pytest

from sweeper.launch.correction import WEIGHT_OF_ALL, WEIGHT_OF_PRIOR, Correction, Measured


def biased(number: int, *, kind: str, factor: float, spread: float = 0.2) -> list[Measured]:
    """Runs that take `factor` times their prior, give or take."""
    draw = random.Random(number)
    priors = [draw.uniform(10, 1000) for _ in range(number)]
    return [Measured(kind, (prior,), (prior * factor * math.exp(draw.gauss(0, spread)),)) for prior in priors]


def test_without_runs_the_prior_stands() -> None:
    correction = Correction([])
    assert correction.corrected("a", (3.0, 4.0)) == (3.0, 4.0)
    assert correction.error({"a"}).in_words == "never measured here: a guess from FLOPs"


def test_the_factor_is_the_shrunk_geometric_mean() -> None:
    (value,) = Correction([Measured("a", (1.0,), (4.0,)), Measured("a", (1.0,), (16.0,))]).corrected("a", (1.0,))
    every = (math.log(4) + math.log(16)) / (2 + WEIGHT_OF_PRIOR)
    assert math.log(value) == pytest.approx((math.log(4) + math.log(16) + WEIGHT_OF_ALL * every) / (2 + WEIGHT_OF_ALL))


def test_a_kind_never_seen_is_corrected_by_all() -> None:
    (value,) = Correction(biased(30, kind="a", factor=5.0)).corrected("b", (1.0,))
    assert value == pytest.approx(5.0, rel=0.15)


def test_each_part_is_corrected_by_itself_and_an_absent_one_teaches_nothing() -> None:
    runs = [Measured("a", (10.0, 10.0), (20.0, 5.0))] * 50 + [Measured("a", (0.0, 10.0), (0.0, 5.0))] * 50
    assert Correction(runs).corrected("a", (1.0, 1.0)) == pytest.approx((2.0, 0.5), rel=0.02)


@pytest.mark.parametrize("factor", [0.2, 3.0, 20.0])
def test_the_correction_reduces_the_error_on_runs_left_out(factor: float) -> None:
    runs = biased(12, kind="a", factor=factor) + biased(12, kind="b", factor=2 * factor)
    error = Correction(runs).error({"a", "b"})
    uncorrected = sorted(abs(run.prior[0] / run.actual[0] - 1) for run in runs)[12]
    assert error.share is not None
    assert error.num_runs == 24
    assert error.share < 0.3 < uncorrected


def test_an_error_is_that_of_the_kinds_in_question_where_there_are_enough() -> None:
    runs = biased(10, kind="a", factor=2.0, spread=0.0) + biased(10, kind="b", factor=2.0, spread=1.0)
    correction = Correction(runs)
    own, other = correction.error({"a"}), correction.error({"c"})
    assert own.num_runs == 10
    assert own.in_words.endswith("in the middle of 10 runs seen here")
    assert other.in_words.endswith("in the middle of 20 runs of other models or methods seen here")


def test_runs_that_trained_together_are_left_out_together() -> None:
    together = [Measured("a", (1.0,), (100.0,), group="one")] * 5
    apart = [Measured("a", (1.0,), (100.0,))] * 5
    alone, known = Correction(together).error({"a"}).share, Correction(apart).error({"a"}).share
    assert alone is not None
    assert known is not None
    assert alone == pytest.approx(0.99)  # the prior, 1, against 100
    assert known < 0.2


def test_leaving_out_changes_nothing_afterwards() -> None:
    correction = Correction(biased(9, kind="a", factor=3.0))
    before = correction.corrected("a", (1.0,))
    correction.error({"a"})
    assert correction.corrected("a", (1.0,)) == pytest.approx(before)


def test_few_runs_correct_but_have_no_error() -> None:
    correction = Correction([Measured("a", (1.0,), (5.0,))])
    assert correction.corrected("a", (1.0,))[0] > 3
    assert correction.error({"a"}).in_words == "corrected by 1 run seen here, too few to know the error"
