"""Rows of packed examples: who shares a row, who sees whom, which positions are read.

A row is `[prefix][example][example]...`; an example may end in branches (the candidate answers of an
evaluation). Positions restart after the prefix for every example and after the prompt for every branch,
and a token sees the prefix, its own example and its own branch, never a neighbour. For a causal model
that is exactly one example (or branch) per row, at the price of computing the shared parts once.

Shapes: R rows, T tokens a row, N read positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

PREFIX, PADDING = 0, -1  # owners of tokens that belong to no example
WIDTH_STEP = 32  # tokens


class Read(NamedTuple):
    """One prediction that matters: the logits of the token at `offset` should name `target`."""

    offset: int  # of the predicting token within its trunk or branch; -1 in the trunk is the prefix's last
    target: int  # token id
    branch: int  # 0 for the trunk, else 1 + the index of the branch


@dataclass(frozen=True)
class Item:
    """One example without the shared prefix: a trunk and, in evaluation, the branches that follow it."""

    trunk: Sequence[int]
    branches: Sequence[Sequence[int]] = ()
    learnt_from: int | None = None  # the trunk's tokens from here on are targets; None: it is measured, not learnt

    def __len__(self) -> int:
        return len(self.trunk) + sum(len(branch) for branch in self.branches)

    @property
    def num_targets(self) -> int:
        return 0 if self.learnt_from is None else len(self.trunk) - self.learnt_from

    def reads(self) -> Iterator[Read]:
        """Made when they are packed: a corpus has millions. What is measured is read at the trunk's end and at every
        token of every branch, its targets are the reader's to know."""
        if self.learnt_from is not None:
            yield from (Read(at - 1, self.trunk[at], 0) for at in range(self.learnt_from, len(self.trunk)))
            return
        yield Read(len(self.trunk) - 1, 0, 0)
        for branch, tokens in enumerate(self.branches, start=1):
            yield from (Read(at, 0, branch) for at in range(len(tokens)))


@dataclass
class Rows:
    """Packed rows and the flat list of their reads: the prefixes' first, then in the order of the items."""

    input_ids: Tensor  # [R, T] int64
    position_ids: Tensor  # [R, T] int64
    owner: Tensor  # [R, T] int64: 0 prefix, 1 + item index, -1 padding
    branch: Tensor  # [R, T] int64: 0 trunk, 1 + branch index
    read_at: Tensor  # [N] int64, flat index into R * T
    target: Tensor  # [N] int64
    weight: Tensor  # [N] float32, how many examples the read counts for: all of the row in the prefix, else one
    num_tokens: int = field(default=0)  # without padding

    @property
    def shape(self) -> tuple[int, int]:
        return self.input_ids.shape[0], self.input_ids.shape[1]


def shared_prefix(sequences: Sequence[Sequence[int]]) -> list[int]:
    """The longest common start that leaves every sequence at least one token of its own; empty for no sequences."""
    if not sequences:
        return []
    first, last = (
        min(sequences, key=list),
        max(sequences, key=list),
    )  # every other sequence lies between the two, so shares their start
    limit = min(len(sequence) for sequence in sequences) - 1
    length = 0
    while length < limit and first[length] == last[length]:
        length += 1
    return list(first[:length])


def assign_rows(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Indices of the items of each row: as few rows as fit, filled evenly, longest item first.

    An item longer than the capacity has a row alone.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    num_rows = max(1, -(-sum(lengths) // capacity))
    while True:
        rows: list[list[int]] = [[] for _ in range(num_rows)]
        filled = [0] * num_rows
        for index in order:
            emptiest = min(range(num_rows), key=filled.__getitem__)
            rows[emptiest].append(index)
            filled[emptiest] += lengths[index]
        if all(size <= capacity or len(row) == 1 for size, row in zip(filled, rows, strict=True)):
            return [row for row in rows if row]
        num_rows += 1


def pack(prefix: Sequence[int], items: Sequence[Item], *, row_tokens: int, pad: int, read_prefix: bool = False) -> Rows:
    """Rows of at most `row_tokens` tokens, prefix included, unless a single item is longer than that.

    With `read_prefix` the prefix's own tokens are targets too, each read once a row.
    """
    capacity = max(1, row_tokens - len(prefix))
    rows = assign_rows([len(item) for item in items], capacity)
    width = _padded_width(len(prefix) + max(sum(len(items[index]) for index in row) for row in rows), row_tokens)
    layout = _Layout(len(rows), width, pad)
    for row, members in enumerate(rows):
        layout.place_prefix(row, prefix, read_for=len(members) if read_prefix else 0)
        for index in members:
            layout.place(row, index, items[index], len(prefix))
    return layout.rows()


def _padded_width(width: int, row_tokens: int) -> int:
    """Few different widths: oneDNN compiles, and keeps, its kernels for each shape that it meets."""
    return max(width, min(-(-width // WIDTH_STEP) * WIDTH_STEP, row_tokens))


class _Layout:
    """Rows under construction, as plain lists: a tensor assignment per example would cost more than the copy."""

    def __init__(self, num_rows: int, width: int, pad: int) -> None:
        self.width = width
        self.ids = [[pad] * width for _ in range(num_rows)]
        self.positions = [[0] * width for _ in range(num_rows)]
        self.owners = [[PADDING] * width for _ in range(num_rows)]
        self.branches = [[0] * width for _ in range(num_rows)]
        self.end = [0] * num_rows
        self.reads: list[tuple[int, int, int, int]] = []  # item (-1: a prefix), flat index, target, weight

    def place_prefix(self, row: int, prefix: Sequence[int], *, read_for: int) -> None:
        """`read_for`: examples that answer for its tokens."""
        start = row * self.width + self._write(row, prefix, 0, PREFIX, 0)
        if read_for:
            self.reads += [(-1, start + column, target, read_for) for column, target in enumerate(prefix[1:])]

    def place(self, row: int, index: int, item: Item, prefix_length: int) -> None:
        starts = [self._write(row, item.trunk, prefix_length, index + 1, 0)]
        after_trunk = prefix_length + len(item.trunk)
        for number, tokens in enumerate(item.branches, start=1):
            starts.append(self._write(row, tokens, after_trunk, index + 1, number))
        for read in item.reads():
            column = starts[read.branch] + read.offset if read.offset >= 0 else prefix_length + read.offset
            self.reads.append((index, row * self.width + column, read.target, 1))

    def _write(self, row: int, tokens: Sequence[int], position: int, owner: int, branch: int) -> int:
        start, stop = self.end[row], self.end[row] + len(tokens)
        self.ids[row][start:stop] = tokens
        self.positions[row][start:stop] = range(position, position + len(tokens))
        self.owners[row][start:stop] = [owner] * len(tokens)
        self.branches[row][start:stop] = [branch] * len(tokens)
        self.end[row] = stop
        return start

    def rows(self) -> Rows:
        reads = sorted(self.reads, key=lambda read: read[0])  # stable: an item's reads keep their order
        _, read_at, target, weight = zip(*reads, strict=True) if reads else ((), (), (), ())
        return Rows(
            input_ids=torch.tensor(self.ids),
            position_ids=torch.tensor(self.positions),
            owner=torch.tensor(self.owners),
            branch=torch.tensor(self.branches),
            read_at=torch.tensor(read_at, dtype=torch.long),
            target=torch.tensor(target, dtype=torch.long),
            weight=torch.tensor(weight, dtype=torch.float32),
            num_tokens=sum(self.end),
        )


def visible(owner: Tensor, branch: Tensor) -> Tensor:
    """Which token may attend to which.

    Args:
        owner, branch: [R, T] as in `Rows`.

    Returns:
        [R, 1, T, T] bool, True where the query (third axis) sees the key (last axis). A padding token sees
        itself, so that no row of the softmax is empty.
    """
    width = owner.shape[1]
    causal = torch.ones(width, width, dtype=torch.bool, device=owner.device).tril()
    query, key = owner[:, :, None], owner[:, None, :]
    same_item = (key == PREFIX) | (key == query)
    same_branch = (branch[:, None, :] == 0) | (branch[:, None, :] == branch[:, :, None])
    real = (key != PADDING) & (query != PADDING)
    itself = torch.eye(width, dtype=torch.bool, device=owner.device)
    return ((causal & same_item & same_branch & real) | itself)[:, None]


@dataclass
class Stack:
    """The rows of K runs as one batch: run k's rows are k * R to (k + 1) * R, padded to the group's R and T."""

    rows: Rows  # [K * R, T]
    run: Tensor  # [N] int64, which run reads
    num_rows: int  # R


def stack(batches: Sequence[Rows], *, pad: int) -> Stack:
    num_rows = max(rows.shape[0] for rows in batches)
    width = max(rows.shape[1] for rows in batches)

    def padded(name: str, filler: int) -> Tensor:
        blocks = [getattr(rows, name) for rows in batches]
        whole = torch.full((len(blocks), num_rows, width), filler)
        for number, block in enumerate(blocks):
            whole[number, : block.shape[0], : block.shape[1]] = block
        return whole.flatten(0, 1)

    def moved(number: int, rows: Rows) -> Tensor:
        row, column = rows.read_at // rows.shape[1], rows.read_at % rows.shape[1]
        return (number * num_rows + row) * width + column

    read_at = torch.cat([moved(number, rows) for number, rows in enumerate(batches)])
    run = torch.cat([torch.full_like(rows.target, number) for number, rows in enumerate(batches)])
    whole = Rows(
        input_ids=padded("input_ids", pad),
        position_ids=padded("position_ids", 0),
        owner=padded("owner", PADDING),
        branch=padded("branch", 0),
        read_at=read_at,
        target=torch.cat([rows.target for rows in batches]),
        weight=torch.cat([rows.weight for rows in batches]),
        num_tokens=sum(rows.num_tokens for rows in batches),
    )
    return Stack(whole, run, num_rows)
