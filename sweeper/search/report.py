"""Checks what an experiment wants its table to show: names of metrics, and published figures for its rows."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from sweeper.checks import ConfigError, suggestion
from sweeper.config import ReportConfig
from sweeper.metrics import TASK_METRICS, column_metrics
from sweeper.task_config import TEXT_METRICS

WHEN, SOURCE = "when", "source"

Kind = tuple[str, tuple[str, ...]]  # task.type and task.metrics of a run


def check_report(report: ReportConfig, kinds: Collection[Kind]) -> None:
    """Raises ConfigError, also for a column that none of these kinds of runs measures."""
    types = sorted({task_type for task_type, _ in kinds})
    for name in report.columns:
        _check_metric("report.columns", name, types)
    for number, entry in enumerate(report.published):
        _check_entry(f"report.published[{number}]", entry, types)
    _check_families(report.columns, sorted({family for _, families in kinds for family in families}))


def _check_entry(key: str, entry: Mapping[str, Any], types: Collection[str]) -> None:
    if not isinstance(entry.get(WHEN, {}), Mapping):
        raise ConfigError(f"{key}.when", entry[WHEN], "must be a dictionary", "when: {task.train_size: 100}, say")
    for name, value in entry.items():
        if name in (WHEN, SOURCE):
            continue
        _check_metric(key, name, types)
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not is_number and not isinstance(value, str):
            raise ConfigError(f"{key}.{name}", value, "must be a number, or text that is printed as it stands")
        if is_number and column_metrics()[name].unit == "share" and not 0 <= value <= 1:
            raise ConfigError(f"{key}.{name}", value, "is a share of 1", f"write {value / 100:.10g}, if it is per cent")


def _check_metric(key: str, name: str, types: Collection[str]) -> None:
    measured = list(dict.fromkeys(metric.name for task_type in types for metric in TASK_METRICS[task_type]))
    elsewhere = {metric.name for metrics in TASK_METRICS.values() for metric in metrics}.difference(measured)
    there = f"measured: {', '.join(measured)}"
    if name in elsewhere:
        raise ConfigError(key, name, f"not measured with task.type={' or '.join(types)}", there)
    if name not in column_metrics():
        near = suggestion(name.rpartition("/")[2], measured) or suggestion(name, column_metrics().keys() - elsewhere)
        raise ConfigError(key, name, "not a metric without its split", near or there)


def _check_families(columns: Collection[str], asked: Collection[str]) -> None:
    """A figure may be published of what is not measured here, but a column of it would be empty."""
    empty = {name: family for name in columns for family in TEXT_METRICS if name.startswith(family)
             and family not in asked}  # fmt: skip
    if empty:
        name, family = next(iter(empty.items()))
        left = ",".join(column for column in columns if column not in empty)
        raise ConfigError("report.columns", name, f"not measured with task.metrics=[{','.join(asked)}]",
                          f"add {family} there, or set report.columns=[{left}]")  # fmt: skip
