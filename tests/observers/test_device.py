"""Where the torch backend works; a GPU is stood in for, since hardly any machine that runs this has one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from iris_cli import units
from iris_cli.config.observer import SyntheticConfig
from iris_cli.errors import UsageError
from iris_cli.observers import observe_arrays, windowed
from iris_cli.observers.device import choose_device, working_memory_GiB
from tests.observers.gas import EDGES_M_S, uniform


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _=None: (10 * 2**30, 80 * 2**30))


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_a_gpu_is_taken_where_there_is_one_and_most_of_its_free_memory(gpu: None) -> None:
    assert choose_device("auto").type == choose_device("cuda").type == "cuda"
    assert choose_device("cpu").type == "cpu"
    assert working_memory_GiB(torch.device("cuda"), 4.0) == pytest.approx(6.0)
    assert working_memory_GiB(torch.device("cpu"), 4.0) == 4.0


def test_without_a_gpu_asking_for_one_is_an_error(no_gpu: None) -> None:
    assert choose_device("auto").type == "cpu"
    with pytest.raises(UsageError, match="no GPU"):
        choose_device("cuda")
    with pytest.raises(UsageError, match="unknown device"):
        choose_device("gpu")


def test_only_the_torch_backend_goes_to_a_gpu() -> None:
    assert SyntheticConfig(backend="torch", device="cuda").device == "cuda"
    with pytest.raises(UsageError, match="compiled"):
        SyntheticConfig(device="cuda")


def test_the_observer_asks_for_the_device_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """`meta` holds shapes and no numbers: whatever reaches it was moved there."""
    went: list[torch.device] = []

    def seen(matter, setup, regime, dr_m, edges, accuracy):  # type: ignore[no-untyped-def]
        went.extend({field.device for field in matter.__dict__.values()} | {edges.device})
        rays = matter.v_km_s.shape[1]
        return [torch.zeros(rays, len(edges) - 1), torch.zeros(rays)]

    monkeypatch.setattr(windowed, "choose_device", lambda name: torch.device("meta") if name == "cuda" else None)
    monkeypatch.setattr(windowed, "_observe", seen)
    observe_arrays(
        **uniform(), dr_m=1e16, v_edges_m_s=EDGES_M_S, populations="lte", backend_name="torch", device="cuda"
    )
    assert {device.type for device in went} == {"meta"}


@pytest.mark.parametrize("regime", ["thick", "selective"])
def test_pieces_of_rays_that_fit_into_little_memory_make_the_same_cube(
    regime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gas = {name: np.tile(field, (1, 7, 1)) for name, field in uniform(6, v_los_m_s=np.arange(6) * 1e3).items()}
    gas["T_gas_K"] = gas["T_gas_K"] * np.linspace(0.5, 3.0, 7)[None, :, None]
    options = {"dr_m": units.M_PER_PC, "v_edges_m_s": EDGES_M_S, "backend_name": "torch", "populations": "lte",
               "subsamples": 12}  # fmt: skip
    pieces: list[int] = []
    observe = windowed._observe
    monkeypatch.setattr(windowed, "_observe", lambda m, *a: pieces.append(m.v_km_s.shape[1]) or observe(m, *a))
    whole = observe_arrays(**gas, **options, regime=regime)
    assert pieces == [7]
    monkeypatch.setattr(windowed, "_NUMBERS_PER_CELL", 4e6 / 12)
    parts = observe_arrays(**gas, **options, regime=regime, memory_GiB=0.1)
    assert pieces[1:] == [3, 3, 1]
    assert parts == pytest.approx(whole, rel=1e-6, abs=1e-9)
