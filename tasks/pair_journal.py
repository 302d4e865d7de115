"""What a chat model has written so far, so that a build which stopped goes on where it was.

A JSON line that says what was asked, and one for each portion of chunks that is done. A line that a crash cut off is
none: its portion is asked again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sweeper.checks import ConfigError
from tasks.answer_pairs import Pair, prompt
from tasks.chunks import Chunk
from tasks.document_set import SetAside, difference


@dataclass(frozen=True)
class Portion:
    chunks: int  # that were asked about
    pairs: list[Pair]
    aside: list[SetAside]


@dataclass(frozen=True)
class PairJournal:
    path: Path
    asked: Mapping[str, Any]

    @classmethod
    def of(cls, path: Path, words: Mapping[str, str], found: Sequence[Chunk], count: int) -> PairJournal:
        """`words` decide the answers, as the prompts do."""
        places = [[prompt(chunk, count).user, chunk.document, chunk.section] for chunk in found]
        return cls(path, {**words, "texts": hashlib.sha256(json.dumps(places).encode()).hexdigest()})

    def portions(self) -> list[Portion]:
        """Those that are done; what a crash cut off is deleted. Raises ConfigError where others were asked for."""
        if not self.path.exists():
            return []
        lines = [line for line in self.path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
        os.truncate(self.path, sum(map(len, lines)))
        if not lines:
            return []
        if changed := difference(json.loads(lines[0]), self.asked):
            raise ConfigError("out", self.path, f"was begun with {changed}", "give the same again, or delete it")
        return [_portion(json.loads(line)) for line in lines[1:]]

    def add(self, portion: Portion) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            if not file.tell():
                print(json.dumps(self.asked), file=file)
            print(json.dumps(asdict(portion)), file=file)
            file.flush()
            os.fsync(file.fileno())

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)


def _portion(plain: Mapping[str, Any]) -> Portion:
    pairs, aside = plain["pairs"], plain["aside"]
    return Portion(plain["chunks"], [Pair(**pair) for pair in pairs], [SetAside(**lost) for lost in aside])
