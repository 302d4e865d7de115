"""The code that a model card shows loads what the run trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file

from sweeper.tracking.model_card import LOADING, Publication, model_card
from sweeper.tracking.run_folder import RunFolder
from tests.integration.training.small_runs import LORA, MakeConfig, folder_of, train_folders

NF4 = {"quantization": {"type": "nf4"}}


def loaded(folder: RunFolder, model: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the code of the card leaves in `model`, with folders here in the place of the hub's names."""
    weights = next(name for name in LOADING if (folder.artifacts / name).is_dir())
    card = model_card(folder, Publication("me/tuned", weights, head=None))
    code = card.partition("```python\n")[2].partition("\n```")[0]
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, name: str(folder.artifacts / weights / name))
    names: dict[str, Any] = {}
    exec(code.replace('"tiny"', repr(str(model))).replace('"me/tuned"', repr(str(folder.artifacts / weights))), names)
    return names["model"]


@pytest.mark.parametrize("peft", [LORA, LORA | NF4, LORA | {"quantization": {"type": "nf4", "double": False}}])
def test_an_adapter_comes_on_the_base_that_it_was_trained_on(
    make_config: MakeConfig, llama_folder: Path, monkeypatch: pytest.MonkeyPatch, peft: dict[str, Any]
) -> None:
    folder = folder_of(make_config(peft, epochs=1.0))
    train_folders([folder])
    model = loaded(folder, llama_folder, monkeypatch)
    kept = load_file(folder.artifacts / "adapter" / "adapter_model.safetensors")
    own = {name.replace(".default", ""): weight for name, weight in model.state_dict().items()}
    assert all(torch.equal(own[name], weight) for name, weight in kept.items())
    quantization = getattr(model.config, "quantization_config", None)
    if "quantization" not in peft:
        assert quantization is None
        return
    assert quantization.bnb_4bit_quant_type == "nf4"
    assert quantization.bnb_4bit_use_double_quant is peft["quantization"].get("double", True)
    assert quantization.bnb_4bit_compute_dtype is torch.float32  # the run's model.dtype


@pytest.mark.parametrize(("method", "kept"), [("full", "model"), ("last_layer", "changed_weights")])
def test_trained_weights_come_back(
    make_config: MakeConfig, llama_folder: Path, monkeypatch: pytest.MonkeyPatch, method: str, kept: str
) -> None:
    config = make_config(epochs=1.0)
    config.peft = {"name": method, "method": method}
    folder = folder_of(config)
    train_folders([folder])
    own = loaded(folder, llama_folder, monkeypatch).state_dict()
    trained, before = (load_file(path / "model.safetensors") for path in (folder.artifacts / kept, llama_folder))
    assert all(torch.equal(own[name], weight) for name, weight in trained.items())
    assert any(not torch.equal(before[name], weight) for name, weight in trained.items())
