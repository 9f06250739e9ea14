"""The choice of backend and device. The GPU is simulated, because most machines that run the tests have none."""

import json

import numpy as np
import pytest
import torch

from iris_cli.config.grid import GRID_PRESETS
from iris_cli.config.observer import SyntheticConfig
from iris_cli.errors import IrisError, UsageError
from iris_cli.observers.backends import torch_windows
from iris_cli.observers.device import choose_backend, choose_device, gpu_of_rank, working_memory_GiB
from iris_cli.observers.synthetic import SyntheticObserver
from tests.observers.gas import cube, uniform


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _=None: (10 * 2**30, 80 * 2**30))


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def test_auto_is_torch_on_a_gpu_with_most_of_its_free_memory(gpu):
    assert choose_backend("auto", "auto") == choose_backend("auto", "cuda") == ("torch", "cuda")
    assert choose_backend("auto", "cpu") == choose_backend("compiled", "auto") == ("compiled", "cpu")
    assert choose_backend("torch", "cpu") == ("torch", "cpu")
    description = SyntheticObserver(GRID_PRESETS["tiny"]).describe()
    assert (description["backend"], description["device"]) == ("torch", "cuda")
    assert working_memory_GiB(torch.device("cuda"), 4.0) == pytest.approx(6.0)
    assert working_memory_GiB(torch.device("cpu"), 4.0) == 4.0


def test_auto_is_the_compiled_backend_without_a_gpu_and_asking_for_one_an_error(no_gpu):
    assert choose_backend("auto", "auto") == choose_backend("auto", "cpu") == ("compiled", "cpu")
    description = SyntheticObserver(GRID_PRESETS["tiny"]).describe()
    assert (description["backend"], description["device"]) == ("compiled", "cpu")
    gas = uniform(5, v_los_m_s=np.arange(5) * 2e3)
    auto, compiled = cube(gas), cube(gas, backend_name="compiled")
    assert auto.tobytes() == compiled.tobytes() and auto.max() > 1
    for device, said in (("cuda", "no GPU"), ("gpu", "unknown device")):
        with pytest.raises(UsageError, match=said):
            choose_backend("auto", device)


def test_the_ranks_of_a_machine_use_its_gpus_in_turn(gpu, monkeypatch):
    assert [gpu_of_rank({"LOCAL_RANK": str(rank)}, 4) for rank in range(6)] == [0, 1, 2, 3, 0, 1]
    assert gpu_of_rank({"SLURM_LOCALID": "3", "LOCAL_RANK": "1"}, 4) == 1
    assert gpu_of_rank({"SLURM_LOCALID": "3"}, 4) == 3
    assert gpu_of_rank({}, 4) == gpu_of_rank({"LOCAL_RANK": "?"}, 4) == 0
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert choose_device("auto") == torch.device("cuda", 2)
    assert choose_backend("auto", "auto") == ("torch", "cuda")  # a record does not depend on the rank


def test_only_torch_runs_on_a_gpu():
    assert SyntheticConfig(backend="torch", device="cuda").device == SyntheticConfig(device="cuda").device == "cuda"
    for backend in ("compiled", "reference"):
        with pytest.raises(UsageError, match=backend):
            SyntheticConfig(backend=backend, device="cuda")


def test_on_a_gpu_auto_gives_torch_single_precision(gpu, monkeypatch):
    """Gas in float64 would not use the kernel and be slow."""
    monkeypatch.setattr(torch_windows, "choose_device", lambda name: {"cuda": torch.device("cpu")}[name])
    gas = uniform(5, v_los_m_s=np.arange(5) * 2e3)
    auto, asked = cube(gas), cube(gas, backend_name="torch")
    assert auto.dtype == np.float32 and asked.dtype == np.float64
    assert auto == pytest.approx(asked, abs=1e-4 * asked.max())


def test_a_full_gpu_gets_smaller_pieces_and_finally_an_error(monkeypatch):
    allowed = []
    in_pieces = torch_windows._in_pieces

    def crowded(*given):
        allowed.append(given[-1].memory_GiB)
        if len(allowed) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return in_pieces(*given)

    monkeypatch.setattr(torch_windows, "_in_pieces", crowded)
    assert cube(uniform(), backend_name="torch", device="cpu").max() > 1
    assert allowed == [2.0, 1.0, 0.5]
    monkeypatch.setattr(torch_windows, "_in_pieces", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.raises(IrisError, match="memory of cpu is full"):
        cube(uniform(), backend_name="torch", device="cpu")


def test_the_arrays_are_moved_to_the_chosen_device(gpu, monkeypatch):
    """`meta` is a device without data: arrays are there only if they were moved."""
    went = set()

    def seen(matter, setup, regime, dr_m, edges, accuracy):
        went.update(field.device.type for field in (*matter.fields(), edges))
        return [torch.zeros(1, len(edges) - 1), torch.zeros(1)]

    monkeypatch.setattr(torch_windows, "choose_device", lambda name: torch.device("meta") if name == "cuda" else None)
    monkeypatch.setattr(torch_windows, "_observe", seen)
    cube(uniform(), backend_name="torch", device="cuda")
    assert went == {"meta"}


@pytest.mark.parametrize("regime", ["thick", "selective"])
def test_pieces_of_rays_give_the_same_cube(regime, monkeypatch):
    gas = {name: np.tile(field, (1, 7, 1)) for name, field in uniform(6, v_los_m_s=np.arange(6) * 1e3).items()}
    gas["T_gas_K"] = gas["T_gas_K"] * np.linspace(0.5, 3.0, 7)[None, :, None]
    options = {"backend_name": "torch", "subsamples": 12, "regime": regime}
    pieces = []
    observe = torch_windows._observe
    monkeypatch.setattr(torch_windows, "_observe", lambda m, *a: pieces.append(m.v_km_s.shape[1]) or observe(m, *a))
    whole = cube(gas, **options)
    assert pieces == [7]
    monkeypatch.setattr(torch_windows, "_NUMBERS_PER_CELL", 4e6 / 12)
    parts = cube(gas, **options, memory_GiB=0.1)
    assert pieces[1:] == [3, 3, 1]
    assert parts == pytest.approx(whole, rel=1e-6, abs=1e-9)


# --- sets of pairs ----------------------------------------------------------------------------------------------------


@pytest.fixture
def galaxies(iris, tmp_path):
    assert iris("mock", tmp_path / "galaxies", "-n", 2, "--views", 1, "--preset", "tiny", "-q").code == 0
    return tmp_path / "galaxies"


def recorded(pairs):
    """Backend and device recorded in an index."""
    attributes = json.loads((pairs / "index.json").read_text())["attributes"]
    observer, config = attributes["observer"], attributes["config"]["synthetic"]
    assert (config["backend"], config["device"]) == (observer["backend"], observer["device"])
    return observer["backend"], observer["device"]


def test_a_set_begun_without_a_gpu_is_resumed_without_one(iris, galaxies, tmp_path, no_gpu, monkeypatch):
    pairs = tmp_path / "pairs"
    words = ["preobserve", galaxies, pairs, "--samples-per-shard", 1, "-q"]
    assert iris(*words).code == 0
    assert recorded(pairs) == ("compiled", "cpu")
    whole = {path: path.read_bytes() for path in pairs.iterdir() if path.name != "commands.jsonl"}
    next(pairs.glob("*.tar")).unlink()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # the same command, on another machine
    ran = iris(*words, "--resume")
    assert ran.code == 0, ran.err
    assert {path: path.read_bytes() for path in pairs.iterdir() if path.name != "commands.jsonl"} == whole
    ran = iris(*words, "--resume", "--backend", "torch", "--device", "cpu")
    assert ran.code == 1 and "with other options" in ran.err


def test_a_set_begun_on_a_gpu_is_not_resumed_without_one(iris, galaxies, tmp_path, gpu, monkeypatch):
    pairs = tmp_path / "pairs"
    monkeypatch.setattr(torch_windows, "choose_device", lambda name: {"cuda": torch.device("cpu")}[name])
    words = ["preobserve", galaxies, pairs, "-q"]
    assert iris(*words).code == 0
    assert recorded(pairs) == ("torch", "cuda")
    assert iris(*words, "--resume").code == 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ran = iris(*words, "--resume")
    assert ran.code == 2 and "was begun on a GPU" in ran.err and "Traceback" not in ran.err
    assert "with other options" in iris(*words, "--resume", "--backend", "compiled").err
    assert iris(*words, "--overwrite").code == 0
    assert recorded(pairs) == ("compiled", "cpu")
