"""What `make experiments` runs and prints; the sweeps themselves are not run here."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks import small_experiments, squad_articles
from tasks.answer_pairs import read_pairs


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands; a sweep of `broken` fails, and in that of `stopped` somebody presses Ctrl-C."""
    commands: list[str] = []

    def python(words: Sequence[str]) -> int:
        commands.append(" ".join(words))
        if "experiment=stopped" in words:
            raise KeyboardInterrupt
        return int("experiment=broken" in words)

    monkeypatch.setattr(small_experiments, "python", python)
    return commands


def run(monkeypatch: pytest.MonkeyPatch, *names: str) -> int:
    monkeypatch.setattr(sys, "argv", ["small_experiments", "out", *names])
    return small_experiments.main()


def test_an_experiment_is_run_at_its_small_scale_and_its_tables_are_printed(
    monkeypatch: pytest.MonkeyPatch, ran: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "llama3_1b_imdb_last_layer", "domain_qa") == 0
    shown = "experiment=llama3_1b_imdb_last_layer output_dir=out"
    assert ran == [
        "sweeper experiment=llama3_1b_imdb_last_layer output_dir=out scale=small -m",
        f"analysis.table split=fit {shown}",
        f"analysis.table split=eval {shown}",
        f"analysis.table --published {shown}",
        "sweeper experiment=domain_qa output_dir=out scale=small data_dir=out -m",
        "analysis.table --published experiment=domain_qa output_dir=out",
    ]
    written = capsys.readouterr().out
    assert written.split("\nminutes\n")[1].split() == [
        "0.0", "llama3_1b_imdb_last_layer", "0.0", "domain_qa", "0.0", "together",
    ]  # fmt: skip


def test_one_that_fails_is_named_and_keeps_no_other_from_running(
    monkeypatch: pytest.MonkeyPatch, ran: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "broken", "distilbert_imdb_search") == 1
    assert [command for command in ran if "broken" in command] == [ran[0]]
    assert ran[-1] == "analysis.importances experiment=distilbert_imdb_search output_dir=out"
    assert capsys.readouterr().err == "failed: broken\n"


def test_ctrl_c_ends_all_of_them_and_says_how_long_the_others_took(
    monkeypatch: pytest.MonkeyPatch, ran: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "domain_qa", "stopped", "llama3_1b_squad_v2") == 130
    assert not any("llama3_1b_squad_v2" in command for command in ran)
    assert capsys.readouterr().out.split("\nminutes\n")[1].split() == ["0.0", "domain_qa", "0.0", "together"]


def test_every_experiment_with_tables_of_its_own_is_there(repository: Path) -> None:
    named = {*small_experiments.TABLES, *small_experiments.ON_DOCUMENTS}
    assert named <= {path.stem for path in (repository / "conf" / "experiment").glob("*.yaml")}


def test_articles_become_texts_and_the_questions_about_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def paragraph(name: str) -> dict[str, object]:
        asked = [{"id": f"{name} {n}", "question": f"What, {n}?", "answers": [{"text": name, "answer_start": 0}]}
                 for n in range(2)]  # fmt: skip
        return {"context": f"{name} is a thing.", "qas": asked}

    articles = [{"title": title, "paragraphs": [paragraph(f"{title}-{n}") for n in range(2)]}
                for title in ("Matter", "Poetry")]  # fmt: skip
    (tmp_path / "squad").mkdir()
    (tmp_path / "squad" / "train-v1.1.json").write_text(json.dumps({"data": articles}), encoding="utf-8")
    monkeypatch.setenv("SWEEPER_DATA", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["squad_articles", str(tmp_path / "out")])
    squad_articles.main()
    texts = list((tmp_path / "out" / "texts").iterdir())
    assert [path.name for path in texts] == ["Matter.txt"]
    assert texts[0].read_text("utf-8") == "Matter-0 is a thing.\n\nMatter-1 is a thing."
    pairs, aside = read_pairs(tmp_path / "out" / "questions.csv")
    assert (len(pairs), aside) == (4, [])
    assert (pairs[3].question, pairs[3].answer, pairs[3].document) == ("What, 1?", "Matter-1", "Matter.txt")
    assert pairs[2].section == pairs[3].section != pairs[1].section
