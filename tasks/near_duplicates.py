"""Texts that say almost the same in almost the same words: MinHash with locality-sensitive hashing (datasketch).

Two texts are near duplicates where their sets of character 5-grams, case and white space aside, have a Jaccard
similarity of `threshold` or more, as MinHash estimates it from `PERMUTATIONS` values (standard error 0.06 or less).
"""

from __future__ import annotations

from collections.abc import Sequence

GRAM = 5  # characters
PERMUTATIONS = 128


def near_duplicates(texts: Sequence[str], threshold: float) -> dict[int, int]:
    """Indices of texts to leave out -> the earlier text that each repeats; that one is kept."""
    from datasketch import MinHash, MinHashLSH

    # The index proposes, and shall rather propose one too many: the estimate decides.
    index = MinHashLSH(threshold=min(threshold, 0.9), num_perm=PERMUTATIONS, weights=(0.1, 0.9))
    kept: dict[int, MinHash] = {}
    repeated: dict[int, int] = {}
    for number, text in enumerate(texts):
        sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
        sketch.update_batch(_grams(text))
        found = [other for other in sorted(index.query(sketch)) if sketch.jaccard(kept[other]) >= threshold]
        if found:
            repeated[number] = found[0]
        else:
            kept[number] = sketch
            index.insert(number, sketch)
    return repeated


def _grams(text: str) -> list[bytes]:
    plain = " ".join(text.lower().split())
    return sorted({plain[start : start + GRAM].encode() for start in range(max(1, len(plain) - GRAM + 1))})
