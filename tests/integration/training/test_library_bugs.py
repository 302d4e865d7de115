"""Four faults of the libraries below that change results without a word, and the product's way past each.

1. bitsandbytes on a CPU with AVX512-BF16: an evaluation repacks NF4 weights into a path without autograd, so every
   later gradient is wrong.
2. MLflow's Transformers flavour: a PEFT model with a local base comes back on a randomly initialised one.
3. Transformers' MLflowCallback: a parameter that clashes with one's own drops its whole batch.
4. Transformers' class of Llama for question answering finds none of a checkpoint's weights, and draws them all.

tests/unit/test_layering.py forbids the calls themselves; here the product's own ways are tried.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import bitsandbytes as bnb
import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from peft import PeftModel
from torch import Tensor

from sweeper.checks import ConfigError
from sweeper.config import RunConfig
from sweeper.peft_method import PeftMethod
from sweeper.tracking.mlflow_database import default_uri
from sweeper.tracking.mlflow_view import MlflowView
from sweeper.tracking.run_folder import RunFolder, RunIdentity
from sweeper.training.base_model import BaseKey, BaseModel, Head, load_base_model
from sweeper.training.methods import Method
from sweeper.training.stacked_lora import Lane
from tests.integration.training.conftest import attach

IDS = torch.tensor([[1, 5, 9, 12, 17, 6, 8, 2]])
QLORA = {"name": "qlora", "method": "adapter", "type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": "all-linear"}


def load_nf4(folder: Path, keep_dequantized: str = "never", dtype: str = "bfloat16") -> BaseModel:
    return load_base_model(BaseKey(str(folder), None, dtype, ("nf4", True, keep_dequantized), head=None, mutable=False))


def attach_adapter(base: BaseModel) -> Method:
    method = attach(base, [PeftMethod.from_config(QLORA)], [0])
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # B starts at zero, where half of the gradients vanish
        for weight in method.parameters(0).values():
            weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)
    return method


def evaluate(base: BaseModel, method: Method) -> Tensor:
    method.use([Lane("run0", 1, IDS.shape[1])])
    with torch.inference_mode():
        return base.model(input_ids=IDS, use_cache=False).logits.clone()


def gradients(base: BaseModel, method: Method) -> dict[str, Tensor]:
    method.use([Lane("run0", 1, IDS.shape[1], dropout_key=(0, 0, 0))])
    base.model(input_ids=IDS, labels=IDS, use_cache=False).loss.backward()
    found = {name: weight.grad for name, weight in method.parameters(0).items()}
    assert all(gradient is not None and gradient.norm() > 0 for gradient in found.values())
    return {name: gradient for name, gradient in found.items() if gradient is not None}


@pytest.mark.parametrize("keep_dequantized", ["never", "always"])
def test_an_evaluation_leaves_the_gradients_of_an_nf4_model_as_they_were(
    llama_folder: Path, keep_dequantized: str
) -> None:
    untouched = load_nf4(llama_folder, keep_dequantized)
    expected = gradients(untouched, attach_adapter(untouched))

    evaluated = load_nf4(llama_folder, keep_dequantized)
    method = attach_adapter(evaluated)
    first = evaluate(evaluated, method)
    found = gradients(evaluated, method)

    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name
    assert torch.equal(evaluate(evaluated, method), first)


def test_no_nf4_layer_of_a_loaded_model_takes_the_repacking_path(llama_folder: Path) -> None:
    layers = [module for module in load_nf4(llama_folder).model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert layers
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)


@pytest.fixture(scope="module")
def output_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


def new_folder(output_dir: Path, seed: int) -> RunFolder:
    config = RunConfig(seed=seed, peft={"name": "qlora"})
    data = {"source": "files", "digest": "0" * 64}
    identity = RunIdentity.of(config, data)
    return RunFolder.create(output_dir, RunIdentity(**vars(identity) | {"created": "2026-01-01T00:00:00+00:00"}))


def test_an_adapter_from_mlflow_on_its_base_gives_the_logits_of_the_run(
    llama_folder: Path, output_dir: Path, tmp_path: Path
) -> None:
    base = load_nf4(llama_folder, dtype="float32")
    method = attach_adapter(base)
    expected = evaluate(base, method)
    folder = new_folder(output_dir, seed=1)
    folder.started(slot=0)
    method.save(0, folder.artifacts)
    folder.finish("COMPLETE")
    view = MlflowView(None, output_dir)
    assert view.publish(folder)

    client = MlflowClient(tracking_uri=default_uri(output_dir))
    run_id = json.loads((folder.path / "published.json").read_text())["mlflow_run_id"]
    adapter = client.download_artifacts(run_id, "adapter", str(tmp_path))
    reloaded = PeftModel.from_pretrained(load_nf4(llama_folder, dtype="float32").model, adapter)

    assert json.loads(Path(adapter, "adapter_config.json").read_text())["base_model_name_or_path"] == str(llama_folder)
    with torch.inference_mode():
        found = reloaded(input_ids=IDS, use_cache=False).logits
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
    with torch.inference_mode(), reloaded.disable_adapter():
        plain = reloaded(input_ids=IDS, use_cache=False).logits
    assert not torch.allclose(plain, expected, rtol=1e-2, atol=1e-2)


def test_a_parameter_that_clashes_in_mlflow_is_an_error(output_dir: Path) -> None:
    folder = new_folder(output_dir, seed=2)
    folder.started(slot=0)
    view = MlflowView(None, output_dir)
    assert view.publish(folder)

    # The same run comes back with another learning rate, and MLflow's answer may not be lost.
    (folder.path / "published.json").unlink()
    identity = json.loads((folder.path / "run.json").read_text())
    identity["config"]["train"]["learning_rate"] = 0.5
    (folder.path / "run.json").write_text(json.dumps(identity))

    with pytest.raises(MlflowException, match=r"train\.learning_rate"):
        view.publish(RunFolder.open(folder.path))


def test_a_head_class_that_leaves_the_body_random_is_refused(llama_folder: Path) -> None:
    """Transformers' Llama for question answering calls its body `transformer`, every checkpoint `model`."""
    key = BaseKey(str(llama_folder), None, "float32", ("none", True, "never"), head=Head("span", 2), mutable=False)
    with pytest.raises(ConfigError, match=r"its files lack \d+ weights of LlamaForQuestionAnswering"):
        load_base_model(key)
    labels = dataclasses.replace(key, head=Head("labels", 2))
    assert load_base_model(labels).fresh_weights == ("score.weight",)
