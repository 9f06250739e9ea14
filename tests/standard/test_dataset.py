from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from iris_cli import units
from iris_cli.axes import RHO, T_GAS, V_LOS, X_H2
from iris_cli.config.grid import GRID_PRESETS
from iris_cli.config.mock import MockConfig
from iris_cli.errors import DataError
from iris_cli.mock.galaxy import draw_galaxy
from iris_cli.mock.generate import Galaxies, write_mock
from iris_cli.standard.dataset import StandardDataset, sense_of_rotation
from iris_cli.standard.paper_format import open_paper_dataset
from shards.layout import temporary_name

GRID = GRID_PRESETS["tiny"].scaled(8, 8, 4, 8)


@pytest.fixture
def mock_folder(tmp_path: Path) -> Path:
    write_mock(Galaxies(MockConfig(), GRID, 0, 2), tmp_path / "mock", 2, quiet=True)
    return tmp_path / "mock"


def test_a_tensor_comes_back_in_inner_units_from_SI_on_disk(mock_folder: Path) -> None:
    dataset = StandardDataset.open(mock_folder)
    assert len(dataset) == 4
    assert dataset.sources == ["mock-0-000000"] * 2 + ["mock-0-000001"] * 2
    assert [entry.view_deg for entry in dataset.entries] == [0.0, 180.0, 0.0, 180.0]
    made = draw_galaxy(MockConfig(), 0, 0).tensor(GRID, 180.0)
    assert dataset[1] == pytest.approx(made, rel=1e-6)
    on_disk = np.load(mock_folder / "tensor_000001.npy")
    assert on_disk[V_LOS] == pytest.approx(1e3 * made[V_LOS], rel=1e-6)  # m/s
    assert on_disk[RHO].max() == pytest.approx(made[RHO].max() * 6.768e-20, rel=1e-3)  # kg/m^3


def test_the_fields_tensors_are_turned_to_receding_positive_and_to_our_units(shared_data: Path) -> None:
    dataset = StandardDataset.open(shared_data / "reference-standard")
    raw = np.load(shared_data / "reference-standard/tensor_0.npy")
    tensor = dataset[0]
    assert tensor[V_LOS] == pytest.approx(-100.0 * raw[V_LOS], rel=1e-5)  # its unit is 100 km/s, towards us
    # Its density unit is 1e-18 kg/m^3.
    assert tensor[RHO] == pytest.approx(1e-18 * raw[RHO] * units.INNER.density_per_SI, rel=1e-5)
    assert tensor[X_H2] == pytest.approx(raw[X_H2])
    assert dataset.grid.v_min_km_s == -200.0 and dataset.grid.tensor_shape == (6, 32, 32, 16)


def test_the_fields_galaxy_turns_the_wrong_way_until_it_is_turned_over(shared_data: Path) -> None:
    dataset = StandardDataset.open(shared_data / "reference-standard")
    assert sense_of_rotation(dataset[0], dataset.grid) < -0.5
    assert sense_of_rotation(dataset.turn_over()[0], dataset.grid) > 0.5
    assert np.array_equal(dataset.turn_over().turn_over()[0], dataset[0])


def test_views_of_one_galaxy_have_one_source_in_the_fields_folders(shared_data: Path) -> None:
    assert len(set(StandardDataset.open(shared_data / "reference-standard").sources)) == 1
    assert len(set(StandardDataset.open(shared_data / "reference-standard", views_per_source=1).sources)) == 3


# --- bad input: one line that names the file and what is wrong ---


def damage(folder: Path, channel: int, value: float) -> None:
    tensor = np.load(folder / "tensor_000000.npy")
    tensor[channel, 0, 0, 0] = value
    np.save(folder / "tensor_000000.npy", tensor)


@pytest.mark.parametrize(
    ("channel", "value", "said"),
    [
        (RHO, np.nan, "rho holds 1 NaN"),
        (RHO, -1e-20, "rho goes down to -1e-20"),
        (RHO, np.inf, "rho is infinite"),
        (V_LOS, np.nan, "v_los holds 1 NaN"),
        (T_GAS, -3.0, "T_gas goes down to -3"),
        (X_H2, 1.0, "x_H2 reaches 1"),
    ],
)
def test_what_no_gas_can_be_is_refused(mock_folder: Path, channel: int, value: float, said: str) -> None:
    damage(mock_folder, channel, value)
    with pytest.raises(DataError) as error:
        StandardDataset.open(mock_folder)[0]
    assert said in error.value.message and "tensor_000000.npy" in error.value.message


def test_an_infinite_temperature_is_gas_too_hot_for_the_tracer(mock_folder: Path) -> None:
    damage(mock_folder, T_GAS, np.inf)
    assert np.isinf(StandardDataset.open(mock_folder)[0][T_GAS]).sum() == 1


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def integers(path: Path) -> None:
    np.save(path, np.zeros(GRID.tensor_shape, np.int32))


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def zipped(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04, and no more")


def misshapen(path: Path) -> None:
    np.save(path, np.zeros((6, 8, 8, 5), np.float32))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (truncate, "not a whole .npy"),
        (integers, "int32"),
        (pickled, "not a whole .npy"),
        (misshapen, "(6, 8, 8, 5)"),
        (zipped, "not a whole .npy"),
    ],
)
def test_a_spoilt_file_is_named(mock_folder: Path, spoil: object, said: str) -> None:
    spoil(mock_folder / "tensor_000000.npy")  # type: ignore[operator]
    with pytest.raises(DataError) as error:
        StandardDataset.open(mock_folder)[0]
    assert said in error.value.message and "tensor_000000.npy" in error.value.message


def test_a_missing_or_empty_or_foreign_folder_is_named(tmp_path: Path, mock_folder: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder"):
        StandardDataset.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty is no data set"):
        StandardDataset.open(tmp_path / "empty")
    (mock_folder / "tensor_000003.npy").unlink()
    with pytest.raises(DataError, match=r"promises 4 tensors, but tensor_000003.npy is missing"):
        StandardDataset.open(mock_folder)


def test_attributes_that_promise_more_than_is_there_are_refused(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "field"
    shutil.copytree(shared_data / "reference-standard", folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)
    attributes = json.loads((folder / "attributes.json").read_text())
    (folder / "attributes.json").write_text(json.dumps({**attributes, "cardinality": 20}))
    with pytest.raises(DataError, match="promises 20 entries and lists 3"):
        StandardDataset.open(folder)
    (folder / "attributes.json").write_text(
        json.dumps({"cardinality": 4, "index": [*attributes["index"], "tensor_3.npy"]})
    )
    with pytest.raises(DataError, match=r"tensor_3.npy is missing"):
        StandardDataset.open(folder)
    (folder / "attributes.json").write_text(json.dumps({"cardinality": 1, "index": ["../tensor_0.npy"]}))
    with pytest.raises(DataError, match="not a file of this folder"):
        StandardDataset.open(folder)
    (folder / "attributes.json").write_text('{"cardinality": 3, "ind')
    with pytest.raises(DataError, match="not valid JSON"):
        StandardDataset.open(folder)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda index: index.pop("grid"), "'grid'"),
        (lambda index: index.pop("tensors"), "'tensors'"),
        (lambda index: index.pop("origin"), "'origin'"),
        (lambda index: index.update(grid=[1]), "misplaced"),
        (lambda index: index["tensors"][0].pop("file"), "file"),
        (lambda index: index["grid"].update(r_min_pc=-100.0), "r_min_pc = -100"),
        (lambda index: index["tensors"][0].update(file="../mock/tensor_000000.npy"), "not a file of this folder"),
    ],
)
def test_an_index_that_was_changed_by_hand_is_told(mock_folder: Path, spoil: Callable, said: str) -> None:
    index = json.loads((mock_folder / "standard.json").read_text())
    spoil(index)
    (mock_folder / "standard.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=said):
        StandardDataset.open(mock_folder)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda a, h: a.update(index=[1, 2, 3]), "no list of file names"),
        (lambda a, h: a.update(index=None), "no list of file names"),
        (lambda a, h: h.update(writer_hyper={"points_per_snapshot": "abc"}), "--views-per-source"),
        (lambda a, h: h.update(writer_hyper={"points_per_snapshot": -3}), "points_per_snapshot is -3"),
        (lambda a, h: h.update(writer_hyper=3), "writer_hyper"),
        (lambda a, h: h["coordinate_hyper"].update(r_steps=32.5), "r_steps is 32.5"),
        (lambda a, h: h["coordinate_hyper"].update(r_crop_min_index=-1), "the crop"),
        (lambda a, h: h["dataset_hyper"].update(_length_iris_per_SI=float("inf")), "not a number"),
    ],
)
def test_a_folder_of_the_fields_whose_words_make_no_sense_is_told(
    shared_data: Path, tmp_path: Path, spoil: Callable, said: str
) -> None:
    shutil.copytree(shared_data / "reference-standard", tmp_path / "set", copy_function=shutil.copyfile)
    (tmp_path / "set").chmod(0o755)
    told = {name: json.loads((tmp_path / "set" / name).read_text()) for name in ("attributes.json", "hyper.json")}
    spoil(*told.values())
    for name, content in told.items():
        (tmp_path / "set" / name).write_text(json.dumps(content))
    with pytest.raises(DataError) as caught:
        StandardDataset.open(tmp_path / "set")
    assert said in f"{caught.value.message} ({caught.value.hint})"


def test_pairs_that_lost_their_latitude_in_an_unknown_way_are_refused(shared_data: Path, tmp_path: Path) -> None:
    shutil.copytree(shared_data / "reference-preobserved", tmp_path / "set", copy_function=shutil.copyfile)
    (tmp_path / "set").chmod(0o755)
    hyper = json.loads((tmp_path / "set/hyper.json").read_text())
    hyper["cube_hyper"]["reduction"] = "sum"
    (tmp_path / "set/hyper.json").write_text(json.dumps(hyper))
    with pytest.raises(DataError, match="mean and max"):
        open_paper_dataset(tmp_path / "set")


def test_what_a_killed_process_left_of_a_folder_is_swept_by_the_next_and_nothing_else(tmp_path: Path) -> None:
    def left(name: str, pid: int) -> Path:
        path = temporary_name(tmp_path / name)
        path = path.with_name(path.name.replace(f".{os.getpid()}.part", f".{pid}.part"))
        (path / "inner").mkdir(parents=True)
        return path

    dead, alive, other = left("mock", 999999999), left("mock", os.getppid()), left("other", 999999999)
    write_mock(Galaxies(MockConfig(), GRID, 0, 1), tmp_path / "mock", 1, quiet=True)
    assert not dead.exists() and alive.exists() and other.exists()


def test_a_data_set_whose_replacement_was_killed_between_two_renames_comes_back(mock_folder: Path) -> None:
    aside = mock_folder.with_name(temporary_name(mock_folder.with_name("mock.old")).name)
    aside = aside.with_name(aside.name.replace(f".{os.getpid()}.part", ".999999999.part"))
    mock_folder.rename(aside)
    with pytest.raises(DataError, match="exists"):
        write_mock(Galaxies(MockConfig(), GRID, 0, 1), mock_folder, 1, quiet=True)
    assert len(StandardDataset.open(mock_folder)) == 4
    assert not aside.exists()


def test_a_mock_that_is_told_to_stop_leaves_nothing_and_asks_to_be_started_again(tmp_path: Path) -> None:
    words = ["mock", "set", "-n", "100000", "--log-every", "0.1"]
    run = subprocess.Popen(
        [sys.executable, "-m", "iris_cli", *words],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert run.stderr is not None
    run.stderr.readline()  # the first galaxies are there
    run.terminate()
    said = run.communicate()[1]
    assert run.returncode == 75 and "stopped by a signal; nothing was kept" in said
    assert list(tmp_path.iterdir()) == []
