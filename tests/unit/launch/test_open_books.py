from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeper.checks import ConfigError
from sweeper.launch.books import open_books

NOBODY = "http://127.0.0.1:9"  # the port of the discard service


def test_a_server_that_does_not_answer_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ConfigError, match="MLflow does not answer, or refuses; check that the server runs") as caught:
        open_books(NOBODY, str(tmp_path), "sst2", None)
    assert (caught.value.key, caught.value.value) == ("tracking_uri", NOBODY)
    assert "\n" not in str(caught.value)


def test_mlflow_is_imported_only_once_its_telemetry_is_off(tmp_path: Path) -> None:
    program = f"""
import os, sys
class Watch:
    def find_spec(self, name, *_):
        if name == "mlflow":
            print(os.environ.get("MLFLOW_DISABLE_TELEMETRY"))
            os._exit(0)
sys.meta_path.insert(0, Watch())
from sweeper.launch.books import open_books
open_books("{NOBODY}", {str(tmp_path)!r}, "sst2", None)
"""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    command = [sys.executable, "-u", "-c", program]
    shown = subprocess.run(command, env=clean, capture_output=True, text=True, check=True).stdout
    assert shown == "true\n"
