"""`python -m tasks.documents` on real papers and books, and with a real writer."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tasks.documents import main


def counts(folder: Path) -> dict[str, object]:
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    found: dict[str, object] = manifest["counts"]
    return found


def test_papers_and_books_become_chunks_of_held_out_and_other_sections(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = f"{data_dir / 'science_pdf'},{data_dir / 'science_text'}"
    assert main(["build", f"input={inputs}", f"out={tmp_path / 'documents'}"]) == 0
    assert "no_text_layer_figure.pdf has no text layer" in capsys.readouterr().out
    text = tmp_path / "documents" / "text"
    train, test = (pd.read_parquet(text / f"{split}.parquet") for split in ("train", "test"))
    assert set(train["document"]) > set(test["document"])  # three books are most of it: split by section
    assert not set(train["section"]) & set(test["section"])
    assert 0.08 < len(test) / (len(train) + len(test)) < 0.12
    assert train["document"].nunique() == 11
    whole = " ".join(pd.concat([train, test])["text"])
    assert "Navier" in whole
    assert "Gutenberg" not in whole
    aside = counts(text)["set_aside"]
    assert isinstance(aside, dict)
    assert aside["unreadable"] == 1
    assert 9 < aside["shorter than min_chunk_tokens"] < 20
    assert "[Illustration: Fig. 7.]" not in set(pd.concat([train, test])["text"])


def test_what_a_model_that_writes_no_json_answers_is_counted_and_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"The film {name} was a good one, and its plot {name * 3} moving.")
    words = [f"input={tmp_path}", f"out={tmp_path / 'out'}", "test_share=0.5", "writer=mini", "writer.peft=qlora",
             "retries=1", "max_new_tokens=8", "near_duplicate=0.95", "min_chunk_tokens=0"]  # fmt: skip
    assert main(["build", *words]) == 2
    assert "writer=mini: wrote no well-formed pair (" in capsys.readouterr().err
    assert counts(tmp_path / "out" / "text") == {"train": 1, "test": 1, "set_aside": {}}
    assert not (tmp_path / "out" / "pairs" / "manifest.json").exists()
    lines = (tmp_path / "out" / "pairs" / "set_aside.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["document"] for line in lines] == ["a.txt", "b.txt"]


def test_a_writer_that_cannot_read_a_chunk_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, thing in (("a", "light"), ("b", "sound")):
        sentences = [f"Experiment {number} of {thing} took {number * number} hours. " for number in range(99)]
        (tmp_path / f"{name}.txt").write_text("".join(sentences))
    assert main(["build", f"input={tmp_path / 'a.txt'},{tmp_path / 'b.txt'}", f"out={tmp_path / 'out'}", "writer=mini",
                 "chunk_tokens=900", "test_share=0.5", "near_duplicate=0.999"]) == 2  # fmt: skip
    assert "max_new_tokens=512: the writer reads 1,024 tokens" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
