from __future__ import annotations

import dataclasses
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from huggingface_hub import constants

from sweeper.checks import ConfigError
from sweeper.config import DataConfig, PromptConfig, Source, TaskConfig
from tasks import files, hub, sources

ROWS = [("a good one ", 1), ('say "no" , nothing', 0), ("NA", 1), ("it 's bad", 0), ("fine", 1), ("null", 0)]


def task(file: str = "train.tsv", test: str = "dev.tsv", **data: Any) -> TaskConfig:
    files = {"train": [f"x/{file}", file], "test": [test]}
    return TaskConfig(
        name="sentiment",
        data=DataConfig(**({"files": files, "text": "sentence"} | data)),
        labels=["negative", "positive"],
        prompt=PromptConfig(user="{sentence} :"),
        selection_size=2,
    )


def write(path: Path, rows: list[tuple[Any, Any]] | None = None) -> None:
    records = [{"sentence": text, "label": label} for text, label in (ROWS if rows is None else rows)]
    frame = pd.DataFrame(records, columns=["sentence", "label"])
    lines = ["sentence\tlabel", *(f"{record['sentence']}\t{record['label']}" for record in records)]
    writers: dict[str, Callable[[], bytes]] = {
        "tsv": lambda: ("\n".join(lines) + "\n").encode(),
        "csv": lambda: frame.to_csv(index=False).encode(),
        "json": lambda: json.dumps(records).encode(),
        "jsonl": lambda: "\n".join(map(json.dumps, records)).encode(),
        "parquet": lambda: frame.to_parquet(),
    }
    content = writers[path.name.split(".")[1]]()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def resolve(config: TaskConfig, folder: Path | None, **options: Any) -> sources.DataSource:
    options = {"embedded_model": False, "allow_network": False} | options
    return sources.resolve(config, str(folder) if folder else None, **options)


@pytest.mark.parametrize(
    "ending", ["tsv", "csv", "json", "jsonl", "parquet", "tsv.gz", "csv.gz", "json.gz", "jsonl.gz"]
)
def test_every_format_gives_the_same_rows_and_the_right_count(tmp_path: Path, ending: str) -> None:
    config = task(f"train.{ending}", f"dev.{ending}")
    for name in ("train", "dev"):
        write(tmp_path / f"{name}.{ending}")
    source = resolve(config, tmp_path)
    splits = sources.load(source, config)
    rows = pd.concat([splits.train, splits.selection]).sort_values("id")
    assert list(zip(rows["sentence"], rows["label"], strict=True)) == [(text.strip(), label) for text, label in ROWS]
    assert rows["id"].tolist() == [f"train-{row:06d}" for row in range(1, 7)]
    assert sources.count_rows(source, config) == {"train": 4, "selection": 2, "test": 6}
    assert source.description == f"files train.{ending}, dev.{ending}"
    assert files.columns(source.files["train"], "key") == ["sentence", "label"]
    sampled = [row["sentence"] for row in files.sample(source.files["train"], "key", 3)]
    texts = [text for text, _ in ROWS]
    assert 2 <= len(sampled) <= 3
    assert sampled == [text for text in texts if text in sampled]
    sources.check_columns(source, config)


@pytest.mark.parametrize(
    ("user", "data", "message"),
    [
        ("{sentnce} :", {}, "task.prompt.user={sentnce} :: "),
        ("{sentnce} :", {}, "has no column 'sentnce', only sentence, label; did you mean 'sentence'?"),
        ("{text} :", {"text": "review"}, "task.data.text=review: "),
        ("{text} :", {"label": "gold"}, "task.data.label=gold: "),
    ],
)
def test_a_column_that_the_files_lack_is_named_with_the_key_that_asks_for_it(
    tmp_path: Path, user: str, data: dict[str, str], message: str
) -> None:
    for name in ("train.tsv", "dev.tsv"):
        write(tmp_path / name)
    config = task(**data)
    config.prompt.user = user
    with pytest.raises(ConfigError, match=re.escape(message)):
        sources.check_columns(resolve(config, tmp_path), config)


def test_a_gzipped_file_is_found_under_its_plain_name(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv.gz")
    write(tmp_path / "dev.tsv")
    assert resolve(task(), tmp_path).files["train"].name == "train.tsv.gz"


def test_a_csv_row_may_hold_line_breaks_and_commas(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", [('first ,\nthen ""\n\nlast', 1), ("plain", 0), ("more", 1), ("rest", 0)])
    write(tmp_path / "dev.tsv")
    source = resolve(task("train.csv"), tmp_path)
    assert sources.count_rows(source, task("train.csv")) == {"train": 2, "selection": 2, "test": 6}
    assert len(sources.load(source, task("train.csv")).train) == 2


def test_labels_may_be_names(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv", [(text, ["negative", "positive"][label]) for text, label in ROWS])
    write(tmp_path / "dev.tsv")
    splits = sources.load(resolve(task(), tmp_path), task())
    assert sorted(splits.train["label"].tolist()) == [0, 0, 1, 1]


BAD_ROWS: list[tuple[str, list[tuple[Any, Any]], str]] = [
    ("tsv", [("ok", 1), ("bad", 7)], r"row 2: column 'label' holds '7', none of 0, 1"),
    ("tsv", [("hidden", -1), ("labels", -1)], r"row 1: column 'label' holds '-1'"),
    ("tsv", [("ok", "positive"), ("bad", "1")], r"row 2: column 'label' holds '1', none of negative, positive"),
    ("tsv", [("ok", 1), ("  ", 0)], r"row 2: column 'sentence' is empty; give it a text or delete the row"),
    ("jsonl", [("ok", 1), (3.5, 0)], r"row 2: column 'sentence' holds 3.5, which is no text"),
    ("jsonl", [("ok", 1), (None, 0)], r"row 2: column 'sentence' holds None, which is no text"),
    ("tsv", [], r"has no rows"),
]


@pytest.mark.parametrize(("ending", "rows", "message"), BAD_ROWS)
def test_a_bad_row_is_named_with_its_file(tmp_path: Path, ending: str, rows: list[Any], message: str) -> None:
    write(tmp_path / f"train.{ending}", rows)
    write(tmp_path / "dev.tsv")
    config = task(f"train.{ending}")
    with pytest.raises(ConfigError, match=rf"task.data.files.train=.*train.{ending}: {message}"):
        sources.load(resolve(config, tmp_path), config)


def test_a_missing_column_is_named_with_its_nearest(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv")
    write(tmp_path / "dev.tsv")
    config = task(label="labels")
    with pytest.raises(
        ConfigError, match=r"no column 'labels', only sentence, label; set task.data.label \(did you mean"
    ):
        sources.load(resolve(config, tmp_path), config)


def test_documents_that_are_not_there_are_built_by_a_command_that_is_named(tmp_path: Path) -> None:
    config = task("documents/text/train.parquet")
    with pytest.raises(ConfigError, match=r"make them with `python -m tasks.documents build`, and set SWEEPER_DATA"):
        resolve(config, tmp_path)


def test_where_one_file_is_missing_the_hub_is_offered(tmp_path: Path) -> None:
    write(tmp_path / "dev.tsv")
    with pytest.raises(ConfigError, match=r"add the file or correct its name, or task.data.source=hub$"):
        resolve(task(hub_id="someone/reviews"), tmp_path)
    with pytest.raises(ConfigError, match=r"add the file or correct its name$"):
        resolve(task(), tmp_path)


def test_a_file_elsewhere_is_described_by_its_name_alone(tmp_path: Path) -> None:
    for folder in ("data", "other"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "train.tsv")
    write(tmp_path / "data" / "dev.tsv")
    for name in (str(tmp_path / "other" / "train.tsv"), "../other/train.tsv"):
        source = resolve(task(name), tmp_path / "data")
        assert source.files["train"].samefile(tmp_path / "other" / "train.tsv")
        assert source.description == "files train.tsv, dev.tsv"


@pytest.mark.parametrize("column", ["sentence", "name", "group"])
def test_half_a_character_is_named_with_its_row(tmp_path: Path, column: str) -> None:
    rows = [{"sentence": f"a {row}", "label": 1, "name": f"b {row}", "group": f"c {row}"} for row in range(4)]
    rows[2][column] = "a \ud83d\ude00 is whole, \ud800 is not"
    for split in ("train", "dev"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = task("train.jsonl", "dev.jsonl", id="name", split_by="group")
    with pytest.raises(ConfigError, match=rf"row 3: column '{column}' holds half a character \('\\ud800'\); correct"):
        sources.load(resolve(config, tmp_path), config)


@pytest.mark.parametrize(("name", "sign"), [("train.csv", ","), ("train.tsv", "\t")])
def test_rows_with_a_value_too_many_are_not_read_shifted(tmp_path: Path, name: str, sign: str) -> None:
    lines = (("sentence", "label"), ("good", "really", "1"), ("bad", "", "0"))
    (tmp_path / name).write_text("\n".join(map(sign.join, lines)))
    with pytest.raises(ConfigError, match=rf"key=.*{name}: cannot be read: its rows have more values than"):
        files.read(tmp_path / name, "key")


@pytest.mark.parametrize(
    ("name", "content"),
    [("train.tsv", b"sentence\tlabel\none\ttwo\tthree\n"), ("train.json", b'{"a": 1}'), ("train.jsonl", b"{broken"),
     ("train.parquet", b"none"), ("train.tsv", b"sentence\tlabel\n\xff\t1\n"), ("train.txt", b""), ("train.tsv", b"")],
)  # fmt: skip
def test_a_file_that_is_not_what_its_name_says_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    write(tmp_path / "dev.tsv")
    with pytest.raises(ConfigError, match=rf"task.data.files.train=.*{name}: "):
        sources.load(resolve(task(name), tmp_path), task(name))


def test_a_real_model_without_data_is_told_what_was_looked_for_and_what_to_do(tmp_path: Path) -> None:
    config = task(hub_id="someone/reviews")
    with pytest.raises(ConfigError) as caught:
        resolve(config, tmp_path)
    message = str(caught.value)
    for part in (
        "x/train.tsv",
        "dev.tsv",
        str(tmp_path),
        "someone/reviews",
        "HF_HUB_OFFLINE",
        "set SWEEPER_DATA or data_dir",
    ):
        assert part in message


def test_a_split_without_its_file_is_an_error_even_where_another_source_is_at_hand(tmp_path: Path) -> None:
    write(tmp_path / "train.tsv")
    with pytest.raises(ConfigError, match=r"task.data.files.test=dev.tsv: not in .*; add the file"):
        resolve(task(), tmp_path, embedded_model=True)


def test_a_data_folder_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data_dir=.*nowhere: no such folder"):
        resolve(task(), tmp_path / "nowhere", embedded_model=True)


def test_only_the_embedded_model_falls_back_on_demo_data_and_says_so() -> None:
    source = resolve(task(), None, embedded_model=True)
    assert source.kind is Source.DEMO
    assert "demo" in source.description
    assert "no data folder is set" in source.reason
    assert sources.count_rows(source, task()) == {"train": 12_998, "selection": 2, "test": 1000}
    with pytest.raises(ConfigError, match="only the embedded model may train on the demo data"):
        resolve(task(source=Source.DEMO), None)


def test_demo_data_is_refused_for_a_task_with_other_labels() -> None:
    config = task(source=Source.DEMO)
    config.labels = ["sad", "glad"]
    with pytest.raises(ConfigError, match="the demo data has one text and the labels"):
        resolve(config, None, embedded_model=True)


def test_files_come_before_the_hub_and_the_hub_before_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "availability", lambda hub_id, allow_network: hub.Availability(True, "reachable"))
    config = task(hub_id="someone/reviews")
    assert resolve(config, None, embedded_model=True).kind is Source.HUB
    write(tmp_path / "train.tsv")
    write(tmp_path / "dev.tsv")
    assert resolve(config, tmp_path, embedded_model=True).kind is Source.FILES


def test_a_reachable_hub_that_refuses_is_an_error_not_a_reason_for_demo_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise hub.urllib.error.HTTPError("https://hub", 401, "Unauthorized", None, None)  # type: ignore[arg-type]

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(ConfigError, match=r"task.data.hub_id=someone/reviews: the hub answers 401"):
        resolve(task(hub_id="someone/reviews"), None, embedded_model=True, allow_network=True)


def test_the_hubs_cache_is_looked_for_without_a_home_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    assert not hub.availability("someone/reviews", allow_network=False).usable
    prepared = tmp_path / "datasets" / "someone___reviews" / "default"
    prepared.mkdir(parents=True)
    (prepared / "dataset_info.json").write_text("{}")
    assert hub.availability("someone/reviews", allow_network=False) == hub.Availability(True, "cached")


def test_an_unreachable_hub_is_asked_once_with_a_short_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def silent(request: Any, timeout: float) -> None:
        asked.append((request.full_url, timeout))
        raise TimeoutError("timed out")

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    monkeypatch.setattr("urllib.request.urlopen", silent)
    source = resolve(task(hub_id="someone/reviews"), None, embedded_model=True, allow_network=True)
    assert asked == [("https://hub.example/api/datasets/someone/reviews", hub.TIMEOUT_S)]
    assert "someone/reviews is not reachable: timed out" in source.reason


def test_what_decides_no_row_is_left_out_of_what_does(tmp_path: Path) -> None:
    for name in ("train.tsv", "dev.tsv"):
        write(tmp_path / name)
    config = task()
    other = dataclasses.replace(
        config, prompt=PromptConfig(system="Judge.", user="Text: {sentence}"), max_length=9, train_size=2, head=True
    )
    assert sources.rows_only(other) == sources.rows_only(config)
    source = resolve(config, tmp_path)
    assert sources.load(source, sources.rows_only(config)).digest == sources.load(source, config).digest


def test_every_other_column_row_or_label_is_part_of_what_decides_the_rows() -> None:
    config = task()
    others = [
        dataclasses.replace(config, prompt=PromptConfig(user="{title} {sentence}")),
        dataclasses.replace(config, prompt=PromptConfig(user="{sentence} :", no_answer="none")),
        dataclasses.replace(config, data=dataclasses.replace(config.data, split_by="article")),
        dataclasses.replace(config, labels=["positive", "negative"]),
        dataclasses.replace(config, subset_seed=1),
        dataclasses.replace(config, selection_size=3),
        dataclasses.replace(config, test_size=3),
    ]
    assert sources.rows_only(config) not in [sources.rows_only(other) for other in others]
