"""What a run says about itself on the Hugging Face hub: the model card, from the run's folder alone.

Nothing in it names a place on this machine. The licence is the publisher's to give.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweeper.config import RunConfig, Source, flatten
from sweeper.metrics import all_metrics
from sweeper.peft_method import Quantization
from sweeper.tracking.redaction import Redactor
from sweeper.tracking.run_folder import RunFolder, RunIdentity

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

TEST = "test/"  # the reporting split
DEMO_NOTICE = "**DEMO DATA**, not the data set that the task is named after. These numbers say nothing about it.\n\n"
NO_LICENCE = (
    "Not stated by the publisher. The licences of the base model and of the data apply to what is made of them."
)

LOADING = {
    "adapter": """from peft import PeftModel
from transformers import {auto}, AutoTokenizer{imports}

tokenizer = AutoTokenizer.from_pretrained("{base}"{revision})
{quantization}base = {auto}.from_pretrained("{base}"{revision}{head}{quantized})
model = PeftModel.from_pretrained(base, "{repo}")""",
    "model": """from transformers import {auto}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{repo}")
model = {auto}.from_pretrained("{repo}")""",
    "changed_weights": """from huggingface_hub import hf_hub_download
from safetensors.torch import load_file
from transformers import {auto}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{base}"{revision})
model = {auto}.from_pretrained("{base}"{revision}{head})
model.load_state_dict(load_file(hf_hub_download("{repo}", "model.safetensors")), strict=False)""",
}
NF4 = """nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant={double},
                         bnb_4bit_compute_dtype="{dtype}")
"""
LIBRARY = {"adapter": "peft", "model": "transformers", "changed_weights": "transformers"}
AUTO = {"labels": "AutoModelForSequenceClassification", "span": "AutoModelForQuestionAnswering"}
PIPELINE = {"labels": "text-classification", "span": "question-answering"}


@dataclass(frozen=True)
class Publication:
    repo: str
    weights: str  # of LOADING: the folder of the run that is published
    head: str | None  # labels | span; None for a model that writes
    licence: str | None = None


def base_name(config: RunConfig) -> str:
    """What others know the base model by: its name on the hub, else what tables call it."""
    return config.model.hub_id or config.model.name


def model_card(folder: RunFolder, publication: Publication) -> str:
    """YAML header and text. Imports huggingface_hub."""
    identity = folder.identity
    config, scores = folder.settled_config(), folder.summary()
    header = _header(identity, config, scores, publication).to_yaml()
    sections = {
        "Results": _results(config, identity, scores),
        "Use": _use(config, publication),
        "Prompt": _prompt(config),
        "Training": _training(config, identity),
        "Licence": publication.licence or NO_LICENCE,
    }
    text = "\n\n".join(f"## {name}\n\n{content}" for name, content in sections.items() if content)
    title = f"# {publication.repo.rpartition('/')[2]}\n\n{_summary(config, identity)}"
    return Redactor.from_environment().text(f"---\n{header}\n---\n\n{title}\n\n{text}\n")


def _header(
    identity: RunIdentity, config: RunConfig, scores: Mapping[str, float], publication: Publication
) -> ModelCardData:
    from huggingface_hub import EvalResult, ModelCardData

    task, is_hub = config.task, config.task.data.source is Source.HUB
    pipeline = PIPELINE[publication.head] if publication.head else "text-generation"
    results = [
        EvalResult(task_type=pipeline, dataset_type=str(task.data.hub_id if is_hub else task.name),
                   dataset_name=task.name, dataset_split="test", dataset_revision=task.data.revision,
                   metric_type=name, metric_value=value)
        for name, value in reported(scores).items()
    ]  # fmt: skip
    return ModelCardData(
        base_model=config.model.hub_id,
        datasets=[str(task.data.hub_id)] if is_hub else None,
        eval_results=results,
        library_name=LIBRARY[publication.weights],
        license=publication.licence,
        model_name=publication.repo.rpartition("/")[2],
        pipeline_tag=pipeline,
        tags=["sweeper", str(config.peft.get("name", "none")), task.name],
    )


def reported(scores: Mapping[str, float]) -> dict[str, float]:
    """Of the reporting split, without its name."""
    return {name.removeprefix(TEST): value for name, value in scores.items() if name.startswith(TEST)}


def _summary(config: RunConfig, identity: RunIdentity) -> str:
    demo = DEMO_NOTICE if config.task.data.source is Source.DEMO else ""
    return (f"{demo}`{base_name(config)}` fine-tuned on {config.task.name} ({identity.data['source']}) "
            f"with {config.peft.get('name', 'none')}, by run `{identity.run_id}`.")  # fmt: skip


def _results(config: RunConfig, identity: RunIdentity, scores: Mapping[str, float]) -> str:
    known = all_metrics()
    rows = [f"| {name} | {value:.6g} | {known[TEST + name].unit} |" for name, value in reported(scores).items()]
    count = f"Reporting split, {scores.get('data/test_examples', 0):.0f} rows, measured once."
    return "\n".join([f"{count} Data: `sha256:{identity.data['digest']}`.", "", "| metric | value | unit |",
                      "| --- | --- | --- |", *rows])  # fmt: skip


def _use(config: RunConfig, publication: Publication) -> str:
    revision, labels = config.model.revision, config.task.labels
    code = LOADING[publication.weights].format(
        auto=AUTO[publication.head] if publication.head else "AutoModelForCausalLM",
        base=base_name(config),
        repo=publication.repo,
        revision=f', revision="{revision}"' if revision and config.model.hub_id else "",
        **_quantization(config),
        head=f", num_labels={len(labels)}" if publication.head == "labels" else "",
    )
    known = "" if config.model.hub_id else f"`{base_name(config)}` is not on the hub: name its folder instead.\n\n"
    classes = f"\n\nClasses, by number: {', '.join(labels)}." if publication.head == "labels" else ""
    return f"{known if publication.weights != 'model' else ''}```python\n{code}\n```{classes}"


def _quantization(config: RunConfig) -> dict[str, str]:
    """Of the base model that an adapter was trained on: the code's lines."""
    own = Quantization(**(config.peft.get("quantization") or {}))
    if own.type != "nf4":
        return dict.fromkeys(("imports", "quantization", "quantized"), "")
    dtype = "bfloat16" if config.model.dtype == "auto" else config.model.dtype
    return {"imports": ", BitsAndBytesConfig", "quantized": ", quantization_config=nf4",
            "quantization": NF4.format(double=own.double, dtype=dtype)}  # fmt: skip


def _prompt(config: RunConfig) -> str:
    prompt = {key: value for key, value in vars(config.task.prompt).items() if value}
    return (
        "As templates over the columns of the data set, through the tokenizer's chat template where it has one.\n\n"
        + (f"```json\n{json.dumps(prompt, indent=1, ensure_ascii=False)}\n```")
    )


def _training(config: RunConfig, identity: RunIdentity) -> str:
    plain: dict[str, Any] = config.to_dict()
    size = {key: plain["task"][key] for key in ("train_size", "selection_size", "max_length", "loss_on", "subset_seed")}
    settings = flatten({"peft": plain["peft"], "train": plain["train"], "task": size, "seed": config.seed,
                        "model": {"dtype": config.model.dtype, "revision": config.model.revision}})  # fmt: skip
    settings.pop("peft.start_from", None)  # may be a folder here; peft.start_digest tells which adapter it was
    rows = [f"| {key} | `{json.dumps(value)}` |" for key, value in settings.items()]
    versions = ", ".join(f"{name} {version}" for name, version in identity.code.get("versions", {}).items())
    made_by = f"Code version {identity.code.get('version', 'unknown')}" + (f"; {versions}" if versions else "") + "."
    return "\n".join(["| setting | value |", "| --- | --- |", *rows, "", made_by])
