"""Which documents, or sections of documents, are held out as the test split."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from sweeper.checks import ConfigError
from tasks.whole_groups import some_groups

DOCUMENT, SECTION, AUTO = "document", "section", "auto"
TRAIN, TEST = "train", "test"


class Placed(Protocol):
    @property
    def document(self) -> str: ...

    @property
    def section(self) -> str: ...


@dataclass(frozen=True)
class Parts:
    """The two sides by the names of their parts, for whatever else is made of the same documents."""

    unit: str  # document | section
    train: AbstractSet[str]
    test: AbstractSet[str]

    @classmethod
    def restored(cls, plain: Mapping[str, Any]) -> Parts:
        """Raises KeyError for what `plain` did not make."""
        return cls(plain["unit"], frozenset(plain[TRAIN]), frozenset(plain[TEST]))

    def plain(self) -> dict[str, Any]:
        return {"unit": self.unit, TRAIN: sorted(self.train), TEST: sorted(self.test)}

    @cached_property
    def sides(self) -> Mapping[str, str]:
        """Of each part, by its name."""
        return dict.fromkeys(self.train, TRAIN) | dict.fromkeys(self.test, TEST)

    def name(self, row: Placed) -> str:
        """Of the document or section that must be one of the parts, for the row to have a side."""
        return str(getattr(row, self.unit))

    @cached_property
    def divided(self) -> AbstractSet[str]:
        """The documents whose sections may be on different sides; none where documents stay whole."""
        if self.unit == DOCUMENT:
            return frozenset()
        return frozenset(section.rpartition(", ")[0] for section in self.train | self.test)  # see `Chunk.section`


def unit_of_split(documents: Sequence[str], share: float, wanted: str) -> str:
    """What stays whole, from each row's document: `auto` is the document, unless one is larger than the share.

    Such a document, a book among papers or the only one there is, would be all in training or all in the test.
    """
    if wanted != AUTO:
        return wanted
    largest = max(Counter(documents).values(), default=0)
    return SECTION if largest > share * len(documents) else DOCUMENT


def held_out(units: Sequence[str], share: float, seed: int, aside: str = "none") -> set[str]:
    """From each row's unit, some whose rows together are about the share: see `some_groups`.

    `aside` tells what became no row.

    Raises:
        ConfigError: that leaves one of the sides empty.
    """
    sizes, taken = Counter(units), some_groups(units, share * len(units), seed)
    if not taken or len(taken) == len(sizes):
        enough = math.ceil(100 * min(sizes.values(), default=0) / max(1, len(units))) / 100
        fix = f"test_share={enough:g}" if 0 < enough < 1 and not taken else "give more documents"
        rule = f"none of {len(sizes):,} whole parts can be held out for it (set aside: {aside})"
        raise ConfigError("test_share", share, rule, fix)
    return taken
