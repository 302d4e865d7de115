"""How far training moved each weight: against the weights multiplied out, for every kind of method."""

from __future__ import annotations

import dataclasses
import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils.integrations import dequantize_module_weight
from safetensors.torch import load_file
from torch import Tensor

from sweeper.peft_method import PeftMethod
from sweeper.tracking.run_folder import RunState
from sweeper.training.adapters import adapter_name
from sweeper.training.base_model import BaseKey, BaseModel, load_base_model
from sweeper.training.methods import Method
from sweeper.training.results import WEIGHT_UPDATES
from sweeper.training.weight_updates import NOT_DEFINED, NotDefined, WeightUpdate, adapted
from tests.integration.training.conftest import attach
from tests.integration.training.small_runs import (
    LORA,
    MakeConfig,
    folder_of,
    interrupt_after,
    train_folders,
)

NF4 = {"quantization": {"type": "nf4"}}
Load = Callable[..., BaseModel]


@pytest.fixture
def load(make_config: MakeConfig) -> Load:
    def make(*methods: dict[str, Any], dtype: str = "float32") -> BaseModel:
        config = make_config(dtype=dtype)
        return load_base_model(BaseKey.of(config, PeftMethod.from_config(methods[0])))

    return make


def method_of(base: BaseModel, *groups: dict[str, Any]) -> Method:
    """With weights as after training: none is zero any more."""
    method = attach(base, [PeftMethod.from_config(group) for group in groups], range(len(groups)))
    for index in range(len(groups)):
        torch.manual_seed(index)
        with torch.no_grad():
            for weight in method.parameters(index).values():
                weight.add_(torch.randn_like(weight) * 0.02)
    return method


def by_name(updates: list[WeightUpdate]) -> dict[str, WeightUpdate]:
    named = {update.name: update for update in updates}
    assert len(named) == len(updates)
    return named


def dense_updates(base: BaseModel, index: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Name -> W, dW of the LoRA layers of a run, through PEFT's own product."""
    name, found = adapter_name(index), {}
    for path, layer in base.model.named_modules():
        if name in getattr(layer, "lora_A", {}):
            weight = dequantize_module_weight(layer.get_base_layer()).detach().double()
            found[f"{path}.weight"] = weight, layer.get_delta_weight(name).detach().double()
    return found


@pytest.mark.parametrize(("dtype", "extra"), [("float32", {}), ("float64", {}), ("float32", NF4)],
                         ids=["float32", "float64", "nf4"])  # fmt: skip
def test_runs_of_a_group_have_each_their_own_update_as_if_multiplied_out(
    load: Load, dtype: str, extra: dict[str, Any]
) -> None:
    groups = [LORA | extra, LORA | extra | {"r": 2, "lora_alpha": 3, "target_modules": ["q_proj", "up_proj"]}]
    base = load(*groups, dtype=dtype)
    method = method_of(base, *groups)
    for index, modules in enumerate((14, 4)):
        found, expected = by_name(method.updates(index)), dense_updates(base, index)
        assert found.keys() == expected.keys()
        assert len(found) == modules
        for name, (weight, delta) in expected.items():
            assert found[name].relative_norm == pytest.approx(float(delta.norm() / weight.norm()), rel=1e-5)
            assert found[name].changed == found[name].total == int((delta != 0).sum()) == weight.numel()
    assert by_name(method.updates(0)) != by_name(method.updates(1))


def test_an_untrained_adapter_changes_nothing_and_a_row_of_b_one_row(load: Load) -> None:
    base = load(LORA)
    method = attach(base, [PeftMethod.from_config(LORA)], [0])
    assert all(update.changed == update.relative_norm == 0 for update in method.updates(0))
    name = next(name for name in method.parameters(0) if "layers.1.mlp.up_proj.lora_B" in name)
    with torch.no_grad():
        method.parameters(0)[name][5] = 1.0
    moved = [update for update in method.updates(0) if update.changed]
    assert [(update.layer, update.module, update.changed) for update in moved] == [(1, "mlp.up_proj", 32)]


DENSE: dict[str, dict[str, Any]] = {
    "dora": LORA | {"use_dora": True},
    "dora in nf4": LORA | NF4 | {"use_dora": True},
    "rslora": LORA | {"use_rslora": True, "use_dora": True},
    "loha": {"method": "adapter", "type": "LOHA", "r": 4, "target_modules": ["q_proj", "down_proj"]},
    "ia3": {"method": "adapter", "type": "IA3", "target_modules": ["k_proj", "down_proj"],
            "feedforward_modules": ["down_proj"]},
    "oft": {"method": "adapter", "type": "OFT", "oft_block_size": 8, "r": 0, "target_modules": ["q_proj", "down_proj"]},
    "embedding": LORA | {"target_modules": ["embed_tokens", "q_proj"], "use_dora": True},
    "pissa": LORA | {"init_lora_weights": "pissa"},
}  # fmt: skip


@pytest.mark.parametrize("name", DENSE)
def test_any_adapter_is_held_against_what_peft_merges(load: Load, llama_folder: Path, name: str) -> None:
    group = DENSE[name]
    if "oft_block_size" in group:
        group = {key: value for key, value in group.items() if key != "r"}
    base = load(group)
    before = {path: dequantize_module_weight(module).detach().clone() for path, module in base.model.named_modules()
              if isinstance(module, torch.nn.Linear | torch.nn.Embedding)}  # fmt: skip
    method = method_of(base, group)
    found = by_name(method.updates(0))
    for path, layer in list(base.model.named_modules()):
        if not hasattr(layer, "merge") or not hasattr(layer, "get_base_layer"):
            continue
        inner, update = layer.get_base_layer(), found.pop(f"{path}.weight")
        if "nf4" in name:  # PEFT would round what it merges to four bits again
            plain = torch.nn.Linear(inner.in_features, inner.out_features, bias=False)
            plain.weight.data = dequantize_module_weight(inner).detach().clone()
            factor = layer.lora_magnitude_vector["run0"].weight
            whole = plain.weight + layer.get_delta_weight("run0")
            merged = factor[:, None] * whole / whole.norm(dim=1, keepdim=True)
        else:
            layer.merge()
            merged = layer.get_base_layer().weight
        delta = merged.detach() - before[path]
        assert update.relative_norm == pytest.approx(float(delta.norm() / before[path].norm()), rel=2e-3), path
        assert 0 < update.changed <= update.total == delta.numel()
    assert not found


# What the small Llama needs where PEFT's own defaults do not fit it.
NEEDED: dict[str, dict[str, Any]] = {
    "ADALORA": {"total_step": 20}, "C3A": {"block_size": 16}, "MISS": {"r": 2}, "SHIRA": {"r": 4},
    "ROAD": {"group_size": 8}, "VBLORA": {"vector_length": 8, "num_vectors": 16}, "WAVEFT": {"n_frequency": 64},
    "IA3": {"feedforward_modules": ["down_proj"]}, "LN_TUNING": {"target_modules": ["input_layernorm"]},
    "TRAINABLE_TOKENS": {"target_modules": ["embed_tokens"], "token_indices": [1, 3]},
    "DEFT": {"target_modules": ["q_proj", "down_proj"]},
}  # fmt: skip
PROMPTS = ("PROMPT_TUNING", "P_TUNING")
# Keys and values, mixtures of other adapters: refused before they train.
NOT_TAKEN = ("ADAPTION_PROMPT", "CARTRIDGE", "CPT", "MULTITASK_PROMPT_TUNING", "PREFIX_TUNING", "XLORA")
NO_LINEAR_MAP = ("LILY",)
ALL_TYPES = sorted(kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING)


def group_of(kind: str) -> dict[str, Any]:
    own = {} if kind in PROMPTS else {"target_modules": ["q_proj", "down_proj"]}
    prompt = {"num_virtual_tokens": 4} if kind in PROMPTS else {}
    return {"name": kind.lower(), "method": "adapter", "type": kind, **own, **prompt, **NEEDED.get(kind, {})}


def answers(model: Any) -> dict[str, Tensor]:
    """Path -> W^T and, as the last row, the bias: of the modules that adapters sit on, by what they answer."""
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        for path, module in model.named_modules():
            if path.endswith(("q_proj", "down_proj")):
                size = module.in_features if hasattr(module, "in_features") else module.get_base_layer().in_features
                zero = module(torch.zeros(1, 1, size))[0]
                found[path] = torch.cat([module(torch.eye(size)[None])[0] - zero, zero])
            elif path.endswith("embed_tokens"):
                size = getattr(module, "get_base_layer", lambda module=module: module)().num_embeddings
                found[path] = torch.cat([module(torch.arange(size)[None])[0], torch.zeros(1, 32)])
            elif path.endswith("input_layernorm"):
                found[path] = torch.cat([module(torch.ones(1, 1, 32))[0], torch.zeros(1, 32)])
    return found


@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's own
@pytest.mark.parametrize("kind", [kind for kind in ALL_TYPES if kind not in NOT_TAKEN])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_peft_type_has_the_change_of_its_modules_or_says_that_there_is_none(
    load: Load, kind: str, dtype: str
) -> None:
    group = group_of(kind)
    base = load(group, dtype=dtype)
    before = answers(base.model) if dtype == "float32" else {}
    method = method_of(base, group)
    if kind in NOT_DEFINED or kind in NO_LINEAR_MAP:
        with pytest.raises(NotDefined):
            method.updates(0)
        return
    updates = method.updates(0)
    assert (sum(update.changed for update in updates) > 0) == (kind not in PROMPTS)
    if dtype == "bfloat16" or kind == "LORA":  # layers answer in rounded numbers; LoRA's own test is above
        return
    found, after = by_name(updates), answers(base.model.eval())
    for path, was in before.items():
        delta, weight = after[path] - was, was[:-1]
        if f"{path}.weight" in found:
            expected = float(delta[:-1].norm() / weight.norm())
            assert found.pop(f"{path}.weight").relative_norm == pytest.approx(expected, rel=1e-3, abs=1e-5)
        if f"{path}.bias" in found:
            assert found.pop(f"{path}.bias").changed == int((delta[-1] != 0).sum()) > 0
        elif not path.endswith("layernorm"):
            assert float(delta[-1].abs().max()) < 1e-5
    assert not found


def test_what_is_said_of_a_type_names_one_that_peft_has() -> None:
    assert {*NEEDED, *PROMPTS, *NOT_TAKEN, *NO_LINEAR_MAP, *NOT_DEFINED} <= set(ALL_TYPES)


def test_adalora_trains_and_leaves_its_updates(make_config: MakeConfig) -> None:
    config = make_config(epochs=1.0)
    config.peft = group_of("ADALORA")
    folder = folder_of(config)
    train_folders([folder])
    assert folder.state() is RunState.COMPLETE, folder.last("finished")
    assert (folder.artifacts / "adapter" / "adapter_model.safetensors").is_file()
    assert (folder.artifacts / "weight_updates.json").is_file()
    assert folder.summary()["perf/changed_parameters"] > 0


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NotDefined("it hangs on the row"), "not defined for LORA: it hangs on the row"),
        (RuntimeError("no such dtype"), "not measured: RuntimeError: no such dtype"),
        (MemoryError("out of memory"), "not measured: MemoryError: out of memory"),
    ],
)
def test_a_run_whose_updates_cannot_be_had_keeps_its_result_and_says_why(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def broken(*_: object) -> list[WeightUpdate]:
        raise error

    monkeypatch.setattr("sweeper.training.weight_updates.adapted", broken)
    folder = folder_of(make_config(epochs=1.0))
    train_folders([folder])
    assert folder.state() is RunState.COMPLETE
    assert (folder.artifacts / "adapter" / "adapter_model.safetensors").is_file()
    assert (folder.artifacts / "predictions.parquet").is_file()
    assert "test/accuracy" in folder.summary()
    assert "perf/changed_parameters" not in folder.summary()
    assert not list(folder.artifacts.glob("weight_updates*"))
    tags = folder.last("tags")
    assert tags is not None
    assert tags["values"] == {WEIGHT_UPDATES: said}


def test_a_full_disk_is_no_matter_of_the_figures(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sweeper.training.weight_updates.write", full)
    folder = folder_of(make_config(epochs=1.0))
    with pytest.raises(OSError, match="No space left"):
        train_folders([folder])
    assert folder.state() is RunState.UNFINISHED


@pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning")  # PEFT's own, of its own LN_TUNING
def test_a_trained_head_beside_an_adapter_and_layer_norms_are_weights_too(load: Load, make_config: MakeConfig) -> None:
    config = make_config(task={"head": True})
    base = load_base_model(BaseKey.of(config, PeftMethod.from_config(LORA)))
    method = method_of(base, LORA)
    assert "score.weight" in by_name(method.updates(0))
    norms = {"method": "adapter", "type": "LN_TUNING", "target_modules": ["input_layernorm"]}
    tuned = method_of(load(norms), norms).updates(0)
    assert [(update.layer, update.module, update.changed) for update in tuned] == [
        (layer, "input_layernorm", 32) for layer in (0, 1)
    ]


def test_a_convolution_has_its_delta(load: Load) -> None:
    from peft import LoraConfig, get_peft_model

    model = torch.nn.Sequential(torch.nn.Conv1d(2, 3, 2))
    wrapped = get_peft_model(model, LoraConfig(target_modules=["0"], r=2), adapter_name="run0")  # type: ignore[arg-type]
    layer: Any = model[0]
    torch.nn.init.normal_(layer.lora_B["run0"].weight)
    weight, delta = layer.get_base_layer().weight.detach(), layer.get_delta_weight("run0").detach()
    (update,) = adapted(wrapped.base_model.model, "run0", originals={})
    assert update.relative_norm == pytest.approx(float(delta.norm() / weight.norm()), rel=1e-5)


def test_a_prompt_and_no_method_change_nothing(load: Load) -> None:
    for group in ({"method": "none"}, {"method": "adapter", "type": "PROMPT_TUNING", "num_virtual_tokens": 4}):
        assert attach(load(group), [PeftMethod.from_config(group)], [0]).updates(0) == []


@pytest.mark.parametrize("peft", [{"method": "last_layer", "layer": 0}, {"method": "full"}], ids=["last_layer", "full"])
def test_weights_that_are_trained_themselves_are_held_against_those_on_disk_also_after_an_interruption(
    make_config: MakeConfig, llama_folder: Path, monkeypatch: pytest.MonkeyPatch, peft: dict[str, Any]
) -> None:
    config = make_config(epochs=1.0, save_every=2)
    config.peft = {"name": "own", **peft}
    folder = folder_of(config)
    interrupt_after(5, [folder], monkeypatch)
    train_folders([folder])
    started = folder.last("started")
    assert started is not None
    assert started["resumed_from_step"] == 4
    kept = folder.artifacts / ("model" if peft["method"] == "full" else "changed_weights") / "model.safetensors"
    before, after = load_file(llama_folder / "model.safetensors"), load_file(kept)
    rows = json.loads((folder.artifacts / "weight_updates.json").read_text())
    assert {row["name"] for row in rows} == after.keys()
    for row in rows:
        delta = after[row["name"]] - before[row["name"]]
        assert row["relative_norm"] == pytest.approx(float(delta.norm() / before[row["name"]].norm()), rel=1e-4)
        assert row["changed"] == int((delta != 0).sum()) > 0
    assert folder.summary()["perf/changed_parameters"] == sum(row["changed"] for row in rows)
    if peft["method"] == "last_layer":
        assert {row["layer"] for row in rows} == {0}
    assert (folder.artifacts / "weight_updates.png").stat().st_size > 1000


def test_a_finished_run_of_a_group_leaves_its_updates(make_config: MakeConfig) -> None:
    configs = [make_config(epochs=1.0, learning_rate=rate) for rate in (1e-2, 1e-4)]
    folders = [folder_of(config) for config in configs]
    train_folders(folders)
    norms = []
    for folder in folders:
        rows = json.loads((folder.artifacts / "weight_updates.json").read_text())
        assert len(rows) == 14
        assert folder.summary()["perf/changed_parameters"] == sum(row["total"] for row in rows)
        norms.append(sum(row["relative_norm"] for row in rows))
    assert norms[0] > 5 * norms[1]


def test_a_run_that_trains_nothing_leaves_none(make_config: MakeConfig) -> None:
    config = dataclasses.replace(make_config(), peft={"name": "none", "method": "none"})
    folder = folder_of(config)
    train_folders([folder])
    assert folder.summary()["perf/changed_parameters"] == 0
    assert not list(folder.artifacts.glob("weight_updates*"))
