"""Rows made of documents as files that a task reads: repeats left out, a test split held out, all of it accounted for.

train.parquet, test.parquet   the rows
set_aside.jsonl               what became no row, each with its reason
manifest.json                 sources with their sha256, settings, counts, the parts of each side; written last: a
                              folder without it is none that was finished
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from sweeper.arguments import whole_number
from sweeper.atomic_json import read_json, write_json
from sweeper.checks import ConfigError, one_of
from tasks.document_split import AUTO, DOCUMENT, SECTION, TEST, TRAIN, Parts, Placed, held_out, unit_of_split
from tasks.near_duplicates import near_duplicates
from tasks.whole_groups import some_groups

MANIFEST, ASIDE = "manifest.json", "set_aside.jsonl"
NOTES = {  # of a side that has no rows, and so no file
    TRAIN: "no train.parquet: a task needs other documents",
    TEST: "no test.parquet: a task needs task.data.test_share, or other documents",
}


@dataclass(frozen=True)
class SetAside:
    """What became no row, and why."""

    reason: str  # few different ones: they are counted
    document: str
    section: str
    text: str  # what was read or written instead
    detail: str = ""


class Row(Placed, Protocol):
    @property
    def key(self) -> tuple[str, ...]:
        """Its texts; no two rows have nearly the same."""

    def row(self) -> dict[str, Any]:
        """Its columns."""


RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True)
class Settings:
    near_duplicate: float  # Jaccard similarity
    test_share: float
    split: str  # document | section | auto
    seed: int

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Settings:
        """From the words of a command, all of them given. Raises ConfigError."""
        one_of("split", given["split"], (AUTO, DOCUMENT, SECTION))
        near_duplicate, test_share = (_share(given, key) for key in ("near_duplicate", "test_share"))
        return cls(near_duplicate, test_share, given["split"], whole_number(given, "seed", 0))


@dataclass(frozen=True)
class Sources:
    files: Sequence[Path]
    others: Sequence[Path] = ()  # of the same folders, and no documents

    def described(self) -> list[dict[str, str]]:
        return [{"path": path.as_posix(), "sha256": _sha256(path)} for path in self.files]


@dataclass(frozen=True)
class Content(Generic[RowT]):
    """A set before it is written."""

    rows: Sequence[RowT]
    sides: Sequence[str]  # of each row: train | test
    parts: Parts  # of the rows that follow no other set
    unnamed: int | None  # how many rows these are; None where there is no other set to follow
    aside: Sequence[SetAside]

    def of(self, side: str) -> list[RowT]:
        return [row for row, own in zip(self.rows, self.sides, strict=True) if own == side]

    def missing(self) -> str:
        """The first side without a row; nothing where both have some."""
        return next((side for side in (TRAIN, TEST) if not self.of(side)), "")


@dataclass(frozen=True)
class DocumentSet:
    folder: Path
    settings: Settings
    words: Mapping[str, str]  # of the command line, for the manifest

    def check_free(self) -> None:
        """Raises ConfigError where the folder holds a finished set."""
        if (self.folder / MANIFEST).exists():
            raise ConfigError("out", self.folder.parent, f"holds {self.folder.name}/{MANIFEST} already",
                              "delete its folder or give another one")  # fmt: skip

    def is_finished(self, sources: Sources) -> bool:
        """Raises ConfigError where it is, but of other settings or files."""
        if (manifest := read_manifest(self.folder)) is None:
            return False
        ours = {**self._settings(), **{each["path"]: each["sha256"] for each in sources.described()}}
        theirs = {**manifest["settings"], **{each["path"]: each["sha256"] for each in manifest["sources"]}}
        if changed := difference(theirs, ours):
            raise ConfigError("out", self.folder.parent, f"holds {self.folder.name}/ made with {changed}",
                              "give the same again, or another folder")  # fmt: skip
        return True

    def content(self, rows: Sequence[RowT], aside: Sequence[SetAside], follows: Parts | None = None) -> Content[RowT]:
        """Rows that are about the parts of another set are on the sides that these have there; the split of the rest is
        chosen here.

        Raises:
            ConfigError: no split of the wanted share can be made, or the side of a row about the other set is unknown.
        """
        repeated = near_duplicates([row.key for row in rows], self.settings.near_duplicate)
        aside = [*aside, *(_repeat(rows[number], rows[kept]) for number, kept in repeated.items())]
        kept = [row for number, row in enumerate(rows) if number not in repeated]
        named = [_side(row, follows) if follows else None for row in kept]
        rest = [row for row, side in zip(kept, named, strict=True) if side is None]
        parts = self._parts(rest, aside, must_split=0 < len(rest) == len(kept))
        sides = [side or parts.sides[parts.name(row)] for row, side in zip(kept, named, strict=True)]
        return Content(kept, sides, parts, len(rest) if follows else None, aside)

    def write(self, content: Content[RowT], sources: Sources) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for side in (TRAIN, TEST):
            self._write_rows(side, content.of(side))
        self.write_aside(content.aside)
        self._write_manifest(content, sources)
        print(self._summary(content))

    def write_aside(self, aside: Sequence[SetAside]) -> Path:
        """Returns the file's path."""
        lines = [json.dumps(dataclasses.asdict(lost), ensure_ascii=False) + "\n" for lost in aside]
        path = self.folder / ASIDE
        path.write_text("".join(lines), encoding="utf-8")
        return path

    def _settings(self) -> dict[str, Any]:
        return {key: value for key, value in self.words.items() if key != "out"} | dataclasses.asdict(self.settings)

    def _parts(self, rows: Sequence[Row], aside: Sequence[SetAside], *, must_split: bool) -> Parts:
        """Rows that stand beside others may be too few to hold any of them out: then all are trained on."""
        share, seed = self.settings.test_share, self.settings.seed
        unit = unit_of_split([row.document for row in rows], share, self.settings.split)
        names = [str(getattr(row, unit)) for row in rows]
        test = held_out(names, share, seed, told(aside)) if must_split else some_groups(names, share * len(names), seed)
        return Parts(unit, frozenset(names) - test, test)

    def _write_rows(self, side: str, rows: Sequence[Row]) -> None:
        import pandas as pd

        path = self.folder / f"{side}.parquet"
        path.unlink(missing_ok=True)  # of a set that was never finished
        if rows:  # a file of no rows is no data: a run that wants it shall say that it is missing
            pd.DataFrame([row.row() for row in rows]).to_parquet(path, index=False)

    def _write_manifest(self, content: Content[RowT], sources: Sources) -> None:
        manifest = {
            "sources": sources.described(),
            "no_documents": [path.as_posix() for path in sources.others],
            "settings": self._settings(),
            "counts": {**{side: len(content.of(side)) for side in (TRAIN, TEST)}, "set_aside": _reasons(content.aside)},
            "documents": {side: dict(Counter(row.document for row in content.of(side))) for side in (TRAIN, TEST)},
            "parts": content.parts.plain(),
        }
        if content.unnamed is not None:
            manifest["rows_about_none_of_the_text"] = content.unnamed  # `parts` are theirs
        if missing := content.missing():
            manifest["note"] = NOTES[missing]
        write_json(self.folder / MANIFEST, manifest)

    def _summary(self, content: Content[RowT]) -> str:
        number, unit = len(content.parts.test), content.parts.unit
        units = f"{number:,} {unit}{'s' * (number != 1)}"
        how = f"{units} held out"
        if content.unnamed is not None:
            own = f"; {content.unnamed:,} rows are about none of its parts, {units} of theirs held out"
            how = "as the text is split" + own * bool(content.unnamed)
        note = f"; {NOTES[missing]}" if (missing := content.missing()) else ""
        return (f"{self.folder}: {len(content.of(TRAIN)):,} rows to train on, {len(content.of(TEST)):,} to test on "
                f"({how}); set aside: {told(content.aside)}{note}")  # fmt: skip


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """None where there is no finished set. Raises ConfigError for a file that cannot be read as one."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        manifest = dict(read_json(path))
        Parts.restored(manifest["parts"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError("out", folder.parent, f"{folder.name}/{MANIFEST} does not say how its documents are split "
                          f"({type(error).__name__})", "build that set again") from None  # fmt: skip
    return manifest


def parts_of(folder: Path) -> Parts | None:
    """Of a finished set. Raises ConfigError."""
    manifest = read_manifest(folder)
    return None if manifest is None else Parts.restored(manifest["parts"])


def difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """The first key whose value is not the same, in words; nothing where all are."""
    for key in [*ours, *theirs]:
        if theirs.get(key) != ours.get(key):
            return f"{key}={theirs.get(key)}, now {ours.get(key)}"
    return ""


def _side(row: Row, follows: Parts) -> str | None:
    """On which the other set has what the row is about; None where it is about none of its documents.

    Raises:
        ConfigError: it has the document on both sides, and not the row's section.
    """
    side = follows.sides.get(follows.name(row))
    if side is None and row.document in follows.divided:
        raise ConfigError("section", row.section, f"the text holds sections of {row.document} out, and this is none of "
                          f"them: the side of the row {row.key[0]!r} is unknown", "name the row's page or part in the "
                          "column section, or build the text with split=document")  # fmt: skip
    return side


def told(aside: Sequence[SetAside]) -> str:
    """`3 near duplicate, 1 unreadable`, or `none`."""
    return ", ".join(f"{count:,} {reason}" for reason, count in _reasons(aside).items()) or "none"


def _reasons(aside: Sequence[SetAside]) -> dict[str, int]:
    return dict(Counter(lost.reason for lost in aside))


def _repeat(row: Row, kept: Row) -> SetAside:
    return SetAside("near duplicate", row.document, row.section, "\n".join(row.key), f"of one in {kept.section}")


def _share(given: Mapping[str, str], key: str) -> float:
    try:
        value = float(given[key])
    except ValueError:
        raise ConfigError(key, given[key], "must be a number") from None
    if not 0 < value < 1:  # nor does nan
        raise ConfigError(key, given[key], "must lie between 0 and 1")
    return value


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
