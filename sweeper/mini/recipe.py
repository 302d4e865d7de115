"""Makes the embedded base model: text -> tokenizer -> documents -> token windows -> pretrained weights.

    python -m sweeper.mini.recipe --data <folder> --out <folder>

The files land in `--out` in the usual Hugging Face layout, so that `AutoModelForCausalLM.from_pretrained` and
`AutoTokenizer.from_pretrained` load them with no code of this project. The same command on the same machine gives
the same weights: every random choice comes from `--seed`, and the schedule counts tokens, never time.
"""

from __future__ import annotations

import argparse
import math
import random
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sweeper.mini.corpus import Corpus, build_corpus, read_folder, read_hub
from sweeper.mini.opinions import opinions
from sweeper.mini.pretraining import Report, Schedule, make_loss, mean_loss, pretrain, token_windows
from sweeper.mini.tokenizer import save_tokenizer, train_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

    from sweeper.mini.pretraining import Document, Loss

VOCAB_SIZE = 6144
TOKENIZER_DOCUMENTS = 12_000  # of 55,343; more would not change the frequent words
OPINION_DRAWS = 2  # pieces and frames of every sentence, so that about half of the tokens are opinion documents
OPINION_WEIGHT = 6  # of the words asked for, which are a twentieth of the tokens


def new_model(tokenizer: PreTrainedTokenizerFast, *, seed: int) -> LlamaForCausalLM:
    """A Llama of 4.5 million parameters; each residual branch starts at zero, so training starts smoothly."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation("eager")  # in bfloat16 on a CPU, a quarter faster than SDPA
    for name, parameter in model.named_parameters():
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            torch.nn.init.zeros_(parameter)
    return model.bfloat16()


def training_documents(corpus: Corpus, *, seed: int) -> list[Document]:
    """The plain documents once each, and as many draws of opinion documents as the schedule reads, shuffled."""
    rng = random.Random(seed)
    documents = [(text, "") for text in corpus.train]
    for _ in range(OPINION_DRAWS):
        documents += [(asked.prompt, asked.words) for review in corpus.reviews for asked in opinions(review, rng)]
    rng.shuffle(documents)
    return documents


def held_out_figures(
    corpus: Corpus, tokenizer: PreTrainedTokenizerFast, loss: Loss, schedule: Schedule
) -> dict[str, dict[str, float]]:
    """Per source: perplexity per token and bits per character of documents that training never saw.

    Of opinion documents only the words asked for count.
    """
    figures = {}
    for source, texts in corpus.held_out.items():
        windows = token_windows([(text, "") for text in texts], tokenizer, schedule.window_tokens)
        nats = mean_loss(loss, windows, schedule.windows_per_pass)
        characters_per_token = sum(map(len, texts)) / (windows.shape[0] * schedule.window_tokens)
        figures[source] = {
            "perplexity": round(math.exp(nats), 2),
            "bits_per_character": round(nats / math.log(2) / characters_per_token, 4),
        }
    rng = random.Random(schedule.seed)
    asked = [(one.prompt, one.words) for review in corpus.held_out["reviews"] for one in opinions(review, rng)]
    windows = token_windows(asked, tokenizer, schedule.window_tokens, text_weight=0)
    figures["opinion words"] = {"perplexity": round(math.exp(mean_loss(loss, windows, schedule.windows_per_pass)), 2)}
    return figures


def run(arguments: argparse.Namespace) -> None:
    import torch

    torch.set_num_threads(arguments.threads)
    schedule = Schedule(tokens=arguments.tokens, seed=arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    report = Report(arguments.out)

    corpus = build_corpus(read_folder(arguments.data) if arguments.data else read_hub(), seed=schedule.seed)
    tokenizer = train_tokenizer(corpus.train[:TOKENIZER_DOCUMENTS], vocab_size=VOCAB_SIZE)
    save_tokenizer(tokenizer, arguments.out)
    documents = training_documents(corpus, seed=schedule.seed)
    windows = token_windows(documents, tokenizer, schedule.window_tokens, answer_weight=OPINION_WEIGHT)
    plain = [(text, "") for text in corpus.held_out["reviews"]]
    validation = token_windows(plain, tokenizer, schedule.window_tokens)[:64]

    model = new_model(tokenizer, seed=schedule.seed)
    report.write(
        documents=len(documents),
        windows=len(windows),
        parameters=model.num_parameters(),
        steps=schedule.steps,
        **asdict(schedule),
    )
    loss = make_loss(model, compiled=arguments.compile)
    pretrain(model, loss, windows=windows, validation=validation, schedule=schedule, report=report)
    model.save_pretrained(arguments.out)
    report.write(held_out=held_out_figures(corpus, tokenizer, loss, schedule))


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="python -m sweeper.mini.recipe", description="Pretrain the embedded base model from plain text."
    )
    option = result.add_argument
    option(
        "--data",
        type=Path,
        help="folder with imdb/unsup.parquet, squad/train-v1.1.json.gz and, if wanted, science_text/*.txt; "
        "without it the reviews and the paragraphs come from the Hugging Face hub",
    )
    option("--out", type=Path, required=True, help="folder for the model, the tokenizer and the loss curve")
    option("--tokens", type=int, default=45_000_000, help="length of the training (default: %(default)s)")
    option("--seed", type=int, default=0, help="of the split, the first weights and the order (default: %(default)s)")
    option("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    option("--compile", action="store_true", help="use torch.compile: a tenth faster, needs a C++ compiler")
    return result


if __name__ == "__main__":
    run(parser().parse_args())
