"""`python -m tasks.documents`: documents as data to go on pretraining on, and questions about them to fine-tune on.

    python -m tasks.documents build input=books,papers out=$SWEEPER_DATA/documents model=llama_2_7b_chat
    python -m tasks.documents build input=arxiv:1706.03762 arxiv=papers out=data/documents chunk_tokens=512
    python -m tasks.documents build input=books out=data/documents writer=llama_2_13b_chat writer.peft=qlora
    python -m tasks.documents import pairs=questions.csv out=data/documents

`build` reads PDFs and text files, cuts them into chunks by tokens, leaves out chunks that repeat another, and holds
whole documents or sections (a PDF's page, some 8,000 characters of a text) out as the test split: no chunk of it, nor
one that overlaps it, is in the training split. With a writer, a chat model then asks and answers about every chunk.

input            files, folders (searched through), arXiv ids of PDFs already saved; commas between them
out              folder of the results; those that are there already are not overwritten
arxiv            folder of the saved PDFs; the current one unless given
model            conf/model whose tokenizer counts the tokens (mini); model.path: its folder
chunk_tokens     of a chunk, at most (254: a block of task.max_length=256, with its first and last token)
overlap_tokens   of a chunk with the one before it, at most (32)
near_duplicate   Jaccard similarity of character 5-grams from which a chunk, or a question, repeats another (0.8)
test_share       of the chunks, held out (0.1)
split            document | section | auto (by document, unless one alone is larger than the share)
seed             of the split and of the writer (0)
writer           conf/model that writes the pairs; none unless given. writer.path: its folder
writer.peft      conf/peft whose quantisation loads the writer (none); qlora: in 4 bits
pairs_per_chunk  asked of the writer (3)
retries          of an answer that is not well-formed JSON, before the chunk is set aside (2)
max_new_tokens   of one answer of the writer (512)

`import` takes ready pairs, CSV with the columns question and answer (and maybe context, document, section), with `out`,
`near_duplicate`, `test_share`, `split` and `seed` as above.

Results, as conf/task/domain_text.yaml and domain_qa.yaml read them: text/train.parquet and text/test.parquet (text,
document, section), pairs/train.parquet and pairs/test.parquet (question, context, answers, document, section), and in
each folder manifest.json (sources with their sha256, settings, counts) and set_aside.jsonl (what was left out and why).
"""

from __future__ import annotations

import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper import arguments, mini
from sweeper.__main__ import in_one_line, open_hydra
from sweeper.checks import ConfigError, at_least, one_of
from sweeper.config import Architecture, ModelConfig, RunConfig
from sweeper.search import model_files
from sweeper.search.command import CONFIG_NAME
from sweeper.search.compose import Composer
from tasks.answer_pairs import Pair, Writer, prompt, read_pairs, write_pairs
from tasks.chunks import Chunk, chunks
from tasks.document_set import DocumentSet, SetAside, Settings, Sources
from tasks.document_split import AUTO, DOCUMENT, SECTION
from tasks.document_text import Document, Unreadable, find, read

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PROGRAM = "tasks.documents"
SPLITTING = {"near_duplicate": "0.8", "test_share": "0.1", "split": AUTO, "seed": "0"}  # with their defaults
BUILD = {"arxiv": ".", "model": "mini", "chunk_tokens": "254", "overlap_tokens": "32", **SPLITTING}
WRITING = {"writer.peft": "none", "pairs_per_chunk": "3", "retries": "2", "max_new_tokens": "512"}
PORTION = 256  # chunks that the writer is given at a time


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code, as of `python -m sweeper`."""
    return in_one_line(list(sys.argv[1:] if argv is None else argv), command)


def command(words: list[str]) -> int:
    if not words or arguments.asks_for_help(words):
        print((__doc__ or "").partition("\n\n")[2])
        return 0
    verb, *rest = words
    one_of("command line", verb, ("build", "import"))
    check_installed()
    if verb == "build":
        keys = ("input", "out", "model.path", "writer", "writer.path", *BUILD, *WRITING)
        build(BUILD | WRITING | arguments.parse(rest, keys, needs=("input", "out"), program=PROGRAM))
    else:
        keys = ("pairs", "out", *SPLITTING)
        import_pairs(SPLITTING | arguments.parse(rest, keys, needs=("pairs", "out"), program=PROGRAM))
    return 0


def check_installed() -> None:
    """Raises ConfigError where a package of the extra `documents` is missing."""
    for package in ("pypdf", "semantic_text_splitter", "datasketch"):
        if find_spec(package) is None:
            raise ConfigError("tasks.documents", package, "is not installed", "pip install 'sweeper[documents]'")


def build(given: Mapping[str, str]) -> None:
    settings, out = settings_of(given), Path(given["out"])
    tokens, overlap = whole(given, "chunk_tokens", 8), whole(given, "overlap_tokens", 0)
    if 2 * overlap > tokens:
        raise ConfigError("overlap_tokens", overlap, f"more than half of a chunk (chunk_tokens={tokens})")
    tokenizer = tokenizer_of(composed(given, "model").model)
    writing = Writing.of(given) if "writer" in given else None
    text_words = {key: value for key, value in given.items() if key not in WRITING}
    text, asked = DocumentSet(out / "text", settings, text_words), DocumentSet(out / "pairs", settings, given)
    for wanted in (text, asked) if writing else (text,):
        wanted.check_free()
    sources = Sources(*find(given["input"].split(","), Path(given["arxiv"])))
    documents, unread = read_all(sources.files)
    found = list(chunks(documents, tokenizer, tokens=tokens, overlap=overlap))
    writer = writing.writer(found) if writing else None
    written = text.write(found, lambda chunk: chunk.text, unread, sources)
    if writing and writer:
        pairs, malformed = writing.ask(written.kept, writer)
        asked.write(pairs, lambda pair: pair.question, malformed, sources, written.held)


def import_pairs(given: Mapping[str, str]) -> None:
    path = Path(given["pairs"])
    found = DocumentSet(Path(given["out"]) / "pairs", settings_of(given), given)
    found.check_free()
    pairs, aside = read_pairs(path)
    found.write(pairs, lambda pair: pair.question, aside, Sources([path]))


def settings_of(given: Mapping[str, str]) -> Settings:
    one_of("split", given["split"], (AUTO, DOCUMENT, SECTION))
    near_duplicate, test_share = (share(given, key) for key in ("near_duplicate", "test_share"))
    return Settings(near_duplicate, test_share, given["split"], whole(given, "seed", 0))


def read_all(paths: Sequence[Path]) -> tuple[list[Document], list[SetAside]]:
    names = [path.name for path in paths]
    documents, unread = [], []
    for path in paths:
        name = path.name if names.count(path.name) == 1 else path.as_posix()
        try:
            documents.append(read(path, name))
        except Unreadable as error:
            print(f"set aside: {path} {error}")
            unread.append(SetAside("unreadable", name, "", "", str(error)))
    if not documents:
        raise ConfigError("input", ", ".join(names), "none of these files has a text that can be read")
    return documents, unread


@dataclass(frozen=True)
class Writing:
    """How a chat model is asked for pairs."""

    config: RunConfig
    count: int  # pairs of one chunk
    retries: int
    max_new_tokens: int

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Writing:
        config = composed(given, "writer")
        if config.model.architecture is not Architecture.CAUSAL_LM:
            raise ConfigError("writer", given["writer"], "no model that writes", "choose a causal language model")
        model_files.check_at_hand(config.model)
        return cls(config, whole(given, "pairs_per_chunk", 1), whole(given, "retries", 0),
                   whole(given, "max_new_tokens", 1))  # fmt: skip

    def writer(self, found: Sequence[Chunk]) -> Writer:
        """With the model loaded. Raises ConfigError where that cannot be, or where it cannot read every chunk."""
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of kernels that it does without
        from transformers.utils.logging import disable_progress_bar

        from sweeper.training.writing import ChatWriter

        disable_progress_bar()
        writer = ChatWriter.load(self.config, max_new_tokens=self.max_new_tokens)
        writer.check([prompt(chunk, self.count) for chunk in found])
        return writer

    def ask(self, found: Sequence[Chunk], writer: Writer) -> tuple[list[Pair], list[SetAside]]:
        """Every chunk's pairs, and the answers that stayed malformed."""
        pairs: list[Pair] = []
        malformed: list[SetAside] = []
        for start in range(0, len(found), PORTION):
            portion = found[start : start + PORTION]
            for new, lost in write_pairs(portion, writer, count=self.count, retries=self.retries):
                pairs += new
                malformed += lost
            print(f"{start + len(portion):,} of {len(found):,} chunks asked: {len(pairs):,} pairs, "
                  f"{len(malformed):,} answers set aside", flush=True)  # fmt: skip
        return pairs, malformed


def composed(given: Mapping[str, str], role: str) -> RunConfig:
    """With the conf/model that the role names. Raises ConfigError, or what Hydra raises."""
    lines = [f"model={given[role]}", f"peft={given.get(f'{role}.peft', 'none')}", f"seed={given['seed']}"]
    if path := given.get(f"{role}.path"):
        lines.append(f"model.path={path}")
    return Composer(open_hydra(None).config_loader, CONFIG_NAME, lines).composition({}).config({})


def tokenizer_of(model: ModelConfig) -> Tokenizer:
    """Raises ConfigError where the model has no fast tokenizer's file."""
    from tokenizers import Tokenizer

    model_files.check_at_hand(model)
    folder = Path(mini.__file__).parent if model.is_embedded else model.folder
    try:
        if folder is not None:
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            tokenizer = Tokenizer.from_pretrained(str(model.hub_id), model.revision or "main",
                                                  os.environ.get("HF_TOKEN"))  # fmt: skip
    except Exception as error:  # the library raises nothing more exact
        raise ConfigError("model", folder or model.hub_id, f"no tokenizer.json that can be read: {error}",
                          "name another model, or its folder: model.path=<folder>") from error  # fmt: skip
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def whole(given: Mapping[str, str], key: str, minimum: int) -> int:
    value = number(given, key)
    if not value.is_integer():
        raise ConfigError(key, given[key], "must be a whole number")
    at_least(key, value, minimum)
    return int(value)


def share(given: Mapping[str, str], key: str) -> float:
    value = number(given, key)
    if not 0 < value < 1:
        raise ConfigError(key, given[key], "must lie between 0 and 1")
    return value


def number(given: Mapping[str, str], key: str) -> float:
    """Raises ConfigError for a text that is none, or no finite one."""
    try:
        value = float(given[key])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(key, given[key], "must be a number")
    return value


if __name__ == "__main__":
    sys.exit(main())
