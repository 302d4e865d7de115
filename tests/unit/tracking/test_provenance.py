from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sweeper.tracking.provenance import code_state


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
