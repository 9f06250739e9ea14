"""Standard data sets in native and paper-code format, and errors for damaged ones."""

import json
import os
import shutil
import signal

import numpy as np
import pytest

from iris_cli import units
from iris_cli.axes import RHO, T_GAS, V_LOS, X_H2
from iris_cli.config.grid import GRID_PRESETS
from iris_cli.config.mock import MockConfig
from iris_cli.errors import DataError
from iris_cli.mock.draw import draw_galaxy
from iris_cli.mock.generate import Galaxies, write_mock
from iris_cli.standard.dataset import StandardDataset, sense_of_rotation
from shards.layout import temporary_name

GRID = GRID_PRESETS["tiny"].scaled(8, 8, 4, 8)
ONE = Galaxies(MockConfig(), GRID, 0, 1)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mock") / "mock"
    write_mock(Galaxies(MockConfig(), GRID, 0, 2), folder, 2, quiet=True)
    return folder


@pytest.fixture
def mock_folder(written, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(written, tmp_path / "mock")


def test_a_tensor_is_read_in_inner_units_from_SI_on_disk(written):
    dataset = StandardDataset.open(written)
    assert len(dataset) == 4
    assert dataset.sources == ["mock-0-000000"] * 2 + ["mock-0-000001"] * 2
    galaxy = draw_galaxy(MockConfig(), 0, 0)
    assert [entry.view_deg for entry in dataset.entries[:2]] == galaxy.views_deg(2)
    made = galaxy.tensor(GRID, galaxy.views_deg(2)[1])
    np.testing.assert_allclose(dataset[1], made, rtol=1e-6)
    on_disk = np.load(written / "tensor_000001.npy")
    np.testing.assert_allclose(on_disk[V_LOS], 1e3 * made[V_LOS], rtol=1e-6)  # m/s
    assert on_disk[RHO].max() == pytest.approx(made[RHO].max() * 6.768e-20, rel=1e-3)  # kg/m^3


def test_paper_code_tensors_are_converted_to_receding_positive_and_inner_units(shared_data):
    dataset = StandardDataset.open(shared_data / "reference-standard")
    raw = np.load(shared_data / "reference-standard/tensor_0.npy")
    tensor = dataset[0]
    density = 1e-18 * units.INNER.density_per_SI  # the files are in 1e-18 kg/m^3, and in 100 km/s towards the observer
    np.testing.assert_allclose(tensor[V_LOS], -100.0 * raw[V_LOS], rtol=1e-5)
    np.testing.assert_allclose(tensor[RHO], density * raw[RHO], rtol=1e-5)
    np.testing.assert_allclose(tensor[X_H2], raw[X_H2], rtol=1e-6)
    assert dataset.grid.v_min_km_s == -200.0 and dataset.grid.tensor_shape == (6, 32, 32, 16)


def test_a_paper_code_galaxy_rotates_anticlockwise_until_it_is_turned_over(shared_data):
    dataset = StandardDataset.open(shared_data / "reference-standard")
    assert sense_of_rotation(dataset[0], dataset.grid) < -0.5
    assert sense_of_rotation(dataset.turn_over()[0], dataset.grid) > 0.5
    assert np.array_equal(dataset.turn_over().turn_over()[0], dataset[0])


def test_views_of_one_galaxy_have_one_source_in_paper_code_folders(shared_data):
    assert len(set(StandardDataset.open(shared_data / "reference-standard").sources)) == 1
    assert len(set(StandardDataset.open(shared_data / "reference-standard", views_per_source=1).sources)) == 3


# --- bad input --------------------------------------------------------------------------------------------------------


def cell(channel, value):
    def change(path):
        tensor = np.load(path)
        tensor[channel, 0, 0, 0] = value
        np.save(path, tensor)

    return change


def test_an_infinite_temperature_is_accepted(mock_folder):
    cell(T_GAS, np.inf)(mock_folder / "tensor_000000.npy")
    assert np.isinf(StandardDataset.open(mock_folder)[0][T_GAS]).sum() == 1


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cell(RHO, np.nan), "rho holds 1 NaN"),
        (cell(RHO, -1e-20), "rho goes down to -1e-20"),
        (cell(RHO, np.inf), "rho is infinite"),
        (cell(RHO, 1e25), "rho reaches 1e+25, or 1.47"),
        (cell(V_LOS, np.nan), "v_los holds 1 NaN"),
        (cell(T_GAS, -3.0), "T_gas goes down to -3"),
        (cell(X_H2, 1.0), "x_H2 reaches 1"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "not a whole .npy"),
        (lambda path: np.save(path, np.zeros(GRID.tensor_shape, np.int32)), "int32"),
        (lambda path: np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True), "not a whole .npy"),
        (lambda path: np.save(path, np.zeros((6, 8, 8, 5), np.float32)), "(6, 8, 8, 5)"),
        (lambda path: path.write_bytes(b"PK\x03\x04, and no more"), "not a whole .npy"),
    ],
)
def test_the_error_names_a_file_that_is_damaged_or_impossible(mock_folder, damage, said):
    damage(mock_folder / "tensor_000000.npy")
    with pytest.raises(DataError) as error:
        StandardDataset.open(mock_folder)[0]
    assert said in error.value.message and "tensor_000000.npy" in error.value.message


def test_the_error_names_a_missing_empty_or_incomplete_folder(tmp_path, mock_folder):
    with pytest.raises(DataError, match="nowhere is not a folder"):
        StandardDataset.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty is not a data set"):
        StandardDataset.open(tmp_path / "empty")
    (mock_folder / "tensor_000003.npy").unlink()
    with pytest.raises(DataError, match=r"lists 4 tensors, but tensor_000003.npy is missing"):
        StandardDataset.open(mock_folder)
    (mock_folder / "standard.json").write_text('{"format": "iris-st')
    with pytest.raises(DataError, match="not valid JSON"):
        StandardDataset.open(mock_folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index: index.update(version=0), "this program reads iris-standard 1"),
        (lambda index: index.pop("grid"), "'grid'"),
        (lambda index: index.update(tensors=[]), "holds no tensors"),
        (lambda index: index.update(grid=[1]), "grid must be a table"),
        (lambda index: index["tensors"][0].pop("file"), "file"),
        (lambda index: index["grid"].update(r_min_pc=-100.0), "r_min_pc = -100"),
        (lambda index: index["tensors"][0].update(file="../mock/tensor_000000.npy"), "not a file of this folder"),
    ],
)
def test_a_wrong_index_is_refused(mock_folder, change, said):
    index = json.loads((mock_folder / "standard.json").read_text())
    change(index)
    (mock_folder / "standard.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match=said):
        StandardDataset.open(mock_folder)


def test_only_temporary_folders_of_dead_processes_for_the_same_data_set_are_removed(tmp_path):
    def left(name, pid):
        path = temporary_name(tmp_path / name)
        path = path.with_name(path.name.replace(f".{os.getpid()}.part", f".{pid}.part"))
        (path / "inner").mkdir(parents=True)
        return path

    dead, alive, other = left("mock", 999999999), left("mock", os.getppid()), left("other", 999999999)
    write_mock(ONE, tmp_path / "mock", 1, quiet=True)
    assert not dead.exists() and alive.exists() and other.exists()


def test_a_data_set_is_restored_if_its_replacement_was_killed_between_two_renames(mock_folder):
    aside = mock_folder.with_name(temporary_name(mock_folder.with_name("mock.old")).name)
    aside = aside.with_name(aside.name.replace(f".{os.getpid()}.part", ".999999999.part"))
    mock_folder.rename(aside)
    with pytest.raises(DataError, match="exists"):
        write_mock(ONE, mock_folder, 1, quiet=True)
    assert len(StandardDataset.open(mock_folder)) == 4
    assert not aside.exists()


def test_a_mock_that_is_stopped_keeps_nothing_and_exits_with_75(iris, tmp_path, monkeypatch):
    def stop(*_):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("iris_cli.mock.generate.write_index", stop)
    ran = iris("mock", tmp_path / "set", "-n", 1, "--preset", "tiny")
    assert ran.code == 75 and "stopped by a signal; nothing was kept" in ran.err
    assert list(tmp_path.iterdir()) == []
