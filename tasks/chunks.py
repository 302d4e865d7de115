"""Documents cut into chunks: of at most so many tokens, at the best border of meaning there is, with an overlap."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sweeper.arguments import whole_number
from sweeper.checks import ConfigError
from tasks.document_set import SetAside
from tasks.document_text import Document

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Chunk:
    text: str
    document: str
    section: str  # with the document's name before it: no two documents share one

    @property
    def key(self) -> tuple[str, ...]:
        return (self.text,)

    def row(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Cutting:
    most: int  # tokens of a chunk
    overlap: int  # of a chunk with the one before it, at most
    least: int  # tokens of a chunk

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Cutting:
        """From the words of a command, all of them given. Raises ConfigError."""
        most = whole_number(given, "chunk_tokens", 8)
        overlap, least = (whole_number(given, key, 0) for key in ("overlap_tokens", "min_chunk_tokens"))
        if most > sys.maxsize:
            raise ConfigError("chunk_tokens", most, "more than any text has")
        for key, tokens in (("overlap_tokens", overlap), ("min_chunk_tokens", least)):
            if 2 * tokens > most:
                raise ConfigError(key, tokens, f"more than half of a chunk (chunk_tokens={most})")
        return cls(most, overlap, least)

    def cut(self, documents: Sequence[Document], tokenizer: Tokenizer) -> tuple[list[Chunk], list[SetAside]]:
        """The chunks, and those that are too short: a heading, a figure's number, a page's foot.

        Raises:
            ConfigError: all of them are.
        """
        whole: list[Chunk] = []
        short: list[SetAside] = []
        for chunk in chunks(documents, tokenizer, tokens=self.most, overlap=self.overlap):
            count = len(tokenizer.encode(chunk.text, add_special_tokens=False).ids)
            if count >= self.least:
                whole.append(chunk)
            else:
                place = (chunk.document, chunk.section, chunk.text)
                short.append(SetAside("shorter than min_chunk_tokens", *place, f"{count} tokens"))
        if not whole:
            raise ConfigError("min_chunk_tokens", self.least, f"none of {len(short):,} chunks has so many", "give less")
        return whole, short


def chunks(documents: Sequence[Document], tokenizer: Tokenizer, *, tokens: int, overlap: int) -> Iterator[Chunk]:
    """Every section alone: chunks that overlap are of one section. `overlap` tokens at most, whole sentences or words.

    The tokenizer must neither truncate nor pad.
    """
    from semantic_text_splitter import TextSplitter

    splitter = TextSplitter.from_huggingface_tokenizer(tokenizer, tokens, overlap)
    for document in documents:
        for section in document.sections:
            for text in splitter.chunks(section.text):
                yield Chunk(text, document.name, f"{document.name}, {section.name}")
