"""Rows that say almost the same in almost the same words: MinHash with locality-sensitive hashing (datasketch).

Two rows are near duplicates where each text of one is near the other's: their sets of character 5-grams, case and white
space aside, have a Jaccard similarity of `threshold` or more, as MinHash estimates it from `PERMUTATIONS` values
(standard error 0.06 or less). So a question that has another answer is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasketch import MinHash

GRAM = 5  # characters
PERMUTATIONS = 128


def near_duplicates(rows: Sequence[Sequence[str]], threshold: float) -> dict[int, int]:
    """Indices of rows to leave out -> the earlier row that each repeats; that one is kept.

    A row is its texts, as many in each.
    """
    from datasketch import MinHashLSH

    # The index proposes, and shall rather propose one too many: the estimate decides.
    index = MinHashLSH(threshold=min(threshold, 0.9), num_perm=PERMUTATIONS, weights=(0.1, 0.9))
    kept: dict[int, list[MinHash]] = {}
    repeated: dict[int, int] = {}
    for number, texts in enumerate(rows):
        sketches = [_sketch(text) for text in texts]
        found = [other for other in sorted(index.query(sketches[0])) if _least(sketches, kept[other]) >= threshold]
        if found:
            repeated[number] = found[0]
        else:
            kept[number] = sketches
            index.insert(number, sketches[0])
    return repeated


def _sketch(text: str) -> MinHash:
    from datasketch import MinHash

    sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
    sketch.update_batch(_grams(text))
    return sketch


def _least(sketches: Sequence[MinHash], others: Sequence[MinHash]) -> float:
    return min(float(own.jaccard(other)) for own, other in zip(sketches, others, strict=True))


def _grams(text: str) -> list[bytes]:
    plain = " ".join(text.lower().split())
    return sorted({plain[start : start + GRAM].encode() for start in range(max(1, len(plain) - GRAM + 1))})
