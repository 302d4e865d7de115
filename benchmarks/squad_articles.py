"""SQuAD's articles on physics as documents of one's own: a text each, and their questions as `tasks.documents` imports.

    python -m benchmarks.squad_articles <folder>     reads squad/train-v1.1.json under SWEEPER_DATA

Writes texts/<title>.txt and questions.csv. For the small scale of experiment=domain_pretrain and domain_qa, whose full
scale has a chat model write the questions: too much for the embedded model.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pandas as pd

from tasks import files

TITLES = ("Antenna_(radio)", "Capacitor", "Electric_motor", "Energy", "Hydrogen", "Incandescent_light_bulb", "Infrared",
          "Light-emitting_diode", "Matter", "Neptune", "Planck_constant", "Richard_Feynman", "Solar_energy",
          "Transistor", "Uranium", "Vacuum")  # fmt: skip


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    folder, source = Path(sys.argv[1]), os.environ.get("SWEEPER_DATA", "")
    path = files.find(Path(source), ["squad/train-v1.1.json"])
    if path is None:
        raise SystemExit(f"SWEEPER_DATA={source}: squad/train-v1.1.json is not in that folder")
    rows = files.read(path, "SWEEPER_DATA")
    rows = rows[rows["title"].isin(TITLES)]
    (folder / "texts").mkdir(parents=True, exist_ok=True)
    for title, article in rows.groupby("title"):
        text = "\n\n".join(article["context"].unique())
        (folder / "texts" / f"{title}.txt").write_text(text, encoding="utf-8")
    pairs = {"question": rows["question"], "answer": [answers[0]["text"] for answers in rows["answers"]],
             "context": rows["context"], "document": rows["title"] + ".txt"}  # fmt: skip
    pd.DataFrame(pairs).to_csv(folder / "questions.csv", index=False)


if __name__ == "__main__":
    main()
