"""What a chat model has written so far, so that a build which stopped goes on where it was.

Its first line is the header: what decides the answers. Every other line is a portion of chunks that is done, which
follows the one before. A last line that a crash cut off is none: its portion is asked again.
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
    first: int  # number of the first of its chunks, from 0: it follows the portion before
    chunks: int  # that were asked about
    pairs: list[Pair]
    aside: list[SetAside]


def asked(done: Sequence[Portion]) -> int:
    """How many chunks they are about, from the first one on."""
    return sum(portion.chunks for portion in done)


@dataclass(frozen=True)
class PairJournal:
    path: Path
    header: Mapping[str, Any]  # plain JSON values

    @classmethod
    def of(cls, path: Path, writer: Mapping[str, Any], found: Sequence[Chunk], count: int) -> PairJournal:
        """`writer` is what decides its answers beside the prompts: the command's words, the model and its weights."""
        places = [[prompt(chunk, count).user, chunk.document, chunk.section] for chunk in found]
        return cls(path, {**writer, "texts": hashlib.sha256(json.dumps(places).encode()).hexdigest()})

    def portions(self) -> list[Portion]:
        """Those that are done; what a crash cut off is deleted.

        Raises:
            ConfigError: the header is another one, or a whole line cannot be read or does not follow the one before.
        """
        if not self.path.exists():
            return []
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        lines = [self._read(line, number) for number, line in enumerate(whole.split(b"\n")[:-1], start=1)]
        if lines and (changed := difference(lines[0], self.header)):
            raise ConfigError("out", self.path, f"was begun with {changed}", "give the same again, or delete it")
        done: list[Portion] = []
        for number, line in enumerate(lines[1:], start=2):
            done.append(self._portion(line, number))
            if done[-1].first != asked(done[:-1]):
                raise self._damaged(number)
        os.truncate(self.path, len(whole))
        return done

    def add(self, portion: Portion) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            if not file.tell():
                print(json.dumps(self.header), file=file)
            print(json.dumps(asdict(portion)), file=file)
            file.flush()
            os.fsync(file.fileno())

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)

    def _read(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            plain = json.loads(line)
        except ValueError:
            raise self._damaged(number) from None
        if not isinstance(plain, dict):
            raise self._damaged(number)
        return plain

    def _portion(self, plain: Mapping[str, Any], number: int) -> Portion:
        try:
            pairs, aside = [Pair(**pair) for pair in plain["pairs"]], [SetAside(**lost) for lost in plain["aside"]]
            return Portion(int(plain["first"]), int(plain["chunks"]), pairs, aside)
        except (KeyError, TypeError, ValueError):
            raise self._damaged(number) from None

    def _damaged(self, number: int) -> ConfigError:
        """Portions are in the order of the chunks, so that none in the middle can be asked again by itself."""
        fix = "delete it" if number == 1 else f"delete it from this line on (keep {number - 1})"
        return ConfigError("out", self.path, f"line {number} is damaged", f"{fix}: what goes with it is asked again")
