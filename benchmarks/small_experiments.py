"""Published experiments at their small scale, one after the other: their tables, and how long each took.

    python -m benchmarks.small_experiments mlruns/small llama3_1b_squad_v2 domain_pretrain domain_qa

Takes the folder for the results, which holds `documents/` for the experiments on documents of one's own, and the names
of files in conf/experiment. One that fails does not keep the others from running; the exit code is 1 then.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

ON_DOCUMENTS = ("domain_pretrain", "domain_qa")
PUBLISHED = "analysis.table --published"
# What is printed where it is not the table with the published figures alone.
TABLES = {
    "llama3_1b_imdb_last_layer": ("analysis.table split=fit", "analysis.table split=eval", PUBLISHED),
    "distilbert_imdb_search": (PUBLISHED, "analysis.importances"),
    "minilm_squad_v2_span": ("analysis.table",),  # no figures of it are published
}


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__)
        return 2
    folder, *names = sys.argv[1:]
    times, failed = {}, []
    try:
        for name in names:
            print(f"\n== {name}", flush=True)
            began = time.monotonic()
            if not runs(name, folder):
                failed.append(name)
            times[name] = (time.monotonic() - began) / 60
            print(f"{name}: {times[name]:.1f} minutes", flush=True)
    except KeyboardInterrupt:
        return 130
    finally:
        print("\nminutes")
        for name, minutes in times.items():
            print(f"{minutes:>7.1f}  {name}{'  failed' * (name in failed)}")
        print(f"{sum(times.values()):>7.1f}  together")
    if failed:
        print(f"failed: {' '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def runs(name: str, folder: str) -> bool:
    """Whether all its commands ended well; those after the first that does not are left out."""
    return all(python(command) == 0 for command in commands(name, folder))


def commands(name: str, folder: str) -> Iterator[Sequence[str]]:
    which = [f"experiment={name}", f"output_dir={folder}"]
    yield ["sweeper", *which, "scale=small", *([f"data_dir={folder}"] if name in ON_DOCUMENTS else []), "-m"]
    for table in TABLES.get(name, (PUBLISHED,)):
        yield [*table.split(), *which]


def python(words: Sequence[str]) -> int:
    """The exit code of the command. Ctrl-C is the command's own affair: a sweep stops in order, and then this does."""
    process = subprocess.Popen([sys.executable, "-m", *words])
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


if __name__ == "__main__":
    raise SystemExit(main())
