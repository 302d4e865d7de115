"""Documents cut into chunks: of at most so many tokens, at the best border of meaning there is, with an overlap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tasks.document_text import Document

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Chunk:
    text: str
    document: str
    section: str  # with the document's name before it: no two documents share one

    def row(self) -> dict[str, Any]:
        return asdict(self)


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
