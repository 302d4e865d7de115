"""Rows made of documents as files that a task reads: repeats left out, a test split held out, all of it accounted for.

train.parquet, test.parquet   the rows
set_aside.jsonl               what became no row, each with its reason
manifest.json                 sources with their sha256, settings, counts; written last
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from sweeper.checks import ConfigError
from tasks.document_split import held_out, unit_of_split
from tasks.near_duplicates import near_duplicates

SPLITS = ("train", "test")
MANIFEST, ASIDE = "manifest.json", "set_aside.jsonl"


@dataclass(frozen=True)
class SetAside:
    """What became no row, and why."""

    reason: str  # few different ones: they are counted
    document: str
    section: str
    text: str  # what was read or written instead
    detail: str = ""


class Row(Protocol):
    @property
    def document(self) -> str: ...

    @property
    def section(self) -> str: ...

    def row(self) -> dict[str, Any]:
        """Its columns."""


RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True)
class Settings:
    near_duplicate: float  # Jaccard similarity
    test_share: float
    split: str  # document | section | auto
    seed: int


@dataclass(frozen=True)
class Sources:
    files: Sequence[Path]
    others: Sequence[Path] = ()  # of the same folders, and no documents


@dataclass(frozen=True)
class Held:
    """What one set holds out, for another set of the same documents."""

    unit: str  # document | section
    names: AbstractSet[str]


@dataclass(frozen=True)
class Written(Generic[RowT]):
    kept: Sequence[RowT]
    held: Held


@dataclass(frozen=True)
class DocumentSet:
    folder: Path
    settings: Settings
    words: Mapping[str, str]  # of the command line, for the manifest

    def check_free(self) -> None:
        """Raises ConfigError where the folder holds a set already."""
        for name in (*(f"{split}.parquet" for split in SPLITS), MANIFEST):
            if (self.folder / name).exists():
                raise ConfigError("out", self.folder.parent, f"holds {self.folder.name}/{name} already",
                                  "delete it or give another folder")  # fmt: skip

    def write(
        self, rows: Sequence[RowT], key: Callable[[RowT], str], aside: Sequence[SetAside], sources: Sources,
        held: Held | None = None,
    ) -> Written[RowT]:  # fmt: skip
        """`key` is what must not repeat. Without `held` the test split is chosen here.

        Raises:
            ConfigError: no split of the wanted share can be made.
        """
        repeated = near_duplicates([key(row) for row in rows], self.settings.near_duplicate)
        aside = [*aside, *(_repeat(rows[number], key(rows[number]), rows[kept]) for number, kept in repeated.items())]
        kept = [row for number, row in enumerate(rows) if number not in repeated]
        held = held or self._held(kept)
        sides = {"train": [row for row in kept if not _is_held(row, held)],
                 "test": [row for row in kept if _is_held(row, held)]}  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        for split, own in sides.items():
            self._write_rows(split, own)
        lines = [json.dumps(dataclasses.asdict(lost), ensure_ascii=False) + "\n" for lost in aside]
        (self.folder / ASIDE).write_text("".join(lines), encoding="utf-8")
        counts = {**{split: len(own) for split, own in sides.items()},
                  "set_aside": dict(Counter(lost.reason for lost in aside))}  # fmt: skip
        self._write_manifest(counts, sides, sources, held)
        print(self._summary(counts, held))
        return Written(kept, held)

    def _held(self, rows: Sequence[Row]) -> Held:
        unit = unit_of_split([row.document for row in rows], self.settings.test_share, self.settings.split)
        if not rows:
            return Held(unit, frozenset())
        names = [str(getattr(row, unit)) for row in rows]
        return Held(unit, held_out(names, self.settings.test_share, self.settings.seed))

    def _write_rows(self, split: str, rows: Sequence[Row]) -> None:
        import pandas as pd

        if rows:  # a file of no rows is no data: a run that wants it shall say that it is missing
            frame = pd.DataFrame([row.row() for row in rows])
            frame.to_parquet(self.folder / f"{split}.parquet", index=False)

    def _write_manifest(
        self, counts: Mapping[str, Any], sides: Mapping[str, Sequence[Row]], sources: Sources, held: Held
    ) -> None:
        manifest = {
            "sources": [{"path": path.as_posix(), "sha256": _sha256(path)} for path in sources.files],
            "no_documents": [path.as_posix() for path in sources.others],
            "settings": {**self.words, **dataclasses.asdict(self.settings), "split": held.unit},
            "counts": counts,
            "documents": {split: dict(Counter(row.document for row in own)) for split, own in sides.items()},
        }
        text = json.dumps(manifest, indent=1, ensure_ascii=False)
        (self.folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8")

    def _summary(self, counts: Mapping[str, Any], held: Held) -> str:
        lost = ", ".join(f"{count:,} {reason}" for reason, count in counts["set_aside"].items()) or "none"
        units = f"{len(held.names):,} {held.unit}{'s' * (len(held.names) != 1)}"
        return (f"{self.folder}: {counts['train']:,} rows to train on, {counts['test']:,} to test on "
                f"({units} held out); set aside: {lost}")  # fmt: skip


def _is_held(row: Row, held: Held) -> bool:
    return getattr(row, held.unit) in held.names


def _repeat(row: Row, text: str, kept: Row) -> SetAside:
    return SetAside("near duplicate", row.document, row.section, text, f"of one in {kept.section}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
