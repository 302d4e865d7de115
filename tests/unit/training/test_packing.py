"""Packing's invariants: every item exactly once, in rows that fit, seeing only what it may."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from sweeper.training.packing import WIDTH_STEP, Item, assign_rows, pack, shared_prefix, stack, visible

tokens = st.lists(st.integers(1, 9), min_size=1, max_size=8)
items = st.lists(st.builds(Item, tokens), min_size=1, max_size=12)
prefixes = st.lists(st.integers(10, 19), max_size=4)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 40))
def test_every_item_has_one_row_and_no_row_overflows_unless_one_item_does(lengths: list[int], capacity: int) -> None:
    rows = assign_rows(lengths, capacity)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= capacity or len(row) == 1 for row in rows)


@given(prefixes, items, st.integers(5, 40))
def test_a_token_sees_the_prefix_and_its_own_item_up_to_itself(
    prefix: list[int], packed: list[Item], width: int
) -> None:
    rows = pack(prefix, packed, row_tokens=width, pad=0)
    mask = visible(rows.owner, rows.branch)[:, 0]
    for row in range(rows.shape[0]):
        for query in range(rows.shape[1]):
            owner = rows.owner[row, query]
            seen = {int(key) for key in mask[row, query].nonzero().flatten()}
            expected = (
                {key for key in range(query + 1) if rows.owner[row, key] in (0, owner)} if owner >= 0 else {query}
            )
            assert seen == expected


@given(prefixes, items, st.integers(5, 40))
def test_positions_restart_after_the_prefix_for_every_item(prefix: list[int], packed: list[Item], width: int) -> None:
    rows = pack(prefix, packed, row_tokens=width, pad=0)
    for number, item in enumerate(packed, start=1):
        own = rows.owner == number
        assert rows.input_ids[own].tolist() == list(item.trunk)
        assert rows.position_ids[own].tolist() == list(range(len(prefix), len(prefix) + len(item.trunk)))
    assert rows.num_tokens == int((rows.owner >= 0).sum())


@given(prefixes, items, st.integers(5, 40))
def test_a_prefix_is_read_once_a_row_for_all_examples_of_the_row(
    prefix: list[int], packed: list[Item], width: int
) -> None:
    without = pack(prefix, packed, row_tokens=width, pad=0)
    rows = pack(prefix, packed, row_tokens=width, pad=0, read_prefix=True)
    own = len(rows.target) - len(without.target)
    assert own == rows.shape[0] * len(prefix[1:])
    assert torch.equal(rows.target[own:], without.target)
    assert rows.target[:own].tolist() == prefix[1:] * rows.shape[0]
    assert torch.equal(rows.input_ids.flatten()[rows.read_at[:own] + 1], rows.target[:own])
    assert rows.weight[:own].sum() == len(packed) * len(prefix[1:])
    assert (rows.weight[own:] == 1).all()


def test_branches_see_their_trunk_and_not_each_other() -> None:
    rows = pack([7], [Item([1, 2], branches=[[3, 4], [5]])], row_tokens=6, pad=0)
    assert rows.input_ids.tolist() == [[7, 1, 2, 3, 4, 5]]
    assert rows.position_ids.tolist() == [[0, 1, 2, 3, 4, 3]]
    mask = visible(rows.owner, rows.branch)[0, 0]
    assert mask[5].tolist() == [True, True, True, False, False, True]
    assert mask[4].tolist() == [True, True, True, True, True, False]


@given(prefixes, st.lists(items, min_size=1, max_size=3), st.integers(5, 40))
def test_stacking_moves_every_read_to_the_same_token(prefix: list[int], runs: list[list[Item]], width: int) -> None:
    alone = [pack(prefix, own, row_tokens=width, pad=0) for own in runs]
    together = stack(alone, pad=0)
    for number, rows in enumerate(alone):
        mine = together.run == number
        read_tokens = together.rows.input_ids.flatten()[together.rows.read_at[mine]]
        assert torch.equal(read_tokens, rows.input_ids.flatten()[rows.read_at])
        assert torch.equal(together.rows.target[mine], rows.target)
        assert torch.equal(together.rows.weight[mine], rows.weight)


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=6))
def test_the_shared_prefix_is_common_and_leaves_each_its_own_token(sequences: list[list[int]]) -> None:
    prefix = shared_prefix(sequences)
    assert all(sequence[: len(prefix)] == prefix and len(sequence) > len(prefix) for sequence in sequences)
    longer = len(prefix) + 1
    extendable = all(len(sequence) > longer for sequence in sequences)
    assert not extendable or len({tuple(sequence[:longer]) for sequence in sequences}) > 1


@given(prefixes, items, st.integers(5, 120))
def test_rows_have_few_different_widths_and_no_more_padding_than_a_row_may_hold(
    prefix: list[int], packed: list[Item], row_tokens: int
) -> None:
    width = pack(prefix, packed, row_tokens=row_tokens, pad=0).shape[1]
    used = max(len(prefix) + len(item) for item in packed)
    if used > row_tokens:
        assert width == used
    else:
        assert width == row_tokens or (width % WIDTH_STEP == 0 and used <= width < row_tokens)
