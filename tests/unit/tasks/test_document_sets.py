"""From documents to chunks, from chunks to files: nothing repeats, nothing leaks, nothing is lost without a word."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from sweeper.checks import ConfigError
from tasks.answer_pairs import Pair
from tasks.chunks import Chunk, Cutting, chunks
from tasks.document_set import DocumentSet, SetAside, Settings, Sources, parts_of
from tasks.document_split import Parts, held_out, unit_of_split
from tasks.document_text import Document, Section
from tasks.near_duplicates import near_duplicates

MINI = Path(__file__).parents[3] / "sweeper" / "mini" / "tokenizer.json"
SETTINGS = Settings(near_duplicate=0.8, test_share=0.25, split="auto", seed=0)
LIGHT = "Sir Isaac Newton let a beam of light through a prism of glass in a dark chamber, and saw a spectrum."


def sentences(count: int, start: int = 0) -> str:
    return " ".join(f"Sentence number {number} says something of its own." for number in range(start, start + count))


def document(name: str, *texts: str) -> Document:
    return Document(name, [Section(f"page {number}", text) for number, text in enumerate(texts, start=1)])


def cut(*documents: Document, tokens: int = 40, overlap: int = 0) -> list[Chunk]:
    return list(chunks(documents, Tokenizer.from_file(str(MINI)), tokens=tokens, overlap=overlap))


def rows(*sizes: int) -> list[Chunk]:
    """Chunks that have nothing in common, of documents of so many."""
    return [Chunk(f"{number}{chr(97 + own)}" * 9, f"d{own}", f"d{own}, page {number % 4}")
            for own, size in enumerate(sizes) for number in range(size)]  # fmt: skip


def written(folder: Path, found: Sequence[Chunk], settings: Settings = SETTINGS, follows: Parts | None = None) -> Parts:
    made = DocumentSet(folder, settings, {"input": "x"})
    content = made.content(found, [SetAside("unreadable", "scan.pdf", "", "")], follows)
    made.write(content, Sources([]))
    parts = parts_of(folder)
    assert parts == content.parts
    return parts


def frames(folder: Path) -> dict[str, pd.DataFrame]:
    return {split: pd.read_parquet(folder / f"{split}.parquet") for split in ("train", "test")}


@pytest.mark.parametrize("overlap", [0, 15])
def test_chunks_fit_overlap_and_never_cross_a_section(overlap: int) -> None:
    tokenizer = Tokenizer.from_file(str(MINI))
    found = cut(document("a", sentences(20), sentences(20, 100)), document("b", "Short."), overlap=overlap)
    assert {chunk.section for chunk in found} == {"a, page 1", "a, page 2", "b, page 1"}
    assert max(len(tokenizer.encode(chunk.text, add_special_tokens=False).ids) for chunk in found) <= 40
    numbers = [set(re.findall(r"\d+", chunk.text)) for chunk in found if chunk.section == "a, page 1"]
    assert set().union(*numbers) == {str(number) for number in range(20)}  # and none of the other section
    shared = [bool(left & right) for left, right in pairwise(numbers)]
    assert any(shared) == bool(overlap)


def test_a_text_that_almost_repeats_another_is_named_with_it() -> None:
    texts = [(LIGHT,), (sentences(3),), (LIGHT.upper(),), (LIGHT.replace("dark chamber", "dark  room"),),
             (sentences(3, 50),)]  # fmt: skip
    assert near_duplicates(texts, 0.7) == {2: 0, 3: 0}
    assert near_duplicates(texts, 0.99) == {2: 0}
    assert near_duplicates([], 0.8) == {}


def test_a_question_with_another_answer_repeats_none() -> None:
    asked = [(f"What is the colour of thing number {number * 111}?", f"blue {number}") for number in range(1, 10)]
    long = [(LIGHT, "1704"), (LIGHT, "1705"), (LIGHT, "in the year 1666"), (LIGHT + "?", " In the Year 1666")]
    assert near_duplicates([*asked, *long], 0.8) == {12: 11}
    assert near_duplicates([(question,) for question, _ in asked], 0.8)  # the questions alone would be


def test_a_pair_that_is_set_aside_as_a_repeat_is_kept_whole(tmp_path: Path) -> None:
    places = [(f"d{number}", f"d{number}, page 1") for number in range(4)]
    pairs = [Pair(f"{number} {LIGHT}", "Light.", "", *place) for number, place in enumerate(places)]
    (lost,) = DocumentSet(tmp_path, SETTINGS, {}).content([*pairs[:1], *about("a", 9), *pairs[3:]], []).aside
    assert (lost.text, lost.detail) == (f"3 {LIGHT}\nLight.", "of one in d0, page 1")


def test_a_chunk_of_too_few_tokens_is_set_aside_with_their_number() -> None:
    tokenizer = Tokenizer.from_file(str(MINI))
    documents = [document("a", sentences(3), "[Illustration: Fig. 7.]"), document("b", LIGHT)]
    whole, short = Cutting(most=64, overlap=0, least=20).cut(documents, tokenizer)
    assert [chunk.section for chunk in whole] == ["a, page 1", "b, page 1"]
    count = len(tokenizer.encode("[Illustration: Fig. 7.]", add_special_tokens=False).ids)
    place = ("a", "a, page 2", "[Illustration: Fig. 7.]")
    assert short == [SetAside("shorter than min_chunk_tokens", *place, f"{count} tokens")]
    assert Cutting(most=64, overlap=0, least=count).cut(documents, tokenizer)[1] == []
    with pytest.raises(ConfigError, match=r"min_chunk_tokens=60: none of 3 chunks has so many; give less"):
        Cutting(most=120, overlap=0, least=60).cut([document("a", "Light.", "Sound.", "Air.")], tokenizer)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=12),
    share=st.floats(0.05, 0.9),
    seed=st.integers(0, 9),
)
def test_no_further_unit_would_bring_the_held_out_ones_nearer_to_the_share_than_half_a_unit(
    sizes: list[int], share: float, seed: int
) -> None:
    units = [str(number) for number, size in enumerate(sizes) for _ in range(size)]
    try:
        taken = held_out(units, share, seed)
    except ConfigError:  # where one part more is no nearer than none
        assume(False)
    held, wanted = sum(sizes[int(unit)] for unit in taken), share * len(units)
    assert 0 < held < len(units)
    assert abs(held - wanted) <= max(sizes) / 2 + 1e-9
    left = [size for number, size in enumerate(sizes) if str(number) not in taken]
    assert all(abs(held + size - wanted) >= abs(held - wanted) - 1e-9 for size in left)
    assert held_out(list(reversed(units)), share, seed) == taken


@pytest.mark.parametrize(
    ("sizes", "wanted", "unit"),
    [((5, 5, 5, 5), "auto", "document"), ((40,), "auto", "section"), ((5, 5, 90), "auto", "section"),
     ((5, 5, 90), "document", "document"), ((5, 5, 5, 5), "section", "section")],
)  # fmt: skip
def test_a_document_larger_than_the_share_is_split_by_section(sizes: tuple[int, ...], wanted: str, unit: str) -> None:
    assert unit_of_split([chunk.document for chunk in rows(*sizes)], 0.25, wanted) == unit


def test_a_share_that_no_part_is_small_enough_for_names_one_that_is() -> None:
    with pytest.raises(ConfigError, match=r"test_share=0.1: none of 2 whole parts .*; test_share=0.4"):
        held_out(["a", "a", "b", "b", "b"], 0.1, 0)
    with pytest.raises(ConfigError, match=r"none of 1 whole parts .*; give more documents"):
        held_out(["a"], 0.1, 0)


def test_a_share_that_cannot_be_held_out_tells_what_was_set_aside_before(tmp_path: Path) -> None:
    made = DocumentSet(tmp_path, SETTINGS, {})
    aside = [SetAside("unreadable", name, "", "") for name in ("a.pdf", "b.pdf")]
    told = (
        r"test_share=0.25: none of 1 whole parts can be held out for it \(set aside: 2 unreadable, 1 near duplicate\); "
    )
    with pytest.raises(ConfigError, match=told):
        made.content([Chunk(LIGHT, "a", "a, page 1")] * 2, aside)


def test_a_row_of_no_part_is_never_trained_on_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DocumentSet, "_parts", lambda *_, **__: Parts("document", frozenset({"d0"}), frozenset({"d1"})))
    with pytest.raises(KeyError, match="d2"):
        DocumentSet(tmp_path, SETTINGS, {}).content(rows(2, 2, 2), [])


@pytest.mark.parametrize(("sizes", "column"), [((6, 6, 6, 6), "document"), ((24,), "section"), ((3, 20), "section")])
def test_nothing_of_a_held_out_part_is_trained_on(tmp_path: Path, sizes: tuple[int, ...], column: str) -> None:
    parts = written(tmp_path, rows(*sizes))
    assert parts.unit == column
    train, test = frames(tmp_path).values()
    assert (set(train[column]), set(test[column])) == (parts.train, parts.test)
    assert not set(train[column]) & set(test[column])
    assert len(train) + len(test) == sum(sizes)
    assert list(train.columns) == ["text", "document", "section"]


def test_what_is_set_aside_is_counted_and_kept_with_its_reason(tmp_path: Path) -> None:
    found = rows(4, 4, 4, 4)
    written(tmp_path, [*found, replace(found[0], document="d9", section="d9, page 1")])
    lines = [json.loads(line) for line in (tmp_path / "set_aside.jsonl").read_text("utf-8").splitlines()]
    assert [line["reason"] for line in lines] == ["unreadable", "near duplicate"]
    assert (lines[1]["document"], lines[1]["detail"]) == ("d9", "of one in d0, page 0")
    manifest = json.loads((tmp_path / "manifest.json").read_text("utf-8"))
    assert manifest["counts"] == {"train": 12, "test": 4, "set_aside": {"unreadable": 1, "near duplicate": 1}}
    assert sum(manifest["documents"]["train"].values()) == 12
    assert manifest["settings"] == {"input": "x", "near_duplicate": 0.8, "test_share": 0.25, "split": "auto",
                                    "seed": 0}  # fmt: skip
    assert manifest["parts"]["unit"] == "document"
    assert "rows_about_none_of_the_text" not in manifest


def test_a_second_set_holds_out_what_the_first_did(tmp_path: Path) -> None:
    parts = written(tmp_path / "text", rows(6, 6, 6, 6))
    written(tmp_path / "pairs", rows(2, 1, 3, 2), follows=parts)
    assert set(frames(tmp_path / "pairs")["test"]["document"]) == parts.test


def about(name: str, count: int) -> list[Chunk]:
    return [Chunk(f"{name} {number}" * 9, name, f"{name}, page {number}") for number in range(count)]


@pytest.mark.parametrize(("unknown", "held"), [(1, 0), (8, 2)], ids=["too few to split", "split by themselves"])
def test_rows_about_none_of_the_parts_are_split_by_themselves(
    tmp_path: Path, unknown: int, held: int, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = written(tmp_path / "text", rows(6, 6, 6, 6))
    written(tmp_path / "pairs", [*rows(2, 1, 3, 2), *about("letters", unknown)], follows=parts)
    own = {side: set(frame["document"]) - {"letters"} for side, frame in frames(tmp_path / "pairs").items()}
    assert own == {"train": parts.train, "test": parts.test}
    of_letters = frames(tmp_path / "pairs")["test"]["document"] == "letters"
    assert of_letters.sum() == held
    manifest = json.loads((tmp_path / "pairs" / "manifest.json").read_text("utf-8"))
    assert manifest["rows_about_none_of_the_text"] == unknown
    said = capsys.readouterr().out.splitlines()[1]
    sections = f"{held} section{'s' * (held != 1)}"
    assert f"(as the text is split; {unknown} rows are about none of its parts, {sections} of theirs held out)" in said


def test_a_row_about_a_document_of_both_sides_must_name_a_section_of_it(tmp_path: Path) -> None:
    parts = written(tmp_path / "text", rows(24))
    assert parts.unit == "section"
    lost = Chunk("Who saw it?", "d0", "d0, row 7")
    refusal = (r"section=d0, row 7: the text holds sections of d0 out, and this is none of them: the side of the row "
               r"'Who saw it\?' is unknown; name the row's page or part .* split=document")  # fmt: skip
    with pytest.raises(ConfigError, match=refusal):
        written(tmp_path / "pairs", [*rows(8), lost], follows=parts)
    assert not (tmp_path / "pairs").exists()
    written(tmp_path / "pairs", [*rows(8), *about("letters", 8)], follows=parts)
    test = frames(tmp_path / "pairs")["test"]
    assert set(test["section"][test["document"] == "d0"]) == parts.test


@pytest.mark.parametrize(
    ("side", "note"),
    [("train", "no test.parquet: a task needs task.data.test_share, or other documents"),
     ("test", "no train.parquet: a task needs other documents")],
)  # fmt: skip
def test_a_side_without_rows_is_told_and_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], side: str, note: str
) -> None:
    found = rows(6, 6, 6, 6)
    parts = written(tmp_path / "text", found)
    written(tmp_path / "pairs", [row for row in found if parts.sides[row.document] == side], follows=parts)
    assert [path.stem for path in (tmp_path / "pairs").glob("*.parquet")] == [side]
    assert json.loads((tmp_path / "pairs" / "manifest.json").read_text("utf-8"))["note"] == note
    text, pairs = capsys.readouterr().out.splitlines()
    assert pairs.endswith(f"; {note}")
    assert "parquet" not in text
    assert "note" not in json.loads((tmp_path / "text" / "manifest.json").read_text("utf-8"))


def test_a_split_that_no_manifest_names_cannot_be_followed(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    assert parts_of(tmp_path / "text") is None
    for content in ("{}", "[", '{"parts": {"unit": "document"}}'):
        (tmp_path / "text" / "manifest.json").write_text(content)
        with pytest.raises(ConfigError, match=r"text/manifest.json does not say how its documents are split"):
            parts_of(tmp_path / "text")


def test_a_set_without_rows_leaves_its_account_and_no_data(tmp_path: Path) -> None:
    written(tmp_path, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "set_aside.jsonl"]


def test_a_set_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    written(tmp_path / "text", rows(4, 4, 4, 4))
    with pytest.raises(ConfigError, match=r"out=.*: holds text/manifest.json already; delete its folder or give"):
        DocumentSet(tmp_path / "text", SETTINGS, {}).check_free()
    DocumentSet(tmp_path / "pairs", SETTINGS, {}).check_free()


def test_a_set_that_was_not_finished_is_written_anew(tmp_path: Path) -> None:
    first = written(tmp_path / "text", rows(4, 4, 4, 4))
    (tmp_path / "text" / "manifest.json").unlink()
    again = DocumentSet(tmp_path / "text", SETTINGS, {"input": "x"})
    again.check_free()
    assert not again.is_finished(Sources([]))
    assert written(tmp_path / "text", rows(4, 4, 4, 4)) == first


def test_a_finished_set_is_that_of_its_settings_and_files(tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("one")
    made = DocumentSet(tmp_path / "text", SETTINGS, {"chunk_tokens": "64", "out": "here"})
    made.write(made.content(rows(4, 4, 4, 4), []), Sources([source]))
    assert replace(made, words={"chunk_tokens": "64", "out": "there"}).is_finished(Sources([source]))
    with pytest.raises(ConfigError, match=r"holds text/ made with chunk_tokens=64, now 128; give the same again"):
        replace(made, words={"chunk_tokens": "128"}).is_finished(Sources([source]))
    source.write_text("two")
    with pytest.raises(ConfigError, match=r"holds text/ made with .*a.txt=7692c3ad\w+, now 3fc4ccfe"):
        made.is_finished(Sources([source]))
