"""Which documents, or sections of documents, are held out as the test split."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

from sweeper.checks import ConfigError

DOCUMENT, SECTION, AUTO = "document", "section", "auto"


def unit_of_split(documents: Sequence[str], share: float, asked: str) -> str:
    """What stays whole, from each row's document: `auto` is the document, unless one is larger than the share.

    Such a document, a book among papers or the only one there is, would be all in training or all in the test.
    """
    if asked != AUTO:
        return asked
    largest = max(Counter(documents).values(), default=0)
    return SECTION if largest > share * len(documents) else DOCUMENT


def held_out(units: Sequence[str], share: float, seed: int) -> set[str]:
    """From each row's unit, those whose rows together come nearest to the share, taken in the order of a keyed hash.

    Raises:
        ConfigError: that leaves one of the sides empty.
    """
    sizes, wanted = Counter(units), share * len(units)
    taken, rows = set[str](), 0
    for unit in sorted(sizes, key=lambda name: hashlib.sha256(f"{seed}\n{name}".encode()).digest()):
        if abs(rows + sizes[unit] - wanted) < abs(rows - wanted):
            taken.add(unit)
            rows += sizes[unit]
    if not taken or len(taken) == len(sizes):
        enough = math.ceil(100 * min(sizes.values(), default=0) / max(1, len(units))) / 100
        fix = f"test_share={enough:g}" if 0 < enough < 1 and not taken else "give more documents"
        raise ConfigError("test_share", share, f"none of {len(sizes):,} whole parts can be held out for it", fix)
    return taken
