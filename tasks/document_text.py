"""Files as documents of plain text: PDFs by their text layer, text files without Project Gutenberg's wrapping.

A document comes in sections, which are what its chunks never cross: the pages of a PDF; of a text, some
`SECTION` characters of whole paragraphs. What cannot be read is no error of the command: it is set aside by name.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeper.checks import ConfigError
from tasks.document_set import SetAside
from tasks.text_files import paragraphs, passages

KINDS = (".pdf", ".txt")
SECTION = 8000  # characters, at least
ABOUT_A_FOLDER = ("licence", "license", "copying", "readme")  # files of a folder that are none of its documents
ARXIV = re.compile(r"(?:arxiv:)?((?:\d{4}\.\d{4,5}|[a-z-]+(?:\.[A-Z]{2})?/\d{7})(?:v\d+)?)", re.IGNORECASE)


class Unreadable(Exception):
    """Why a file gives no text, in a phrase."""


@dataclass(frozen=True)
class Section:
    name: str  # "page 3", "part 12"
    text: str


@dataclass(frozen=True)
class Document:
    name: str
    sections: Sequence[Section]


def find(inputs: Sequence[str], arxiv: Path) -> tuple[list[Path], list[Path]]:
    """The documents that the words name, and what else lies in their folders.

    A word is a file, a folder (searched through), or the arXiv id of a PDF in the folder `arxiv`.

    Raises:
        ConfigError: a word names nothing of these, or a folder without a document.
    """
    found, others = dict[Path, None](), dict[Path, None]()
    for word in inputs:
        if not word:  # which a path takes as the current folder
            raise ConfigError("input", ",".join(inputs), "nothing stands beside one of its commas", "leave it out")
        path = Path(os.path.expanduser(word))  # Path.expanduser raises an error where nobody has that home
        inside = _inside(word, path, arxiv)
        named = not path.is_dir()
        documents = [path for path in inside if _is_document(path, named=named)]
        if not documents:
            raise ConfigError("input", word, f"holds no document ({', '.join(KINDS)})")
        found |= dict.fromkeys(documents)
        others |= dict.fromkeys(path for path in inside if path not in found)
    return list(found), [path for path in others if path not in found]


def read_all(paths: Sequence[Path]) -> tuple[list[Document], list[SetAside]]:
    """And the files without a text. Raises ConfigError where that is all of them."""
    names = [path.name for path in paths]
    documents, unread = [], []
    for path in paths:
        name = path.name if names.count(path.name) == 1 else path.as_posix()
        try:
            documents.append(read(path, name))
        except Unreadable as error:
            print(f"set aside: {path} {error}")
            unread.append(SetAside("unreadable", name, "", "", str(error)))
    if not documents:
        raise ConfigError("input", ", ".join(names), "none of these files has a text that can be read")
    return documents, unread


def read(path: Path, name: str) -> Document:
    """Raises Unreadable where it has no text."""
    sections = _pages(path) if path.suffix.lower() == ".pdf" else _parts(_decoded(path))
    written = [section for section in sections if section.text]
    if not written:
        raise Unreadable("has no text layer: scanned pages want OCR first" if sections else "is empty")
    return Document(name, written)


def without_gutenberg(text: str) -> str:
    """Without Project Gutenberg's header and licence; other texts stay as they are."""
    start = re.search(r"^\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG[^*]*\*\*\*$|^\*END\*.*SMALL PRINT.*$", text,
                      re.MULTILINE | re.IGNORECASE)  # fmt: skip
    text = text[start.end() :] if start else text
    end = re.search(r"^(?:\*\*\* ?END OF (?:THE|THIS) |\*?End of (?:the |this )?)Project Gutenberg", text,
                    re.MULTILINE | re.IGNORECASE)  # fmt: skip
    text = text[: end.start()] if end else text
    credit = re.match(r"\s*(?:Produced|E-text prepared|This etext was prepared) by\b.*?\n\s*\n", text, re.DOTALL)
    return text[credit.end() :] if credit and (start or end) else text


def _inside(word: str, path: Path, arxiv: Path) -> list[Path]:
    try:
        if path.is_dir():
            return sorted(inner for inner in path.rglob("*") if inner.is_file())
        if path.is_file():
            return [path]
    except OSError as error:  # a name that the file system cannot look up
        raise ConfigError("input", word, str(error.strerror), "name another file or folder") from error
    if match := ARXIV.fullmatch(word):
        return [_arxiv_pdf(match[1], arxiv)]
    raise ConfigError("input", word, "no such file or folder, and no arXiv id", "such as arxiv:1706.03762")


def _arxiv_pdf(number: str, folder: Path) -> Path:
    """Under any of the names that arXiv and its users give it; the last version where the id names none."""
    stems = {number.replace("/", mark) for mark in ("", "_", "-")}
    version = "" if re.search(r"v\d+$", number) else r"(?:v(\d+))?"
    wanted = re.compile(rf"(?:arxiv[_-])?(?:{'|'.join(map(re.escape, sorted(stems)))}){version}\.pdf", re.IGNORECASE)
    matches = [(match, path) for path in folder.glob("*.pdf") if (match := wanted.fullmatch(path.name))]
    if not matches:
        raise ConfigError("input", number, f"{folder} does not hold its PDF",
                          f"save https://arxiv.org/pdf/{number} there, or name its folder: arxiv=<folder>")  # fmt: skip
    return max(matches, key=lambda pair: (int(pair[0][1] or 0) if version else 0, pair[1].name))[1]


def _is_document(path: Path, *, named: bool) -> bool:
    return path.suffix.lower() in KINDS and (named or not path.name.lower().startswith(ABOUT_A_FOLDER))


def _pages(path: Path) -> list[Section]:
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it cannot read is told in one line of ours
    try:
        texts = [page.extract_text() for page in PdfReader(path).pages]
    except Exception as error:  # a broken file makes pypdf raise errors of every kind
        raise Unreadable(f"is no readable PDF: {' '.join(str(error).split()) or type(error).__name__}") from error
    joined = [re.sub(r"(?<=[a-z])-\n(?=[a-z])", "", text) for text in texts]  # words that a line's end has split
    return [Section(f"page {number}", _tidy(text)) for number, text in enumerate(joined, start=1)]


def _parts(text: str) -> list[Section]:
    whole = passages(paragraphs(without_gutenberg(_tidy(text))), between="\n\n", size=SECTION)
    return [Section(f"part {number}", part) for number, part in enumerate(whole, start=1)]


def _decoded(path: Path) -> str:
    content = path.read_bytes()
    if b"\0" in content:
        raise Unreadable("is no text: it holds zero bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")  # every byte is a character there


def _tidy(text: str) -> str:
    """One kind of line end, no blanks before it, and no character that no tokenizer can take."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").split("\n")
    return "\n".join(line.rstrip() for line in lines).strip().encode("utf-8", "ignore").decode("utf-8")
