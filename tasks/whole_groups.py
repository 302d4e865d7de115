"""Rows held out by whole groups of them: a document's chunks, an article's questions."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence


def some_groups(groups: Sequence[str], wanted: float, seed: int) -> set[str]:
    """From each row's group: in the order of their keyed hashes, each that brings the rows nearer to `wanted`.

    So none that is left out would bring them nearer, and they miss `wanted` by half a group at most, unless all are
    taken. None may be: the caller says what that means.
    """
    sizes = Counter(groups)
    taken, rows = set[str](), 0
    for group in sorted(sizes, key=lambda name: hashlib.sha256(f"{seed}\n{name}".encode()).digest()):
        if abs(rows + sizes[group] - wanted) < abs(rows - wanted):
            taken.add(group)
            rows += sizes[group]
    return taken
