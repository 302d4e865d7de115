from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.checks import ConfigError
from tasks.document_text import Unreadable, find, read, without_gutenberg

BOOK = """The Project Gutenberg EBook of Opticks

*** START OF {which} PROJECT GUTENBERG EBOOK OPTICKS ***

Produced by somebody
and others at pgdp

BOOK I.

Light is refracted.

{end}
*** END OF {which} PROJECT GUTENBERG EBOOK OPTICKS ***

The licence follows.
"""


def pdf(path: Path, *pages: str) -> Path:
    """A minimal PDF, one line of Helvetica per page; an empty text is a page without a text layer."""
    streams = [f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else "" for text in pages]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
               "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]  # fmt: skip
    for number, stream in enumerate(streams):
        objects.append(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * number} 0 R "
                       "/Resources << /Font << /F1 3 0 R >> >> >>")  # fmt: skip
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    content, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(content))
        content += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    start = len(content)
    content += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer\n"
    content += f"<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    path.write_bytes(content.encode("latin-1"))
    return path


def test_the_pages_of_a_pdf_are_its_sections(tmp_path: Path) -> None:
    document = read(pdf(tmp_path / "a.pdf", "Light is a wave.", "", "It bends."), "a.pdf")
    assert document.name == "a.pdf"
    assert [(section.name, section.text) for section in document.sections] == [
        ("page 1", "Light is a wave."),
        ("page 3", "It bends."),
    ]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [("scan.pdf", None, "has no text layer"), ("broken.pdf", b"%PDF-1.4\nnothing", "is no readable PDF"),
     ("empty.txt", b" \n\n", "is empty"), ("binary.txt", b"\x00\x01text", "is no text")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_has_no_text_says_why_and_no_library_says_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: bytes | None, reason: str
) -> None:
    path = tmp_path / name
    if content is None:
        pdf(path, "", "")
    else:
        path.write_bytes(content)
    with pytest.raises(Unreadable, match=reason):
        read(path, name)
    assert caplog.records == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_a_text_file_is_utf_8_or_latin_1_with_any_line_ends(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("Schrödinger's  \r\ncat\r\n\r\n\r\nlives".encode(encoding))
    (section,) = read(path, "a.txt").sections
    assert section.text == "Schrödinger's\ncat\n\nlives"


def test_a_long_text_is_cut_into_parts_of_whole_paragraphs(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join(f"{number} " + "word " * 500 for number in range(10)), "utf-8")
    sections = read(path, "a.txt").sections
    assert [section.name for section in sections] == ["part 1", "part 2"]
    assert [section.text.split()[0] for section in sections] == ["0", "4"]


@pytest.mark.parametrize("which", ["THE", "THIS"])
@pytest.mark.parametrize("end", ["", "End of the Project Gutenberg EBook of Opticks\n"])
def test_project_gutenbergs_header_and_licence_are_no_text_of_the_book(which: str, end: str) -> None:
    assert without_gutenberg(BOOK.format(which=which, end=end)).strip() == "BOOK I.\n\nLight is refracted."


def test_another_text_is_left_as_it_is() -> None:
    text = "Produced by me\n\n*** a line of stars ***\nIn the END OF THE day, light."
    assert without_gutenberg(text) == text


def test_words_split_by_a_line_are_joined_in_a_pdf_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pypdf

    path = pdf(tmp_path / "a.pdf", "x")
    monkeypatch.setattr(pypdf.PageObject, "extract_text", lambda page: "dy-\nnamics of self-\nAdjoint")
    assert read(path, "a.pdf").sections[0].text == "dynamics of self-\nAdjoint"
    (tmp_path / "a.txt").write_text("dy-\nnamics")
    assert read(tmp_path / "a.txt", "a").sections[0].text == "dy-\nnamics"


def test_a_folder_is_searched_and_what_is_no_document_is_named(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("b.txt", "inner/a.PDF", "LICENSE.txt", "notes.docx"):
        (tmp_path / name).write_text("x")
    documents, others = find([str(tmp_path), str(tmp_path / "b.txt")], tmp_path)
    assert sorted(path.name for path in documents) == ["a.PDF", "b.txt"]
    assert sorted(path.name for path in others) == ["LICENSE.txt", "notes.docx"]
    assert find([str(tmp_path / "LICENSE.txt")], tmp_path)[0] == [tmp_path / "LICENSE.txt"]  # asked for by name


@pytest.mark.parametrize(
    ("word", "file"),
    [("1706.03762", "1706.03762v5.pdf"), ("arxiv:1706.03762v2", "1706.03762v2.pdf"), ("arXiv:hep-th/9901001",
     "hep-th_9901001.pdf")],
)  # fmt: skip
def test_an_arxiv_id_is_its_saved_pdf(tmp_path: Path, word: str, file: str) -> None:
    for name in ("1706.03762v2.pdf", "1706.03762v5.pdf", "1706.03763.pdf", "hep-th_9901001.pdf"):
        pdf(tmp_path / name, "x")
    assert [path.name for path in find([word], tmp_path)[0]] == [file]


@pytest.mark.parametrize(
    ("word", "message"),
    [("nowhere", r"input=nowhere: no such file or folder, and no arXiv id"),
     ("~nobody-at-all", r"input=~nobody-at-all: no such file or folder, and no arXiv id"),
     ("a" * 300, r"input=a+: File name too long; name another file or folder"),
     ("1706.03762", r"input=1706.03762: .* does not hold its PDF; save https://arxiv.org/pdf/1706.03762 there"),
     ("notes.docx", r"input=.*notes.docx: holds no document \(.pdf, .txt\)")],
)  # fmt: skip
def test_a_word_that_names_no_document_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.docx").touch()
    with pytest.raises(ConfigError, match=message):
        find([word], tmp_path)


@pytest.mark.parametrize("words", ["mine.txt,", ",mine.txt", "mine.txt,,mine.txt", ","])
def test_a_comma_too_many_does_not_name_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine.txt", "other.txt"):
        Path(name).write_text("x")
    with pytest.raises(ConfigError, match=rf"input={words}: nothing stands beside one of its commas; leave it out"):
        find(words.split(","), tmp_path)
    assert len(find(["."], tmp_path)[0]) == 2  # asked for by name
