"""The frozen pretrained weights that the runs of a group share: where they come from, in which numbers.

Loads safetensors only, never code from a model's folder. Owns quantisation and the two things that the
loop asks of a causal model: hidden states of packed rows, and logits at the positions that are read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import bitsandbytes as bnb
import psutil
import torch
from accelerate import Accelerator
from accelerate.utils import AutocastKwargs
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.hub import resolve_revision

from sweeper.checks import ConfigError
from sweeper.config import RunConfig
from sweeper.peft_method import PeftMethod, Quantization
from sweeper.training import cost
from sweeper.training.encodings import Encodings

EMBEDDED = Path(__file__).parent.parent / "mini"


@dataclass(frozen=True)
class Head:
    """What stands in place of the words."""

    kind: str  # of HEADS
    size: int  # outputs


# kind -> Transformers' class, PEFT's task type
HEADS: dict[str, tuple[Any, str]] = {
    "labels": (AutoModelForSequenceClassification, "SEQ_CLS"),
    "span": (AutoModelForQuestionAnswering, "QUESTION_ANS"),
}


def head_of(config: RunConfig) -> Head | None:
    """Raises ConfigError for a task that no head can do."""
    sizes = {"labels": len(config.task.labels), "span": 2}
    return None if config.head is None else Head(config.head, sizes[config.head])


@dataclass(frozen=True)
class BaseKey:
    """What two runs must agree on to share the weights in memory."""

    location: str
    revision: str | None
    dtype: str
    quantization: tuple[str, bool, str]
    head: Head | None  # in place of words; None for a model that writes
    mutable: bool  # the method trains these very weights, so nobody else may have them
    attention: str | None = None  # Transformers' attn_implementation
    digest: str | None = None  # of a local folder, whose files may become others

    @classmethod
    def of(cls, config: RunConfig, method: PeftMethod) -> BaseKey:
        model, quantization = config.model, method.quantization
        return cls(
            location=str(EMBEDDED if model.is_embedded else model.folder or model.hub_id),
            revision=model.revision,
            dtype=model.dtype,
            quantization=(quantization.type, quantization.double, quantization.keep_dequantized),
            head=head_of(config),
            mutable=method.method in ("full", "last_layer"),
            attention=model.attn_implementation,
            digest=model.digest,
        )


@dataclass
class BaseModel:
    key: BaseKey
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    accelerator: Accelerator
    fresh_weights: tuple[str, ...]  # not in the checkpoint: a new classification head
    num_parameters: int  # before any method adds its own
    num_matrix_weights: int
    layer_weights: tuple[int, ...]  # of these, each layer's, the lowest first
    commit: str | None = None  # of the hub; None of a folder
    encodings: Encodings = field(default_factory=Encodings)  # by this tokenizer

    @property
    def device(self) -> torch.device:
        device: torch.device = self.accelerator.device
        return device

    def autocast(self) -> AbstractContextManager[None]:
        """Trained weights stay in float32 and compute in bfloat16; frozen ones are stored as they compute."""
        wanted = self.key.mutable and self.key.dtype == "auto"
        context: AbstractContextManager[None] = self.accelerator.autocast(AutocastKwargs(enabled=wanted))
        return context

    @property
    def is_trained(self) -> bool:
        """Whether the method trains these very weights, not others beside them."""
        return self.key.mutable

    def num_reached_weights(self, trained: Iterable[nn.Parameter]) -> int:
        """Of the matrices, where a backward passes for these weights: the lowest layer that has one, and all above."""
        ids = {id(weight) for weight in trained}
        layers = decoder_layers(self.model)
        holding = [number for number, layer in enumerate(layers) if _has(layer, ids)]
        if not holding or _has(self.model.get_input_embeddings(), ids):
            return self.num_matrix_weights
        return self.num_matrix_weights - sum(self.layer_weights[: holding[0]])

    @property
    def pad(self) -> int:
        return int(self.tokenizer.pad_token_id)


def load_base_model(key: BaseKey) -> BaseModel:
    """Raises ConfigError where the weights can't be had or can't be read as asked."""
    # Accelerate keeps one precision for the whole process; `BaseModel.autocast` says who computes under it.
    accelerator = Accelerator(mixed_precision="bf16" if _bf16_pays() else "no")
    commit = _commit(key)
    place = dataclasses.replace(key, revision=commit or key.revision)  # tokenizer and weights of one commit
    tokenizer = load_tokenizer(place)
    model, fresh = _load_weights(place, accelerator.device, pad=int(tokenizer.pad_token_id))
    if lacking := _lacking(model, fresh, has_head=key.head is not None):
        raise ConfigError("model", key.location, f"its files lack {len(lacking)} weights of {type(model).__name__}, "
                          f"the first {lacking[0]}")  # fmt: skip
    model.requires_grad_(False)
    model.eval()
    _prepare_quantized(model, Quantization(*key.quantization))
    if key.head is None:
        _check_head(model)
    layer_weights = tuple(cost.matrix_weights(layer) for layer in decoder_layers(model))
    sizes = cost.total_parameters(model), cost.matrix_weights(model), layer_weights
    return BaseModel(key, model, tokenizer, accelerator, fresh, *sizes, commit)


def _commit(key: BaseKey) -> str | None:
    """What `key.revision` is on the hub now, or was when it was last reached."""
    commit: str | None = getattr(resolve_revision(key.location, key.revision), "resolved", None)
    return commit


def _lacking(model: PreTrainedModel, fresh: Sequence[str], *, has_head: bool) -> list[str]:
    """Weights that a checkpoint must bring: all but a head and what pools for it.

    Some classes name their body otherwise than the checkpoint does (Llama's for question answering), which leaves all
    of it random.
    """
    body = f"{model.base_model_prefix}."
    return [name for name in fresh if not has_head or (name.startswith(body) and ".pooler." not in name)]


def load_tokenizer(key: BaseKey) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(key.location, revision=key.revision)
    except (OSError, ValueError) as error:
        raise _cannot_load(key, error) from error
    if tokenizer.pad_token_id is None:  # Llama has none; padding is masked, so any token will do
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def _load_weights(key: BaseKey, device: torch.device, *, pad: int) -> tuple[PreTrainedModel, tuple[str, ...]]:
    """The model and the names of the weights that its checkpoint did not bring."""
    options: dict[str, Any] = {"revision": key.revision, "use_safetensors": True, "dtype": _dtype(key),
                               "output_loading_info": True}  # fmt: skip
    if key.attention:
        options["attn_implementation"] = key.attention
    if key.quantization[0] == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=key.quantization[1],
            bnb_4bit_compute_dtype=_dtype(key),
        )
        options["device_map"] = {"": device}
    try:
        if key.head is None:
            loaded: Any = AutoModelForCausalLM.from_pretrained(key.location, **options)
        else:
            kind, _ = HEADS[key.head.kind]
            loaded = kind.from_pretrained(key.location, num_labels=key.head.size, pad_token_id=pad, **options)
    except OSError as error:
        raise _cannot_load(key, error) from error
    model, info = loaded
    return model.to(device), tuple(sorted(info["missing_keys"]))


def _cannot_load(key: BaseKey, error: OSError | ValueError) -> ConfigError:
    return ConfigError("model", key.location, f"cannot be loaded: {str(error).strip().splitlines()[0]}",
                       "set model.path=<folder> or check access to the hub")  # fmt: skip


def _bf16_pays() -> bool:
    """Whether this machine multiplies bfloat16 in hardware."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported())


def _dtype(key: BaseKey) -> torch.dtype:
    if key.dtype != "auto":
        dtype: torch.dtype = getattr(torch, key.dtype)
        return dtype
    return torch.bfloat16 if _bf16_pays() and not key.mutable else torch.float32


def _prepare_quantized(model: PreTrainedModel, quantization: Quantization) -> None:
    layers = [module for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    for layer in layers:
        # Its AVX512-BF16 path repacks the weights at the first evaluation and has no right gradient afterwards.
        layer.support_avx512bf16_for_cpu = False
    if layers and _keep_dequantized(layers, quantization.keep_dequantized):
        for layer in layers:
            _keep_weight(layer)


def _keep_dequantized(layers: list[bnb.nn.Linear4bit], wanted: str) -> bool:
    if wanted != "auto":
        return wanted == "always"
    needed = sum(2 * layer.in_features * layer.out_features for layer in layers)
    device = layers[0].weight.device
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    return needed < 0.25 * free


def _keep_weight(layer: bnb.nn.Linear4bit) -> None:
    """Computes with a kept copy of the dequantised weight, which bitsandbytes would compute again each time."""
    dtype = layer.compute_dtype
    stored = cast(bnb.nn.Params4bit, layer.weight)
    weight = bnb.functional.dequantize_4bit(stored.data, stored.quant_state).to(dtype)

    def forward(x: Tensor) -> Tensor:
        bias = None if layer.bias is None else layer.bias.to(dtype)
        return functional.linear(x.to(dtype), weight, bias).to(x.dtype)

    layer.forward = forward  # type: ignore[method-assign]


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The stack of decoder (or encoder) layers: the longest list of modules, empty in a model without one."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=nn.ModuleList())


def _has(module: nn.Module, ids: Collection[int]) -> bool:
    return any(id(weight) in ids for weight in module.parameters())


def hidden_states(model: PreTrainedModel, **inputs: Tensor) -> Tensor:
    """[R, T, hidden] of a causal model, without its language-model head."""
    hidden: Tensor = model.get_decoder()(use_cache=False, **inputs).last_hidden_state
    return hidden


def logits_at(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """[N, hidden] -> [N, vocabulary] float32 (or better), with Gemma 2's soft cap where the model has one."""
    head = model.get_output_embeddings()
    logits: Tensor = head(hidden.to(head.weight.dtype))
    logits = logits if logits.dtype == torch.float64 else logits.float()
    cap: float | None = getattr(model.config, "final_logit_softcapping", None)
    return torch.tanh(logits / cap) * cap if cap else logits


@torch.no_grad()
def _check_head(model: PreTrainedModel) -> None:
    """Some architectures scale their logits: refuse one whose head is more than `logits_at` computes."""
    tokens = torch.arange(1, 5, device=model.device)[None]
    expected = model(input_ids=tokens, use_cache=False).logits[0].float()
    ours = logits_at(model, hidden_states(model, input_ids=tokens)[0]).float()
    if not torch.allclose(ours, expected, rtol=2e-2, atol=2e-2):
        raise ConfigError("model", type(model).__name__, "its language-model head does more than a linear map",
                          "use task.head=true")  # fmt: skip
