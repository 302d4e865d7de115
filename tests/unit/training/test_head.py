"""How an encoder's batch is cut into forwards."""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from sweeper.training.head import alike

lengths_of_a_batch = st.lists(st.integers(1, 60), min_size=1, max_size=9)
prices = st.integers(0, 200)


def cost(pieces: list[list[int]], lengths: list[int], price: int) -> int:
    """Padded tokens, and the price of each forward."""
    return sum(len(piece) * max(lengths[number] for number in piece) + price for piece in pieces)


@given(lengths_of_a_batch, prices)
def test_every_example_is_in_one_piece_and_no_cut_costs_less(lengths: list[int], price: int) -> None:
    pieces = alike(lengths, price)
    assert sorted(number for piece in pieces for number in piece) == list(range(len(lengths)))
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    cuts = [(0, *at, len(order)) for count in range(len(order)) for at in combinations(range(1, len(order)), count)]
    every = [[order[start:stop] for start, stop in pairwise(cut)] for cut in cuts]
    assert cost(pieces, lengths, price) == min(cost(other, lengths, price) for other in every)


def test_equal_lengths_are_one_forward() -> None:
    assert len(alike([7] * 20, price=1)) == 1
