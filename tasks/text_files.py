"""Plain text files as rows: where one text ends and the next begins.

The rule, in this order:
- where `<|endoftext|>` occurs, it stands between two texts (TinyStories, GPT's corpora);
- else a text is as many whole paragraphs, one after another, as it takes to reach `PASSAGE` characters. Blank lines
  stand between paragraphs; where a file has none, every line is one.

Nothing but white space is left out: the rows, one after another, are the file.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

MARK = "<|endoftext|>"
PASSAGE = 1000  # characters, at least: some 250 tokens of English, so that a model has something to go on
COLUMN = "text"  # of the one column that such a file has


def texts(content: str) -> list[str]:
    if MARK in content:
        return [text for part in content.split(MARK) if (text := part.strip())]
    found = paragraphs(content)
    if len(found) == 1:
        return passages(found[0].splitlines(), between="\n", size=PASSAGE)
    return passages(found, between="\n\n", size=PASSAGE)


def paragraphs(content: str) -> list[str]:
    return [text for part in re.split(r"\n[^\S\n]*(?:\n[^\S\n]*)+", content) if (text := part.strip())]


def passages(pieces: list[str], *, between: str, size: int) -> list[str]:
    """Pieces joined up to at least `size` characters; what is left at the end goes to the last."""
    joined: list[list[str]] = [[]]
    for piece in pieces:
        if sum(map(len, joined[-1])) >= size:
            joined.append([])
        joined[-1].append(piece)
    if len(joined) > 1 and sum(map(len, joined[-1])) < size:
        last = joined.pop()
        joined[-1] += last
    return [between.join(group) for group in joined if group]


def from_lines(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """A data set whose rows are the lines of a file, blank ones among them, as the rows of that file.

    So WikiText is the same texts from the hub as from its file. Any other data set stays as it is.
    """
    lines = rows[column].tolist() if column in rows else []
    if any(not isinstance(line, str) for line in lines) or all(line.strip() for line in lines):
        return rows
    import pandas as pd

    return pd.DataFrame({column: texts("\n".join(line.rstrip("\n") for line in lines))}, dtype=object)
