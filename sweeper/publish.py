"""`python -m sweeper.publish`: a finished run's weights and a model card, to the Hugging Face hub.

    python -m sweeper.publish run=last repo=me/sst2-lora dry_run=true     the card and the files; uploads nothing
    python -m sweeper.publish run=sst2-mini-lora-1000 repo=me/sst2-lora license=apache-2.0 private=true

run          a complete run: its folder's name, MLflow's id, the beginning of either, or last
repo         <user or organisation>/<name> on the hub; made where it is not there yet
license      the hub's short name of a licence, such as apache-2.0; the card says that none is stated unless given
private      true | false: of a repository that is made now; false unless given
dry_run      true | false; false unless given
output_dir   where the runs are; mlruns unless given

What is published is what the run trained: a PEFT adapter, the model of full fine-tuning, or the changed layers, and
never a place on this machine. Log in with `hf auth login`, or set HF_TOKEN.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sweeper import arguments, hub_upload
from sweeper.__main__ import in_one_line
from sweeper.checks import ConfigError
from sweeper.config import RunConfig, run_config
from sweeper.tracking.link_tree import link_tree
from sweeper.tracking.lookup import find_run
from sweeper.tracking.model_card import LOADING, Publication, base_name, model_card
from sweeper.tracking.run_folder import RunFolder

KEYS = ("run", "repo", "license", "private", "dry_run", "output_dir")
PLACES = ("base_model_name_or_path", "base_model", "tokenizer_name_or_path", "_name_or_path")  # keys of JSON files
CARD = "README.md"


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code, as of `python -m sweeper`."""
    return in_one_line(list(sys.argv[1:] if argv is None else argv), publish)


def publish(words: list[str]) -> int:
    if arguments.asks_for_help(words):
        print((__doc__ or "").partition("\n\n")[2])
        return 0
    given = arguments.parse(words, KEYS, needs=("run", "repo"), program="sweeper.publish")
    repo, is_dry, private = given["repo"], arguments.switch(given, "dry_run"), arguments.switch(given, "private")
    hub_upload.check_name("repo", repo)
    if not is_dry:
        hub_upload.check_online("repo", repo, "dry_run=true shows what would be uploaded")
    folder = find_run(Path(given.get("output_dir", RunConfig().output_dir)), given["run"])
    config = folder.settled_config()
    publication = Publication(repo, _weights(folder), config.head, given.get("license"))
    with tempfile.TemporaryDirectory(dir=folder.path, prefix=".publish-") as scratch:
        staged = Path(scratch) / "repository"
        stage(folder, publication, staged)
        if is_dry:
            _show(staged, repo)
        else:
            print(_upload(staged, repo, f"Run {folder.run_id}", private=private))
    return 0


def stage(folder: RunFolder, publication: Publication, staged: Path) -> None:
    """The files of the repository, weights as hard links."""
    link_tree(folder.artifacts / publication.weights, staged)
    base = base_name(run_config(folder.identity.config))
    for path in staged.rglob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        named = {key: base for key in PLACES if isinstance(content, dict) and content.get(key)}
        if named:
            path.unlink()  # the run's own, by its other name, stays as it is
            path.write_text(json.dumps(content | named, indent=2), encoding="utf-8")
    (staged / CARD).write_text(model_card(folder, publication), encoding="utf-8")


def _weights(folder: RunFolder) -> str:
    found = [name for name in LOADING if (folder.artifacts / name).is_dir()]
    if not found:
        raise ConfigError("run", folder.run_id, "trained no weights that the hub takes", "publish one that did")
    return found[0]


def _show(staged: Path, repo: str) -> None:
    print((staged / CARD).read_text(encoding="utf-8"))
    for path in sorted(path for path in staged.rglob("*") if path.is_file()):
        print(f"{path.stat().st_size:>12,} bytes  {path.relative_to(staged).as_posix()}")
    offline = ", and HF_HUB_OFFLINE is set" if hub_upload.is_offline() else ""
    print(f"dry run{offline}: nothing was uploaded to {repo}")


def _upload(staged: Path, repo: str, message: str, *, private: bool) -> str:
    """The address of what is there now."""
    import huggingface_hub

    hub = huggingface_hub.HfApi()
    with hub_upload.refusals("repo", repo):
        hub.create_repo(repo, private=private, exist_ok=True)
        done = hub.upload_folder(repo_id=repo, folder_path=staged, commit_message=message)
    return str(done.commit_url)


if __name__ == "__main__":
    sys.exit(main())
