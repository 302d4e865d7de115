"""`python -m tasks.documents`: documents as data to go on pretraining on, and questions about them to fine-tune on.

    python -m tasks.documents build input=books,papers out=$SWEEPER_DATA/documents writer=llama_2_7b_chat
    python -m tasks.documents build input=arxiv:1706.03762 arxiv=papers out=data/documents chunk_tokens=512
    python -m tasks.documents build input=books out=data/documents writer=llama_2_13b_chat writer.peft=qlora
    python -m tasks.documents import pairs=questions.csv out=data/documents

`build` reads PDFs and text files, cuts them into chunks by tokens, leaves out short ones and repeats, and holds whole
documents or sections (a PDF's page, some 8,000 characters of a text) out as the test split: no chunk of it, nor one
that overlaps it, is in the training split. With a writer, a chat model then asks and answers about every chunk.

input            files, folders (searched through), arXiv ids of PDFs already saved; commas between them
out              folder of the results, for one command at a time; finished ones are not overwritten, and a build with
                 a writer that stopped goes on where it was when it is given again
arxiv            folder of the saved PDFs; the current one unless given
model            conf/model whose tokenizer counts the tokens (the writer; mini without one). model.path: its folder
chunk_tokens     of a chunk, at most (254: a block of task.max_length=256, with its first and last token)
overlap_tokens   of a chunk with the one before it, at most (32)
min_chunk_tokens of a chunk, at least: a heading, a figure's number, a page's foot is set aside (20); 0 keeps all
near_duplicate   Jaccard similarity of character 5-grams from which a chunk, or question and answer, are a repeat (0.8)
test_share       of the chunks, held out (0.1)
split            document | section | auto (by document, unless one alone is larger than the share)
seed             of the split and of the writer (0)
writer           conf/model that writes the pairs; none unless given. writer.path: its folder
writer.peft      conf/peft whose quantisation loads the writer (none); qlora: in 4 bits
pairs_per_chunk  asked of the writer (3)
retries          of an answer that is not well-formed JSON, before the chunk is set aside (2)
max_new_tokens   of one answer of the writer (512)

`import` takes ready pairs, CSV with the columns question and answer (and maybe context, document, section), with `out`,
`near_duplicate`, `test_share`, `split` and `seed` as above. Where `out` holds a text/ already, questions about its
documents (or sections, where those are held out) are on the same side as the text; the others are split by themselves.
Where sections are held out, a question about one of the documents must name its section ("page 3", "part 12").

Results, as conf/task/domain_text.yaml and domain_qa.yaml read them: text/train.parquet and text/test.parquet (text,
document, section), pairs/train.parquet and pairs/test.parquet (question, context, answers, document, section), and in
each folder manifest.json (sources with their sha256, settings, counts) and set_aside.jsonl (what was left out and why).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeper import arguments, mini
from sweeper.__main__ import in_one_line, open_hydra
from sweeper.arguments import whole_number
from sweeper.checks import ConfigError, one_of
from sweeper.config import Architecture, ModelConfig, RunConfig, flatten
from sweeper.model_digest import with_digest
from sweeper.search import model_files
from sweeper.search.command import CONFIG_NAME
from sweeper.search.compose import Composer
from sweeper.tracking import places
from tasks.answer_pairs import Pair, Writer, prompt, read_pairs, write_pairs
from tasks.chunks import Chunk, Cutting
from tasks.document_set import DocumentSet, SetAside, Settings, Sources, parts_of, told
from tasks.document_split import AUTO
from tasks.document_text import find, read_all
from tasks.folder_lock import alone_in
from tasks.pair_journal import PairJournal, Portion, asked

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PROGRAM = "tasks.documents"
SPLITTING = {"near_duplicate": "0.8", "test_share": "0.1", "split": AUTO, "seed": "0"}  # with their defaults
CUTTING = {"chunk_tokens": "254", "overlap_tokens": "32", "min_chunk_tokens": "20"}
BUILD = {"arxiv": ".", "model": "mini", **CUTTING, **SPLITTING}
WRITING = {"writer.peft": "none", "pairs_per_chunk": "3", "retries": "2", "max_new_tokens": "512"}
WRITER = ("writer", "writer.path", *WRITING)  # what a text alone does not hang on
PORTION = 256  # chunks that the writer is given at a time, and that are lost when it stops


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
    keys, needs, make = {
        "build": (("model.path", "writer", "writer.path", *BUILD, *WRITING), ("input", "out"), build),
        "import": (SPLITTING, ("pairs", "out"), import_pairs),
    }[verb]
    given = arguments.parse(rest, (*needs, *keys), needs=needs, program=PROGRAM)
    out = Path(given["out"])
    for name in ("text", "pairs"):
        places.check_folder("out", out, out / name)
    with alone_in("out", out):
        make(given)
    return 0


def check_installed() -> None:
    """Raises ConfigError where a package of the extra `documents` is missing."""
    for package in ("pypdf", "semantic_text_splitter", "datasketch"):
        if find_spec(package) is None:
            raise ConfigError("tasks.documents", package, "is not installed", "pip install 'sweeper[documents]'")


def build(words: Mapping[str, str]) -> None:
    given = {**BUILD, **WRITING, **counted_by(words), **words}
    settings, out = Settings.of(given), Path(given["out"])
    if idle := [key for key in WRITER if key in words and "writer" not in words]:
        raise ConfigError(idle[0], words[idle[0]], "is about a writer", "give one: writer=llama_2_7b_chat, say")
    cutting = Cutting.of(given)
    writing = Writing.of(given) if "writer" in given else None
    tokenizer = tokenizer_of(composed(given, "model").model)
    text_words = {key: value for key, value in given.items() if key not in WRITER}
    text, pairs_set = DocumentSet(out / "text", settings, text_words), DocumentSet(out / "pairs", settings, given)
    (pairs_set if writing else text).check_free()
    sources = Sources(*find(given["input"].split(","), Path(given["arxiv"])))
    is_finished = text.is_finished(sources)
    documents, unread = read_all(sources.files)
    whole, short = cutting.cut(documents, tokenizer)
    found = text.content(whole, [*unread, *short])
    answers = Answers.begun(writing, found.rows, pairs_set.folder) if writing else None
    if not is_finished:
        text.write(found, sources)
    if answers:
        pairs, malformed = answers.all_pairs()
        if pairs:
            pairs_set.write(pairs_set.content(pairs, malformed, parts_of(text.folder)), sources)
        answers.journal.delete()
        if not pairs:
            rule = f"wrote no well-formed pair ({told(malformed)}: {pairs_set.write_aside(malformed)})"
            raise ConfigError("writer", given["writer"], rule, "choose another writer or raise max_new_tokens")


def import_pairs(words: Mapping[str, str]) -> None:
    given = {**SPLITTING, **words}
    path, out = Path(given["pairs"]), Path(given["out"])
    pairs_set = DocumentSet(out / "pairs", Settings.of(given), given)
    pairs_set.check_free()
    follows = parts_of(out / "text")
    pairs, aside = read_pairs(path)
    content = pairs_set.content(pairs, aside, follows)
    if missing := content.missing():
        rule = f"none of its {len(content.rows):,} pairs is for the {missing} split (set aside: {told(content.aside)})"
        raise ConfigError("pairs", path, rule, "add pairs about documents that the text has on that side (its "
                          "manifest.json names them), or about others, or give an out= that holds no text")  # fmt: skip
    pairs_set.write(content, Sources([path]))


@dataclass(frozen=True)
class Writing:
    """How a chat model is asked for pairs."""

    config: RunConfig
    words: Mapping[str, str]
    count: int  # pairs of one chunk
    retries: int
    max_new_tokens: int

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Writing:
        try:
            config = composed(given, "writer")
            if config.model.architecture is not Architecture.CAUSAL_LM:
                raise ConfigError("writer", given["writer"], "no model that writes", "choose a causal language model")
            model_files.check_at_hand(config.model)
        except ConfigError as error:  # by the word that was given: `model` counts the tokens
            key, fix = (text.replace("model.", "writer.") for text in (error.key, error.fix))
            raise ConfigError(key, error.value, error.rule, fix) from error
        words = {key: given[key] for key in (*WRITER, "seed") if key in given}
        return cls(config, words, whole_number(given, "pairs_per_chunk", 1), whole_number(given, "retries", 0),
                   whole_number(given, "max_new_tokens", 1))  # fmt: skip

    def identity(self) -> dict[str, Any]:
        """What decides the answers beside the prompts. Reads the files of the weights, which can take seconds."""
        plain = with_digest(self.config).to_dict()
        return {**self.words, **flatten({key: plain[key] for key in ("model", "peft")})}

    def writer(self, found: Sequence[Chunk]) -> Writer:
        """With the model loaded. Raises ConfigError where that cannot be, or where it cannot read every chunk."""
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it tells of kernels that it does without
        from transformers.utils.logging import disable_progress_bar

        from sweeper.training.writing import ChatWriter

        disable_progress_bar()
        writer = ChatWriter.load(self.config, max_new_tokens=self.max_new_tokens)
        writer.check([prompt(chunk, self.count) for chunk in found])
        return writer

    def ask(self, first: int, found: Sequence[Chunk], writer: Writer) -> Portion:
        """Every chunk's pairs, and the answers that stayed malformed. `first` is the number of the first chunk."""
        steps = list(write_pairs(found, writer, count=self.count, retries=self.retries))
        return Portion(first, len(found), [pair for new, _ in steps for pair in new],
                       [answer for _, lost in steps for answer in lost])  # fmt: skip


@dataclass
class Answers:
    """The writer's answers about all chunks of a text.

    Chunks are given to the writer in portions. Each answered portion is kept in the journal at once, so that the same
    command, given again after a stop, begins after the last of them.
    """

    writing: Writing
    chunks: Sequence[Chunk]
    journal: PairJournal
    done: list[Portion]  # in the order of the chunks
    writer: Writer | None  # None where the journal has the answers about every chunk

    @classmethod
    def begun(cls, writing: Writing, chunks: Sequence[Chunk], folder: Path) -> Answers:
        """With what an earlier command left in the folder, and the writer loaded for the rest.

        Raises:
            ConfigError: that was left by another writer or is about other chunks, or the writer cannot be loaded.
        """
        journal = PairJournal.of(folder / "pairs.jsonl.partial", writing.identity(), chunks, writing.count)
        done = journal.portions()
        left = chunks[asked(done) :]
        return cls(writing, chunks, journal, done, writing.writer(left) if left else None)

    def all_pairs(self) -> tuple[list[Pair], list[SetAside]]:
        """Of every chunk, once the writer has answered about the rest; and the answers that stayed malformed."""
        if self.done:
            print(f"goes on: {self._progress()}")
        while self.writer and (first := asked(self.done)) < len(self.chunks):
            self.done.append(self.writing.ask(first, self.chunks[first : first + PORTION], self.writer))
            self.journal.add(self.done[-1])
            print(self._progress(), flush=True)
        return ([pair for portion in self.done for pair in portion.pairs],
                [lost for portion in self.done for lost in portion.aside])  # fmt: skip

    def _progress(self) -> str:
        pairs, lost = (sum(len(getattr(own, kind)) for own in self.done) for kind in ("pairs", "aside"))
        number = f"{asked(self.done):,} of {len(self.chunks):,}"
        return f"{number} chunks asked: {pairs:,} pairs, {lost:,} answers set aside"


def counted_by(words: Mapping[str, str]) -> dict[str, str]:
    """The writer's own tokenizer counts where none is named."""
    ends = () if "model" in words else ("", ".path")
    return {f"model{end}": words[f"writer{end}"] for end in ends if f"writer{end}" in words}


def composed(given: Mapping[str, str], role: str) -> RunConfig:
    """With the conf/model that the role names. Raises ConfigError, or what Hydra raises."""
    loader = open_hydra(None).config_loader
    model, peft = given[role], given.get(f"{role}.peft", "none")
    one_of(role, model, loader.get_group_options("model"))
    one_of(f"{role}.peft", peft, loader.get_group_options("peft"))
    found = Composer(loader, CONFIG_NAME, [f"model={model}", f"peft={peft}"]).composition({})
    if found.value("model.architecture") == Architecture.CLASSICAL.value:
        raise ConfigError(role, model, "has no tokenizer", "choose a language model")
    path = given.get(f"{role}.path", found.value("model.path"))
    return found.config({"seed": int(given["seed"]), "model.path": path})


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


if __name__ == "__main__":
    sys.exit(main())
