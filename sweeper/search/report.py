"""Checks what an experiment wants its table to show: names of metrics, and published figures for its rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sweeper.checks import ConfigError, suggestion
from sweeper.config import ReportConfig
from sweeper.metrics import column_metrics

WHEN, SOURCE = "when", "source"


def check_report(report: ReportConfig) -> None:
    """Raises ConfigError."""
    for name in report.columns:
        _check_metric("report.columns", name)
    for number, entry in enumerate(report.published):
        _check_entry(f"report.published[{number}]", entry)


def _check_entry(key: str, entry: Mapping[str, Any]) -> None:
    if not isinstance(entry.get(WHEN, {}), Mapping):
        raise ConfigError(f"{key}.when", entry[WHEN], "must be a dictionary", "when: {task.train_size: 100}, say")
    for name, value in entry.items():
        if name in (WHEN, SOURCE):
            continue
        _check_metric(key, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number and not isinstance(value, str):
            raise ConfigError(f"{key}.{name}", value, "must be a number, or text that is printed as it stands")
        if is_number and column_metrics()[name].unit == "share" and not 0 <= value <= 1:
            raise ConfigError(f"{key}.{name}", value, "is a share of 1", f"write {value / 100:.10g}, if it is per cent")


def _check_metric(key: str, name: str) -> None:
    known = column_metrics()
    if name not in known:
        fix = suggestion(name.rpartition("/")[2], known) or suggestion(name, known)
        raise ConfigError(key, name, "not a metric without its split", fix or "for example accuracy")
