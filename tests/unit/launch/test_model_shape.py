from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from sweeper.config import ModelConfig
from sweeper.launch.model_shape import guessed, shape_of, trainable_parameters
from sweeper.peft_method import PeftMethod

LLAMA_2_7B = {"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
              "num_attention_heads": 32, "vocab_size": 32000}  # fmt: skip
MINI = ModelConfig(embedded=True)


def lora(rank: int, **options: object) -> PeftMethod:
    return PeftMethod.from_config({"name": "lora", "method": "adapter", "type": "LORA", "r": rank, **options})


def test_the_embedded_model_is_read_from_its_files() -> None:
    shape = shape_of(MINI)
    assert shape.matrices == 4 * (2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 704)
    assert shape.parameters == shape.matrices + 6144 * 256
    assert shape.is_exact


def test_a_model_folder_gives_the_published_number_of_parameters(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_2_7B))
    shape = shape_of(ModelConfig(path=str(tmp_path)))
    assert shape.parameters == pytest.approx(6_738_415_616, rel=1e-3)  # norms are left out
    assert shape.matrices == 32 * (4 * 4096**2 + 3 * 4096 * 11008)


def test_a_model_in_the_hubs_cache_is_read_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    model = ModelConfig(hub_id="some/llama", num_parameters=6_738_415_616)
    assert not shape_of(model).is_exact
    snapshot = tmp_path / "models--some--llama" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(LLAMA_2_7B))
    assert shape_of(model).is_exact
    assert (shape_of(model).hidden, shape_of(model).parameters) == (4096, 6_738_415_616)


def test_an_encoders_sizes_go_by_other_names(tmp_path: Path) -> None:
    names = {"model_type": "distilbert", "dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072}
    (tmp_path / "config.json").write_text(json.dumps(names))
    assert shape_of(ModelConfig(path=str(tmp_path))).matrices == 6 * (4 * 768**2 + 2 * 768 * 3072)


@pytest.mark.parametrize(
    ("parameters", "hidden", "layers"),
    [(6_738_415_616, 4096, 32), (13_015_864_320, 5120, 40), (1_235_814_400, 2048, 16)],
)
def test_without_files_the_number_of_parameters_gives_usual_proportions(
    parameters: int, hidden: int, layers: int
) -> None:
    shape = shape_of(ModelConfig(hub_id="nobody/nothing", num_parameters=parameters))
    assert not shape.is_exact
    assert shape.parameters == parameters
    assert shape.hidden == pytest.approx(hidden, rel=0.2)
    assert shape.layers == pytest.approx(layers, rel=0.2)
    assert shape.matrices == pytest.approx(parameters, rel=0.2)


def test_adapters_count_the_layers_that_they_name() -> None:
    shape = shape_of(MINI)
    per_layer = (256 + 256) * 2 + (256 + 128) * 2 + (256 + 704) * 3
    assert trainable_parameters(lora(16, target_modules="all-linear"), shape) == 16 * 4 * per_layer
    assert trainable_parameters(lora(8, target_modules=["q_proj", "v_proj"]), shape) == 8 * 4 * (512 + 384)


def test_other_methods_train_what_they_say() -> None:
    shape = guessed(10**9)
    of = {name: trainable_parameters(PeftMethod.from_config({"method": name}), shape)
          for name in ("none", "full", "last_layer")}  # fmt: skip
    assert of == {"none": 0, "full": 10**9, "last_layer": shape.matrices // shape.layers}
    prompt = PeftMethod.from_config({"method": "adapter", "type": "PROMPT_TUNING", "num_virtual_tokens": 20})
    assert trainable_parameters(prompt, shape) == 20 * shape.hidden
