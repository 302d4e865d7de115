"""A coordinating process for tests: real workers and run folders; the trials are a list, the trainer pretends.

    python -m tests.integration.launch.sweep_process <output_dir> '[["complete", 0.5], ["raise", 0.0], ...]' [mlflow]

One trial per pair of what its run does and the accuracy it reaches. What is told stands in <output_dir>/told.txt.
Without the last word nothing is published: MLflow takes seconds to import.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from sweeper.config import RunConfig, Source
from sweeper.launch import books, start
from sweeper.launch.books import Books
from sweeper.launch.group import DataSize
from sweeper.launch.runs import Data, Runs
from sweeper.search.options import LauncherOptions, SearchOptions
from sweeper.search.space import Space
from sweeper.search.study import RunResult, TrialRuns

TRAINER = "tests.integration.launch.fake_trainer:train_group"
LORA = {"name": "lora", "method": "adapter", "type": "LORA"}
DATA = Data("files: made up", "d" * 64, kind=Source.FILES, size=DataSize(1000, 100, 100))


class ListSweep:
    """Remembers in a file which trials have been told, as a study would."""

    sweep_id, name, is_single = "5eed5eed00", "list of runs", False
    objective, prunes_by, record, search = "eval/accuracy", None, None, SearchOptions()
    launcher = LauncherOptions(slots=2, threads=1, max_group=1)
    space = Space((), (0,))
    num_failed = num_left_failed = 0
    record = None

    def __init__(self, output_dir: Path, trials: Sequence[tuple[str, float]]) -> None:
        self.base = RunConfig(output_dir=str(output_dir), peft=dict(LORA))
        self.trials = trials
        self.told_path = output_dir / "told.txt"
        self.cells: list[dict[str, Any]] = [{}]
        self.objectives = ["eval/accuracy"]
        self.parameters = {"trials": len(trials)}

    def __enter__(self) -> Self:
        told = self.told_path.read_text().split("\n")[:-1] if self.told_path.exists() else []
        numbers = {int(line.split()[0]) for line in told}
        self.num_trials, self.num_finished = len(self.trials), len(numbers)
        self.pending = [number for number in range(len(self.trials)) if number not in numbers]
        return self

    def __exit__(self, *_: object) -> None: ...

    @property
    def num_runs_left(self) -> int:
        return len(self.pending)

    @property
    def notes(self) -> list[str]:
        return []

    def renew(self) -> None: ...

    def store_pareto(self) -> None: ...

    def notes_so_far(self) -> list[str]:
        return []

    def missing(self) -> dict[str, int]:
        return {}

    def ask(self) -> TrialRuns | None:
        if not self.pending:
            return None
        number = self.pending.pop(0)
        behaviour, accuracy = self.trials[number]
        config = RunConfig(seed=number, output_dir=self.base.output_dir, peft=dict(LORA))
        params = {"behaviour": behaviour, "accuracy": accuracy}
        return TrialRuns(self.sweep_id, number, params, {}, (config,))

    def tell(self, trial: TrialRuns, results: Sequence[RunResult]) -> None:
        with self.told_path.open("a") as file:
            for result in results:
                file.write(f"{trial.number} {result.state} {result.objectives.get('eval/accuracy')} {result.reason}\n")


class NoView:
    def admit(self, *_: Any) -> None: ...

    def publish(self, *_: Any) -> bool:
        return True

    def finish_sweep(self, *_: Any) -> None: ...


def main() -> None:
    Runs.data = lambda self, config: DATA  # type: ignore[method-assign]
    if "mlflow" not in sys.argv[3:]:
        books.open_books = lambda *_: Books(NoView(), None)
    sweep: Any = ListSweep(Path(sys.argv[1]), json.loads(sys.argv[2]))
    sys.exit(start.run(sweep, trainer=TRAINER))


if __name__ == "__main__":
    main()
