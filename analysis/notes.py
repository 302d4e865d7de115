"""What belongs above and below a table: warnings, where the numbers come from, and what is not in them."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.choosing import Criterion
from analysis.columns import TEST, Column, one, task_types
from analysis.load import COMPLETE, DATA_DIGEST, DATA_SOURCE, DEMO, DETAIL, PRUNED, Run
from analysis.rows import TEST_EXAMPLES, TRAIN_SECONDS, Row, mean_of

SHARED, UNCONFIRMED = "†", "‡"  # marks of a row
MAX_NAMED = 3  # cells or runs that one note spells out


def warnings(runs: Sequence[Run]) -> list[str]:
    demo = sorted({(run.params.get("task.name", "?"), run.tags.get(DATA_SOURCE, "?")) for run in runs
                   if run.tags.get(DEMO) == "true"})  # fmt: skip
    lines = [f"DEMO DATA, not {_shown_name(task)}: {source}" for task, source in demo]
    if len({entry["digest"] for entry in data_of(runs)}) > 1:
        lines.append("NOT COMPARABLE: these runs did not read the same data (see the digests below)")
    return lines


def _shown_name(task: str) -> str:
    return {"sst2": "SST-2"}.get(task, task)


def data_of(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Source and digest of everything that was read."""
    found = sorted({(run.tags.get(DATA_SOURCE, "?"), run.tags.get(DATA_DIGEST, "?")) for run in runs})
    return [{"source": source, "digest": digest} for source, digest in found]


def data_lines(runs: Sequence[Run]) -> list[str]:
    return [f"Data: {entry['source']} (sha256 {entry['digest'][:12]})" for entry in data_of(runs)]


def below(rows: Sequence[Row], runs: Sequence[Run], criterion: Criterion, columns: Sequence[Column]) -> list[str]:
    """`columns`: of one split."""
    split = columns[0].split
    lines = [*data_lines(runs), "; ".join([f"Evaluation: {_split(split, runs)}", *_conventions(runs, columns)]) + "."]
    if any(row.chosen for row in rows):
        by = criterion.objective
        if criterion.objective_std:
            plural = "s" * (criterion.objective_std != 1)
            by += f" (the mean, {criterion.objective_std:g} standard deviation{plural} to the worse side)"
        elsewhere = ", on other rows than the test split" if split == TEST else ""
        lines.append(f"Hyperparameters: the best of each cell by {by}{elsewhere}.")
    if any(row.expected > 1 for row in rows):
        lines.append("± is the standard deviation over seeds.")
    read = shared(rows, [column.metric for column in columns])
    return [*lines, *_fresh(rows, columns[0]), *_not_fresh(rows), *read, *_pruned(rows), *_incomplete(runs)]


def _split(split: str, runs: Sequence[Run]) -> str:
    if split != TEST:
        return {"eval": "the selection split, by which checkpoints and hyperparameters are chosen",
                "fit": "the training rows themselves"}[split]  # fmt: skip
    sizes = sorted({run.metrics[TEST_EXAMPLES] for run in runs if TEST_EXAMPLES in run.metrics})
    return "the test split" + (f", {' or '.join(f'{size:,.0f}' for size in sizes)} rows" if sizes else "")


def _conventions(runs: Sequence[Run], columns: Sequence[Column]) -> list[str]:
    """What one must know to compare the numbers with others."""
    types, names = task_types(runs), {column.name for column in columns}
    said = {
        "an irregular output counts as wrong": "classification" in types and any(run.writes for run in runs),
        "F1 is macro": "f1_macro" in names,
        "exact match and F1 are SQuAD's": not names.isdisjoint(("exact_match", "f1")),
        "changed parameters are the base model's, with the adapter merged in": "perf/changed_parameters" in names,
        "a perplexity compares only with those of the same tokenizer": "perplexity" in names,
    }
    return [text for text, is_so in said.items() if is_so]


def _fresh(rows: Sequence[Row], lead: Column) -> list[str]:
    """What the search had for the points that fresh seeds report: there they were chosen by their luck, too."""
    before = [(row, _searched(row, lead)) for row in rows if row.searched]
    if not before:
        return []
    if len(rows) == 1:
        seeds = "mean of its search seeds" if len(rows[0].searched) > 1 else "its search seed"
        return [f"Reported on fresh seeds; during the search the same point had {before[0][1]} ({seeds})."]
    had = "during the search the same points had (mean of their search seeds)"
    return [f"Reported on fresh seeds; {had} {_of_rows(before, rows)}."]


def _searched(row: Row, lead: Column) -> str:
    mean = mean_of(row.searched, lead.metric)
    return f"no {lead.name}" if mean is None else one(lead.metric, mean)


def _not_fresh(rows: Sequence[Row]) -> list[str]:
    reasons = [(row, row.unconfirmed) for row in rows if row.unconfirmed]
    if not reasons:
        return []
    return [
        f"{UNCONFIRMED} Not on fresh seeds ({_of_rows(reasons, rows)}) but on the search's own, which chose the point."
    ]


def shared(rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    """The footnote of the rows with SHARED, in a table of these metrics."""
    sources = list(dict.fromkeys(source for row in rows for source in row.shared_with))
    if not sources:
        return []
    seconds = ": its training seconds are those up to its own end, and no additional cost"
    return [f"{SHARED} Read from a longer run on its way, {_few(sources)}{seconds * (TRAIN_SECONDS in metrics)}."]


def _pruned(rows: Sequence[Row]) -> list[str]:
    """Nothing of a cell of one point, whose row says it."""
    having = [row for row in rows if row.num_pruned and row.num_points > 1]
    counts = [(row, f"{row.num_pruned} of {row.num_points}") for row in having]
    if not having:
        return []
    if len(rows) == 1:
        return [f"{counts[0][1]} points pruned."]
    if len(having) <= MAX_NAMED:
        return [f"Points pruned: {_of_rows(counts, rows)}."]
    pruned, tried = sum(row.num_pruned for row in having), sum(row.num_points for row in having)
    return [f"{pruned} of {tried} points pruned, in {len(having)} cells (csv and json say which)."]


def _of_rows(texts: Sequence[tuple[Row, str]], rows: Sequence[Row]) -> str:
    """`x`, or `mini lora 100: x; mini lora 1,000: y` where the table has other rows."""
    return texts[0][1] if len(rows) == 1 else "; ".join(f"{row.label}: {text}" for row, text in texts)


def _few(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more (csv and json name them)" if more > 0 else "")


def _incomplete(runs: Sequence[Run]) -> list[str]:
    """Every run that has no result, with its reason; pruned ones, which a search has many of, are counted apart."""
    lines = []
    for run in runs:
        if run.state not in (COMPLETE, PRUNED):
            detail = run.tags.get(DETAIL, "")
            lines.append(f"{run.run_id}: {run.problem}" + (f" ({detail})" if detail else ""))
    return lines
