"""What word counts alone reach: TF-IDF with logistic regression on the very rows that a sweep trains and reports on.

    python -m benchmarks.tfidf_baseline [task=sst2] [--sizes 100 1000 10000 full] [--split test]

Takes overrides of the command line. Unigrams, scikit-learn's tokens, C = 10. Prints accuracy in % by train size.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sweeper.config import FULL, RunConfig
from sweeper.search.compose import Composer, register_schema
from tasks import sources
from tasks.splits import LABEL, Splits, nested_subset
from tasks.task import load_task

CONF = Path(__file__).resolve().parents[1] / "conf"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("overrides", nargs="*", default=["task=sst2"])
    arguments.add_argument("--sizes", nargs="+", default=["100", "1000", "10000", FULL])
    arguments.add_argument("--split", choices=("test", "selection"), default="test")
    options = arguments.parse_args()
    config = composed(options.overrides)
    source = sources.resolve(config.task, config.data_dir, embedded_model=config.model.is_embedded)
    splits = sources.load(source, config.task)
    print(f"{source.description}, accuracy % on {options.split} rows")
    for size in options.sizes:
        print(f"{size:>6}  {accuracy(config, splits, size, options.split):.1f}", flush=True)


def composed(overrides: list[str]) -> RunConfig:
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return Composer(GlobalHydra.instance().config_loader(), "config", overrides).composition({}).config({})


def accuracy(config: RunConfig, splits: Splits, size: str, split: str) -> float:
    task = load_task(config.task)
    train, scored = nested_subset(splits.train, size, config.task.subset_seed), getattr(splits, split)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10, max_iter=1000))
    model.fit(task.texts(train), train[LABEL])
    return 100 * float(model.score(task.texts(scored), scored[LABEL]))


if __name__ == "__main__":
    main()
