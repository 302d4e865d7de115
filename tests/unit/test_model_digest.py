"""A local model folder belongs to what a run is by its content: other weights are another run, never used instead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweeper import model_digest
from sweeper.checks import ConfigError
from sweeper.config import Architecture, ModelConfig, RunConfig
from sweeper.model_digest import check, digest_of, with_digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    for name in ("config.json", "tokenizer.json", *shards):
        (made / name).write_text(f"of {name}")
    return made


def digest(folder: Path) -> str:
    found = digest_of(ModelConfig(path=str(folder)))
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model-00002-of-00002.safetensors"])
def test_it_changes_with_every_deciding_file(folder: Path, name: str) -> None:
    before = digest(folder)
    assert len(before) == 64
    (folder / name).write_text("others")
    changed = digest(folder)
    (folder / name).unlink()
    assert len({before, changed, digest(folder)}) == 3


def test_it_stays_with_the_place_and_with_what_decides_nothing(folder: Path, tmp_path: Path) -> None:
    before = digest(folder)
    (folder / "README.md").write_text("a model")
    (folder / "LICENSE.txt").write_text("do")
    assert digest(folder.rename(tmp_path / "elsewhere")) == before


def test_a_file_that_stays_as_it_is_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = model_digest.hashlib.file_digest
    monkeypatch.setattr(model_digest.hashlib, "file_digest",
                        lambda file, name: (read.append(Path(file.name).name), whole(file, name))[1])  # fmt: skip
    for _ in range(3):
        digest(folder)
    assert len(read) == 4
    weights = folder / "model-00001-of-00002.safetensors"
    stat = weights.stat()
    weights.write_text(weights.read_text().swapcase())  # of the same size
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    digest(folder)
    assert read[4:] == [weights.name]


def test_only_a_local_folder_has_one(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for model in (ModelConfig(hub_id="someone/model"), ModelConfig(embedded=True, revision="a"),
                  ModelConfig(architecture=Architecture.CLASSICAL, path=str(folder))):  # fmt: skip
        assert digest_of(model) is None
    assert digest_of(ModelConfig(embedded=True, path=str(folder))) == digest(folder)
    monkeypatch.chdir(tmp_path)
    assert digest_of(ModelConfig(hub_id="model")) == digest(folder)
    (tmp_path / "a_package").mkdir()
    (tmp_path / "a_package" / "__init__.py").write_text("")
    folder.rename(tmp_path / "a_package" / "weights")
    monkeypatch.syspath_prepend(tmp_path)
    packaged = ModelConfig(path="package:a_package/weights")
    assert digest_of(packaged) == digest(tmp_path / "a_package" / "weights")


def test_it_is_part_of_what_a_run_is(folder: Path) -> None:
    config = RunConfig(model=ModelConfig(path=str(folder)))
    settled = with_digest(config)
    assert settled.model.digest == digest(folder)
    assert with_digest(settled) == settled
    (folder / "model-00001-of-00002.safetensors").write_text("others")
    assert with_digest(config).content_hash() != settled.content_hash()
    with pytest.raises(ConfigError, match="the model's folder has"):
        with_digest(settled)
    with pytest.raises(ConfigError, match="only a local model folder has one"):
        with_digest(RunConfig(model=ModelConfig(hub_id="someone/model", digest="a")))


def test_other_weights_than_a_runs_are_refused(folder: Path) -> None:
    model = with_digest(RunConfig(model=ModelConfig(path=str(folder)))).model
    check(model)
    check(ModelConfig(path=str(folder)))  # of a run from before there were any
    (folder / "model-00001-of-00002.safetensors").write_text("others")
    with pytest.raises(ConfigError, match=r"its weights or its tokenizer are others \(\w{12}\) than the run had"):
        check(model)


def test_what_a_large_file_had_is_kept_from_command_to_command(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(model_digest, "LARGE", 25)
    before = digest(folder)
    assert capsys.readouterr().err.count("reading ") == 2  # the shards; what is small is read in no time
    model_digest._file_digest.cache_clear()
    assert digest(folder) == before
    assert not capsys.readouterr().err
    (tmp_path / "cache" / "sweeper" / "model_digests.json").write_text("{")  # damaged: read again
    model_digest._file_digest.cache_clear()
    assert digest(folder) == before
    assert capsys.readouterr().err.count("reading ") == 2


def test_a_user_without_a_home_reads_them_every_time(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "")  # unset, by the rule that the variable is from
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setattr(model_digest, "LARGE", 25)
    for _ in range(2):
        digest(folder)
        model_digest._file_digest.cache_clear()
    assert capsys.readouterr().err.count("reading ") == 4
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_is_gone_is_no_other_model(folder: Path) -> None:
    model = ModelConfig(path=str(folder), digest=digest(folder))
    check(model)
    for file in folder.iterdir():
        file.unlink()
    with pytest.raises(ConfigError, match=r"no config\.json in this folder"):
        check(model)
