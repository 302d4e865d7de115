"""`python -m sweeper.predict`: a finished run's answers for new rows.

    echo "a gorgeous , witty film ." | python -m sweeper.predict run=last input=-
    python -m sweeper.predict run=sst2-mini-lora-1000 input=reviews.csv output=answers.csv
    python -m sweeper.predict run=8c1f input=questions.jsonl output=answers.jsonl

run          a complete run: its folder's name, MLflow's id, the beginning of either, or last
input        a file (jsonl, json, csv, tsv, parquet; txt: a text per line; all but parquet also gzipped: .gz), or - for
             a text per line of standard input
lines        jsonl: the lines of standard input, or of a txt file, are JSON objects
output       a file, .jsonl or .csv, written whole or not at all; unless given, JSON lines to standard output
output_dir   where the runs are; mlruns unless given
model.path   the base model's folder, where it is no longer where the run found it
task.max_length, task.too_long   tokens of one example, and what becomes of a longer one (error | truncate); the
             run's own unless given

A table has the columns that the run's task reads, such as question and context; others are passed over. There is one
answer per row, in the same order. A classification answers with `label` (null where what the model wrote is none:
`irregular`), the `probabilities` of the labels (a support vector machine has none) and the `text` it wrote; question
answering with `answer`, empty for none, and the `no_answer_score` where questions may have none; language modelling
with the text's `loss`, `perplexity`, `bits_per_character` and `num_tokens`.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from sweeper import arguments, model_digest
from sweeper.__main__ import in_one_line
from sweeper.checks import ConfigError, one_of
from sweeper.config import Architecture, RunConfig, flatten
from sweeper.search import model_files
from sweeper.tracking import places
from sweeper.tracking.lookup import find_run

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("run", "input", "lines", "output", "output_dir", "model.path", "task.max_length", "task.too_long")
STANDARD = "-"  # input


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code, as of `python -m sweeper`."""
    return in_one_line(list(sys.argv[1:] if argv is None else argv), predict)


def predict(words: list[str]) -> int:
    if arguments.asks_for_help(words):
        print((__doc__ or "").partition("\n\n")[2])
        return 0
    given = arguments.parse(words, KEYS, needs=("run", "input"), program="sweeper.predict")
    target = _target(given.get("output"))
    folder = find_run(Path(given.get("output_dir", RunConfig().output_dir)), given["run"])
    config = asked_again(folder.settled_config(), given)
    rows = read_rows(given["input"], given.get("lines", "text"), config)
    if "model.path" in given and config.model.digest is None:
        print(f"not compared: the run kept no digest of {config.model.hub_id or 'its model'}, so nothing tells whether "
              f"{config.model.path} is the same", file=sys.stderr)  # fmt: skip
    silence_libraries()
    from sweeper.training.predictor import Predictor

    answers = Predictor.load(config, folder.artifacts).answers(rows)
    with opened(target) as file:
        write = write_csv if target is not None and target.suffix == ".csv" else write_jsonl
        write(file, answers)
    return 0


def asked_again(config: RunConfig, given: Mapping[str, str]) -> RunConfig:
    """With what may be said anew. Raises ConfigError where its base model is not at hand, or is another."""
    left_all = config.peft.get("method") == "full" or config.model.architecture is Architecture.CLASSICAL
    if "model.path" in given and (left_all or config.model.is_embedded):
        rule = "the run left all of its weights" if left_all else "the run's model is the embedded one"
        raise ConfigError("model.path", given["model.path"], rule, "leave it out")
    config.model.path = given.get("model.path", config.model.path)
    config.task.too_long = given.get("task.too_long", config.task.too_long)
    one_of("task.too_long", config.task.too_long, ("error", "truncate"))
    if "task.max_length" in given:
        config.task.max_length = arguments.whole_number(given, "task.max_length", 8)
    if not left_all:
        config.model.validate()
        model_files.check_at_hand(config.model)
        model_digest.check(config.model)
    return config


def read_rows(source: str, lines: str, config: RunConfig) -> pd.DataFrame:
    """Every row of the input, its texts checked. Raises ConfigError."""
    import pandas as pd

    from tasks import files, new_rows, template

    columns = template.columns(config.task)
    one_of("lines", lines, ("text", "jsonl"))
    if source != STANDARD and not Path(source).is_file():
        raise ConfigError("input", source, "no such file", "- reads standard input")
    if source == STANDARD or source.lower().endswith((".txt", ".txt.gz")):
        text = _standard_input() if source == STANDARD else files.text(Path(source), "input")
        raw = pd.DataFrame(_records(text, lines, columns), dtype=object)
    elif lines != "text":
        raise ConfigError("lines", lines, "is of standard input and of txt files", "leave it out")
    else:
        raw = files.read(Path(source), "input")
    if not len(raw):
        raise ConfigError("input", source, "has no rows")
    return new_rows.checked(raw, columns, source)


def _standard_input() -> str:
    """UTF-8, whatever this machine's own encoding is."""
    try:
        return io.TextIOWrapper(io.BytesIO(sys.stdin.buffer.read()), encoding="utf-8-sig").read()
    except UnicodeDecodeError as error:
        raise ConfigError("input", STANDARD, f"is no UTF-8 ({error})", "convert it, with iconv say") from None


def _records(text: str, lines: str, columns: Sequence[str]) -> list[dict[str, Any]]:
    """One per line; a blank one is none."""
    given = [line for line in text.split("\n") if line.strip()]
    if lines == "text":
        if len(columns) > 1:
            fix = "give a table, or lines=jsonl"
            raise ConfigError("input", "a text per line", f"the task reads {', '.join(columns)}", fix)
        return [{columns[0]: line} for line in given]
    try:
        records = [json.loads(line) for line in given]
    except ValueError as error:
        raise ConfigError("input", "lines=jsonl", f"not JSON ({error})") from None
    if wrong := [record for record in records if not isinstance(record, dict)]:
        raise ConfigError("input", json.dumps(wrong[0]), "is no JSON object", '{"sentence": "..."}, say')
    return records


def _target(output: str | None) -> Path | None:
    if output is None:
        return None
    target = Path(output)
    if target.suffix not in (".jsonl", ".csv"):
        raise ConfigError("output", output, "neither .jsonl nor .csv", "answers.jsonl, say")
    if os.path.isdir(target):
        raise ConfigError("output", output, "is a folder", f"{target / f'answers{target.suffix}'}, say")
    places.check_folder("output", output, target.parent)
    return target


@contextlib.contextmanager
def opened(target: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears when all is in it."""
    if target is None:
        yield sys.stdout
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_name(f".{target.name}.partial")
    try:
        with scratch.open("w", encoding="utf-8", newline="") as file:
            yield file
        os.replace(scratch, target)
    finally:
        scratch.unlink(missing_ok=True)


def write_jsonl(file: TextIO, answers: Iterable[Mapping[str, Any]]) -> None:
    for answer in answers:
        print(json.dumps(answer, ensure_ascii=False), file=file, flush=file is sys.stdout)


def write_csv(file: TextIO, answers: Iterable[Mapping[str, Any]]) -> None:
    """`probabilities.positive` and so on are columns of their own."""
    rows = (flatten(answer) for answer in answers)
    first = next(rows)
    writer = csv.DictWriter(file, first, lineterminator="\n")
    writer.writeheader()
    writer.writerows(itertools.chain([first], rows))


def silence_libraries() -> None:
    """They tell of bars, missing kernels and changes to come, on the terminal of whoever only asks."""
    warnings.simplefilter("ignore", FutureWarning)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


if __name__ == "__main__":
    sys.exit(main())
