"""The sizes of a model before it is loaded, and how many weights a method trains of it.

From its config.json where that is at hand, else from the number of its parameters alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweeper.config import Architecture, ModelConfig
from sweeper.launch.group import CLASSICAL_PARAMETERS, EMBEDDED_PARAMETERS
from sweeper.peft_method import PeftMethod
from sweeper.search import model_files

# Each family of architectures has its own words for the same sizes.
KEYS = {
    "hidden": ("hidden_size", "n_embd", "d_model", "dim"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "inner": ("intermediate_size", "n_inner", "ffn_dim", "hidden_dim"),
}
GATED = model_files.NAMED_ALIKE | {"qwen3", "gemma3_text"}  # three matrices in the feed-forward part, not two
UNTIED = ("llama", "mistral")  # unless the file says so, the head is a matrix of its own
# Of a model known by its number of parameters: N = 12 layers hidden^2 (Kaplan et al. 2020, arXiv 2001.08361,
# table 1), and hidden = 128 layers, as in Llama 2's 7B, 13B and Llama 3.2's 1B.
HIDDEN_PER_LAYER, HEAD_DIM, VOCABULARY = 128, 128, 32_000
DEFAULT_RANK = 8  # PEFT's own, for adapters that name no rank


@dataclass(frozen=True)
class Shape:
    hidden: int
    layers: int
    heads: int
    vocabulary: int
    linears: Mapping[str, tuple[int, int]]  # of one layer: name -> numbers of inputs and outputs
    parameters: int
    is_exact: bool = True  # read off the model's files

    @property
    def matrices(self) -> int:
        """Weights that every token is multiplied by, the head left out: `training.cost.matrix_weights`."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.linears.values())

    @property
    def keys_and_values(self) -> int:
        """Numbers that the layers keep of a token while text is generated."""
        return self.layers * sum(self.linears[name][1] for name in ("k_proj", "v_proj") if name in self.linears)

    def adapted(self, targets: object) -> list[tuple[int, int]]:
        """The linear layers, over the whole model, that an adapter's target modules name; all where none matches."""
        names = targets if isinstance(targets, list | tuple) else ()
        chosen = [size for name, size in self.linears.items() if any(name.endswith(end) for end in names)]
        return (chosen or list(self.linears.values())) * self.layers


BAG_OF_WORDS = Shape(hidden=1, layers=1, heads=1, vocabulary=1, linears={"words": (CLASSICAL_PARAMETERS, 1)},
                     parameters=CLASSICAL_PARAMETERS)  # fmt: skip


def shape_of(model: ModelConfig) -> Shape:
    if model.architecture is Architecture.CLASSICAL:
        return BAG_OF_WORDS
    architecture = model_files.architecture(model)
    sizes = {name: next((architecture[key] for key in keys if isinstance(architecture.get(key), int)), None)
             for name, keys in KEYS.items()}  # fmt: skip
    if sizes["hidden"] and sizes["layers"] and sizes["heads"]:
        return _from_files(architecture, sizes, model.num_parameters)
    return guessed(model.num_parameters or EMBEDDED_PARAMETERS)


def guessed(parameters: int) -> Shape:
    """Of a model of usual proportions."""
    layers = max(1, round((parameters / (12 * HIDDEN_PER_LAYER**2)) ** (1 / 3)))
    hidden = math.isqrt(parameters // (12 * layers)) // 8 * 8 or 1
    linears = {name: (hidden, hidden) for name in ("q_proj", "k_proj", "v_proj", "o_proj")}
    linears |= {"up_proj": (hidden, 4 * hidden), "down_proj": (4 * hidden, hidden)}
    return Shape(hidden, layers, max(1, hidden // HEAD_DIM), VOCABULARY, linears, parameters, is_exact=False)


def _from_files(architecture: Mapping[str, Any], sizes: Mapping[str, int | None], parameters: int | None) -> Shape:
    hidden, layers, heads = (int(sizes[name] or 0) for name in ("hidden", "layers", "heads"))
    inner = int(sizes["inner"] or 4 * hidden)
    head_dim = int(architecture.get("head_dim") or hidden // heads)
    keys = int(architecture.get("num_key_value_heads") or heads) * head_dim
    linears = {"q_proj": (hidden, heads * head_dim), "k_proj": (hidden, keys), "v_proj": (hidden, keys),
               "o_proj": (heads * head_dim, hidden), "up_proj": (hidden, inner),
               "down_proj": (inner, hidden)}  # fmt: skip
    kind = architecture.get("model_type")
    if kind in GATED:
        linears["gate_proj"] = (hidden, inner)
    vocabulary = int(architecture.get("vocab_size") or VOCABULARY)
    tables = 1 if architecture.get("tie_word_embeddings", kind not in UNTIED) else 2
    in_layers = layers * sum(inputs * outputs for inputs, outputs in linears.values())
    return Shape(hidden, layers, heads, vocabulary, linears, parameters or in_layers + tables * vocabulary * hidden)


def reached_layers(method: PeftMethod, shape: Shape) -> int:
    """Layers that a backward passes: from the lowest one that trains to the last."""
    chosen = method.layer if method.method == "last_layer" else method.options.get("layers_to_transform")
    layers = chosen if isinstance(chosen, list | tuple) else [0 if chosen is None else chosen]
    return shape.layers - min((layer % shape.layers for layer in layers), default=0)


def trainable_parameters(method: PeftMethod, shape: Shape) -> int:
    """Weights that the optimiser changes. Adapters other than LoRA's and prompts' are taken for LoRA of their rank."""
    if method.method == "none":
        return 0
    if method.method == "full":
        return shape.parameters
    if method.method == "last_layer":
        return shape.matrices // shape.layers
    options = method.options
    if "num_virtual_tokens" in options:
        return int(options["num_virtual_tokens"]) * shape.hidden
    adapted = shape.adapted(options.get("target_modules"))
    if method.type == "IA3":  # a vector on keys, values and one feed-forward matrix of each layer
        return shape.layers * sum(shape.linears[name][1] for name in ("k_proj", "v_proj", "up_proj"))
    rank = int(options.get("r", DEFAULT_RANK))
    magnitudes = sum(outputs for _, outputs in adapted) if options.get("use_dora") else 0
    return rank * sum(inputs + outputs for inputs, outputs in adapted) + magnitudes
