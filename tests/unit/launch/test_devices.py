from __future__ import annotations

import pytest

from sweeper.launch import devices
from sweeper.launch.devices import GIB, SlotPlan, gpus_of_listing, plan_slots, visible_gpus
from sweeper.search.options import LauncherOptions

MINI = 5_000_000


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Four cores, 8 GiB, no GPU."""
    monkeypatch.setattr(devices, "available_cores", lambda: 4)
    monkeypatch.setattr(devices, "available_memory", lambda: 8 * GIB)
    monkeypatch.setattr(devices, "visible_gpus", lambda: ())
    return monkeypatch


@pytest.mark.usefixtures("machine")
def test_cpu_has_a_one_thread_slot_for_each_core() -> None:
    plan = plan_slots(LauncherOptions(), num_runs=10, num_parameters=MINI)
    assert (plan.num_slots, plan.threads(4), plan.gpu(0)) == (4, 1, None)


@pytest.mark.usefixtures("machine")
def test_one_run_alone_gets_every_thread() -> None:
    plan = plan_slots(LauncherOptions(), num_runs=1, num_parameters=MINI)
    assert (plan.num_slots, plan.threads(1)) == (1, 4)


@pytest.mark.usefixtures("machine")
def test_groups_that_leave_slots_empty_share_their_threads() -> None:
    plan = plan_slots(LauncherOptions(), num_runs=10, num_parameters=MINI)
    assert plan.threads(training=2) == 2


@pytest.mark.usefixtures("machine")
def test_large_base_model_gets_no_more_slots_than_fit_into_memory() -> None:
    assert plan_slots(LauncherOptions(), num_runs=10, num_parameters=400_000_000).num_slots == 2
    assert plan_slots(LauncherOptions(), num_runs=10, num_parameters=7_000_000_000).num_slots == 1


def test_each_gpu_is_a_slot(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(devices, "visible_gpus", lambda: ("2", "5"))
    plan = plan_slots(LauncherOptions(), num_runs=10, num_parameters=7_000_000_000)
    assert [plan.gpu(slot) for slot in range(plan.num_slots)] == ["2", "5"]
    assert plan.threads(2) == 2


@pytest.mark.usefixtures("machine")
def test_asked_slots_and_threads_win() -> None:
    plan = plan_slots(LauncherOptions(slots=3, threads=7), num_runs=10, num_parameters=MINI)
    assert (plan.num_slots, plan.threads(3)) == (3, 7)


@pytest.mark.usefixtures("machine")
def test_nothing_to_train_still_makes_a_plan() -> None:
    assert plan_slots(LauncherOptions(), num_runs=0, num_parameters=MINI).num_slots == 1


def test_listing_of_gpus_is_read_by_number() -> None:
    listing = "GPU 0: NVIDIA H200 (UUID: GPU-0a)\nGPU 1: NVIDIA H200 (UUID: GPU-1b)\n"
    assert gpus_of_listing(listing) == ("0", "1")


def test_instances_of_a_divided_gpu_are_read_by_uuid() -> None:
    listing = (
        "GPU 0: NVIDIA H200 (UUID: GPU-0a)\n"
        "  MIG 1g.18gb     Device  0: (UUID: MIG-aa)\n"
        "  MIG 1g.18gb     Device  1: (UUID: MIG-bb)\n"
    )
    assert gpus_of_listing(listing) == ("MIG-aa", "MIG-bb")


def test_no_gpu_is_listed_without_one() -> None:
    assert gpus_of_listing("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.") == ()


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [("0,3", ("0", "3")), ("", ()), ("-1", ()), ("GPU-a", ("GPU-a",)), (" 1 , 2 ", ("1", "2"))],
)
def test_environment_chooses_the_gpus(monkeypatch: pytest.MonkeyPatch, chosen: str, expected: tuple[str, ...]) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert visible_gpus() == expected


def test_torch_without_cuda_sees_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "2.13.0+cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert visible_gpus() == ()


def test_this_machine_has_cores_and_memory() -> None:
    assert devices.available_cores() >= 1
    assert devices.available_memory() > 0


def test_plan_is_described_in_words() -> None:
    assert SlotPlan(1, None, 2, None).description == "1 slot on CPU (2 cores)"
    assert SlotPlan(2, ("0", "1"), 16, None).description == "2 slots on 2 GPUs"
