from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sweeper.tracking import provenance
from sweeper.tracking.provenance import REPOSITORY, SOURCES, code_state, code_version


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    (tmp_path / "a.py").write_text("1")
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_a_clean_checkout_has_its_commit(checkout: Path) -> None:
    state = code_state(checkout)
    assert len(state["commit"]) == 40
    assert state["dirty"] is False
    assert {"python", "mlflow", "optuna"} <= set(state["versions"])


@pytest.mark.parametrize("name", ["a.py", "new.py"])
def test_a_changed_or_a_new_file_makes_it_dirty(checkout: Path, name: str) -> None:
    (checkout / name).write_text("2")
    assert code_state(checkout)["dirty"] is True


def test_outside_a_checkout_nothing_is_claimed(tmp_path: Path) -> None:
    state = code_state(tmp_path)
    assert (state["commit"], state["dirty"]) == (None, None)


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The deciding sources as they lie in an installed package: no git."""
    for name in ("sweeper/config.py", "sweeper/training/loop.py", "sweeper/launch/slots.py", "tasks/rows.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a = 1\n")
    return tmp_path


def version_of(root: Path) -> str:
    code_version.cache_clear()
    return code_version(root)


def test_the_code_version_needs_no_git_and_does_not_hang_on_the_place(sources: Path, tmp_path: Path) -> None:
    before = version_of(sources)
    assert len(before) == 12
    assert version_of(sources.rename(tmp_path.parent / f"{tmp_path.name}-moved")) == before


@pytest.mark.parametrize("name", ["sweeper/config.py", "sweeper/training/loop.py", "tasks/rows.py"])
def test_the_code_version_changes_with_what_decides_the_numbers(sources: Path, name: str) -> None:
    before = version_of(sources)
    (sources / name).write_text("a = 2\n")
    changed = version_of(sources)
    (sources / name).rename(sources / name.replace(".py", "_new.py"))
    assert len({before, changed, version_of(sources)}) == 3


def test_the_code_version_stays_with_what_does_not(sources: Path) -> None:
    before = version_of(sources)
    (sources / "sweeper" / "launch" / "slots.py").write_text("a = 2\n")
    (sources / "tasks" / "rows.cpython-311.pyc").write_bytes(b"2")
    assert version_of(sources) == before


def test_the_code_version_changes_with_the_libraries(sources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = version_of(sources)
    monkeypatch.setattr(provenance.metadata, "version", lambda package: "0.0")
    assert version_of(sources) != before


@pytest.mark.parametrize("package", ["sacrebleu", "nltk", "rouge-score"])
def test_scores_of_text_hang_on_libraries_that_may_be_absent(
    sources: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    installed = {"torch": "1.0"}

    def version(name: str) -> str:
        if name not in installed:
            raise provenance.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(provenance.metadata, "version", version)
    versions = {version_of(sources)}
    for installed[package] in ("1.0", "2.0"):
        versions.add(version_of(sources))
    assert len(versions) == 3
    assert provenance.package_versions()[package] == "2.0"


def test_every_source_that_is_named_is_there() -> None:
    assert all(list(REPOSITORY.glob(pattern)) for pattern in SOURCES)
    assert code_state()["version"] == version_of(REPOSITORY)
