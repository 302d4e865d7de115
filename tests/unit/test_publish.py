"""A run on its way to the hub: the card, the files, and the calls that upload them."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import yaml
from huggingface_hub import constants

from sweeper import publish
from sweeper.config import DataConfig, Source, TaskConfig
from sweeper.tracking.run_folder import RunFolder
from tasks import sources
from tests.synthetic_runs import SyntheticRun

SECRET = "hf_abcdefghijklmnop"
HOME = "/home/somebody/models/tiny"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """With an adapter, and a base model that lies in a folder of this machine."""
    made = SyntheticRun(accuracy=0.8125).write(tmp_path)
    adapter = made.artifacts / "adapter"
    adapter.mkdir()
    config = {"base_model_name_or_path": HOME, "r": 4, "peft_type": "LORA"}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    return made


class Hub:
    """Stands in for HfApi, and keeps what it is given."""

    calls: list[tuple[str, dict[str, Any]]]
    files: dict[str, bytes]

    def create_repo(self, repo: str, **options: Any) -> None:
        Hub.calls.append(("create_repo", {"repo_id": repo, **options}))

    def upload_folder(self, *, folder_path: Path, **options: Any) -> Any:
        Hub.calls.append(("upload_folder", options))
        Hub.files = {path.name: path.read_bytes() for path in folder_path.iterdir()}
        return type("Commit", (), {"commit_url": "https://huggingface.co/me/tuned/commit/1"})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[Hub]:
    Hub.calls, Hub.files = [], {}
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return Hub


def run(folder: RunFolder, *words: str) -> int:
    return publish.main([f"run={folder.run_id}", "repo=me/tuned", f"output_dir={folder.path.parents[1]}", *words])


def header_of(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---")[1])
    return found


def test_adapter_and_card_are_uploaded(folder: RunFolder, hub: type[Hub], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "private=true", "license=apache-2.0") == 0
    assert capsys.readouterr().out == "https://huggingface.co/me/tuned/commit/1\n"
    assert hub.calls == [
        ("create_repo", {"repo_id": "me/tuned", "private": True, "exist_ok": True}),
        ("upload_folder", {"repo_id": "me/tuned", "commit_message": f"Run {folder.run_id}"}),
    ]
    assert sorted(hub.files) == ["README.md", "adapter_config.json", "adapter_model.safetensors"]
    assert hub.files["adapter_model.safetensors"] == b"weights"
    assert header_of(hub.files["README.md"].decode())["license"] == "apache-2.0"


def test_the_card_says_what_the_run_says(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "dry_run=true") == 0
    shown = capsys.readouterr().out
    card = shown.partition("bytes")[0]
    header = header_of(card)
    assert header["library_name"] == "peft"
    assert "license" not in header
    (result,) = header["model-index"][0]["results"]
    values = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert values["accuracy"] == 0.8125
    assert "| accuracy | 0.8125 | share |" in card
    assert folder.identity.data["digest"] in card
    assert "| seed | `0` |" in card
    assert "| train.learning_rate | `0.001` |" in card
    assert 'PeftModel.from_pretrained(base, "me/tuned")' in card
    assert "Not stated by the publisher." in card


def test_a_dry_run_shows_the_files_and_uploads_nothing(
    folder: RunFolder, hub: type[Hub], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "dry_run=true") == 0
    shown = capsys.readouterr().out.splitlines()
    assert hub.calls == []
    assert shown[-1] == "dry run: nothing was uploaded to me/tuned"
    assert [line.split()[-1] for line in shown[-4:-1]] == [
        "README.md", "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip


def test_offline_only_a_dry_run_works(folder: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert constants.HF_HUB_OFFLINE  # tests/conftest.py
    assert run(folder) == 2
    assert capsys.readouterr().err == (
        "error: repo=me/tuned: HF_HUB_OFFLINE is set, so the hub may not be asked; "
        "dry_run=true shows what would be uploaded\n"
    )
    assert run(folder, "dry_run=true") == 0
    assert "dry run, and HF_HUB_OFFLINE is set: nothing was uploaded" in capsys.readouterr().out


def source_of(path: Path) -> str:
    """What a run says of its data, a file outside the data folder that its config names by the whole path."""
    for made in (path.parent, data_dir := path.parents[1] / "data"):
        made.mkdir()
    path.write_text("sentence\tlabel\ngood\t1\n")
    data = DataConfig(files={"train": [str(path)], "test": [str(path)]})
    found = sources.resolve(TaskConfig(data=data), str(data_dir), embedded_model=False)
    assert found.kind is Source.FILES
    return found.description


def test_nothing_of_this_machine_leaves_it(
    folder: RunFolder, hub: type[Hub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    folder.identity.config["task"]["prompt"]["system"] = f"You are {SECRET}"
    folder.identity.config["peft"]["start_from"] = f"{HOME}/adapter"
    folder.identity.data["source"] = source_of(tmp_path / "elsewhere" / "reviews.tsv")
    (folder.path / "run.json").write_text(json.dumps(vars(folder.identity)))
    assert run(folder) == 0
    everything = b"".join(hub.files.values()).decode()
    assert SECRET not in everything
    assert str(folder.path.parents[1]) not in everything
    assert HOME not in everything
    assert str(tmp_path) not in everything
    assert "reviews.tsv" in everything
    assert json.loads(hub.files["adapter_config.json"])["base_model_name_or_path"] == "mini"
    own = json.loads((folder.artifacts / "adapter" / "adapter_config.json").read_text())
    assert own["base_model_name_or_path"] == HOME  # the run's own file, linked, is as it was
    assert not list(folder.path.glob(".publish-*"))


def test_demo_data_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = SyntheticRun(demo=True, source="embedded demo reviews, generated").write(tmp_path)
    (folder.artifacts / "model").mkdir()
    assert run(folder, "dry_run=true") == 0
    assert "**DEMO DATA**" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["repo=a b"], "error: repo=a b: Repo id must use alphanumeric chars"),
        (["private=maybe"], "error: private=maybe: not one of false, true"),
        (["licence=mit"], "error: command line=licence=mit: unknown argument; did you mean 'license'?"),
    ],
)
def test_bad_words_are_told_in_one_line(
    words: list[str], message: str, folder: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "dry_run=true", *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(message)


def test_a_run_without_weights_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = SyntheticRun(method="none").write(tmp_path)
    assert run(folder, "dry_run=true") == 2
    assert "trained no weights that the hub takes" in capsys.readouterr().err


def test_a_hub_that_does_not_answer_is_one_line(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    real = huggingface_hub.HfApi
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: real(endpoint=f"http://127.0.0.1:{port}", token=SECRET))
    assert run(folder) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: repo=me/tuned: the hub does not take it (")
    assert "log in: `hf auth login` or HF_TOKEN" in line
