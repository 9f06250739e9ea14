"""`iris ingest`."""

import errno
import json

import numpy as np
import pytest

from iris_cli.axes import RHO, T_DUST, V_LOS
from iris_cli.standard.dataset import StandardDataset, sense_of_rotation
from shards.index import Index
from tests.commands.errors import bytes_of, done, one_error
from tests.snapshots.snapshots import Style, galaxy, write, write_split

TINY = ("--preset", "tiny", "--views", 2)
PERTURBATIONS = "--scale 0.5:1.0 --density 0.5:2 --skew 0.8:1.25 --first-view-deg 0:360"
JITTERS = "--jitter-distance-pc -20:20 --jitter-longitude-deg -0.1:0.1"
PERTURBED = (*PERTURBATIONS.split(), *JITTERS.split(), "--seed", 5)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    return write(tmp_path_factory.mktemp("one") / "snap_101.hdf5", galaxy())


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """Of the same file name, but another galaxy, in parts."""
    return write_split(tmp_path_factory.mktemp("two"), galaxy(seed=1), [700, 1900])[0]


def test_snapshots_become_a_set_that_preobserve_reads(iris, snapshot, second, tmp_path):
    ran = done(iris("ingest", snapshot, second, tmp_path / "standard", *TINY, "--json"))
    result = json.loads(ran.out)
    assert result["tensors"] == 4 and result["complete"] and len(result["galaxies"]) == 2
    dataset = StandardDataset.open(tmp_path / "standard")
    assert len(set(dataset.sources)) == 2 and dataset.sources[0] == dataset.sources[1]
    assert [entry.view_deg for entry in dataset.entries] == [0.0, 180.0, 0.0, 180.0]
    for number in range(4):
        assert sense_of_rotation(dataset[number], dataset.grid) > 0.5
    halves = ("--observer", "simple", "--validation-fraction", 0.5)
    ran = iris("preobserve", tmp_path / "standard", tmp_path / "pairs", *halves)
    assert ran.code == 0 and "anticlockwise" not in ran.err
    index = Index.open(tmp_path / "pairs")
    assert index.count() == 4 and set(index.splits.values()) <= {2, 4}  # views of a galaxy stay together
    assert index.attributes["inputs"][0]["origin"]["maker"] == "ingest"


def test_the_index_records_what_was_done(iris, snapshot, tmp_path):
    assert iris("ingest", snapshot, tmp_path / "out", *TINY, *PERTURBED, "--x-co", 1e-4).code == 0
    index = json.loads((tmp_path / "out/standard.json").read_text())
    (described,) = index["origin"]["snapshots"]
    assert described["cells"] == 3000 and described["fields"]["temperature"] == "from InternalEnergy"
    assert described["fields"]["x_CO"] == "0.0001" and described["files"] == ["snap_101.hdf5"]
    first, other = (tensor["info"] for tensor in index["tensors"])
    assert 0.5 <= first["scale"] <= 1.0 and first["scale"] == other["scale"] and first["seed"] == 5
    assert first["farther_pc"] != other["farther_pc"]
    assert index["tensors"][0]["view_deg"] != 0.0


def test_the_same_seed_gives_the_same_bytes(iris, snapshot, second, tmp_path):
    words, workers = (*TINY, *PERTURBED), ("-w", 2, "--memory", 0.2, "--threads", 2)
    assert iris("ingest", snapshot, second, tmp_path / "one", *words).code == 0
    assert iris("ingest", snapshot, second, tmp_path / "two", *words, *workers).code == 0
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    assert iris("ingest", snapshot, tmp_path / "other", *TINY, *PERTURBED[:-1], 6).code == 0
    assert bytes_of(tmp_path / "other")["tensor_000000.npy"] != bytes_of(tmp_path / "one")["tensor_000000.npy"]


@pytest.mark.parametrize("names", [("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")])
def test_ranks_share_the_job_and_the_last_writes_the_index(names, iris, snapshot, second, tmp_path, monkeypatch):
    assert iris("ingest", snapshot, second, tmp_path / "one", *TINY).code == 0
    for rank in (2, 0, 1):
        monkeypatch.setenv(names[0], str(rank))
        monkeypatch.setenv(names[1], "3")
        assert iris("ingest", snapshot, second, tmp_path / "shared", *TINY).code == 0
        assert (tmp_path / "shared/standard.json").exists() == (rank == 1)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "shared")


def test_an_interrupted_run_resumes_to_the_same_bytes(iris, snapshot, second, tmp_path):
    assert iris("ingest", snapshot, second, tmp_path / "whole", *TINY).code == 0
    assert iris("ingest", snapshot, second, tmp_path / "out", *TINY).code == 0
    kept = (tmp_path / "out/tensor_000000.npy").stat().st_mtime_ns
    for name in ("standard.json", "tensor_000002.npy", "records/tensor_000003.json"):
        (tmp_path / "out" / name).unlink()
    (tmp_path / "out/.tensor_000002.npy.elsewhere.1.part").write_bytes(b"half")
    ran = iris("ingest", snapshot, second, tmp_path / "out", *TINY, "--resume", "--json")
    assert ran.code == 0 and json.loads(ran.out)["made"] == 2
    (tmp_path / "out/.tensor_000002.npy.elsewhere.1.part").unlink()  # another host's, not a day old
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")
    assert (tmp_path / "out/tensor_000000.npy").stat().st_mtime_ns == kept


def test_an_existing_folder_is_kept_without_overwrite(iris, snapshot, tmp_path):
    assert iris("ingest", snapshot, tmp_path / "out", *TINY).code == 0
    before = bytes_of(tmp_path / "out")
    one_error(iris("ingest", snapshot, tmp_path / "out", *TINY), 1, "exists", "--resume", "--overwrite")
    one_error(iris("ingest", snapshot, tmp_path / "out", *TINY, "--seed", 2, "--resume"), 1, "other options")
    assert bytes_of(tmp_path / "out") == before
    assert iris("ingest", snapshot, tmp_path / "out", "--preset", "tiny", "--views", 1, "--overwrite").code == 0
    assert len(StandardDataset.open(tmp_path / "out")) == 1
    assert not (tmp_path / "out/tensor_000001.npy").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("years of work")
    one_error(iris("ingest", snapshot, tmp_path / "mine", *TINY), 1, "exists")
    assert iris("ingest", snapshot, tmp_path / "mine", *TINY, "--overwrite").code == 0
    assert (tmp_path / "mine/thesis.tex").read_text() == "years of work"


def test_values_and_a_foreground_grid_replace_what_a_snapshot_lacks(iris, tmp_path):
    path = write(tmp_path / "snap.hdf5", galaxy(), Style(leave_out=("DustTemperature", "Velocities")))
    one_error(iris("ingest", path, tmp_path / "out", *TINY), 1, "no PartType0/DustTemperature", "--dust-temperature 20")
    assert not (tmp_path / "out").exists()
    given = ("--dust-temperature", 21, "--zero-velocity")
    assert iris("ingest", path, tmp_path / "out", *TINY, *given).code == 0
    tensor = StandardDataset.open(tmp_path / "out")[0]
    assert tensor[T_DUST] == pytest.approx(21.0) and not tensor[V_LOS].any()
    planned = iris("ingest", path, tmp_path / "no", "--preset", "small", "--foreground", *given, "--dry-run").out
    assert "tensors of 6 x 256 x 128 x 32" in planned


def test_the_configuration_may_have_its_own_grid(iris, snapshot, tmp_path):
    grid = "[grid]\nr_steps = 9\nlon_steps = 8\nlat_steps = 6\nr_crop_max = 9\n"
    (tmp_path / "i.toml").write_text(f"views = 3\nscale = [0.5, 0.5]\n{grid}")
    assert iris("ingest", snapshot, tmp_path / "out", "--config", tmp_path / "i.toml", "--views", 1).code == 0
    dataset = StandardDataset.open(tmp_path / "out")
    assert len(dataset) == 1 and dataset.grid.tensor_shape == (6, 9, 8, 6)
    assert dataset.entries[0].info["scale"] == 0.5


def test_a_bad_snapshot_fails_alone_and_can_be_repeated_when_fixed(iris, snapshot, tmp_path):
    def spoil(file):
        file["PartType0/Density"][7] = np.nan

    bad = write(tmp_path / "bad.hdf5", galaxy(seed=3), damage=spoil)
    one_error(iris("ingest", bad, tmp_path / "alone", *TINY), 1, "Density: 1 of 3000", "--drop-bad-cells")
    assert not (tmp_path / "alone").exists()
    ran = iris("ingest", snapshot, bad, tmp_path / "out", *TINY)
    one_error(ran, 1, "1 of the galaxies failed", "Density: 1 of 3000", "--resume")
    assert len(StandardDataset.open(tmp_path / "out")) == 2
    write(bad, galaxy(seed=3))
    assert iris("ingest", snapshot, bad, tmp_path / "out", *TINY, "--resume").code == 0
    assert len(StandardDataset.open(tmp_path / "out")) == 4


def test_a_galaxy_that_drifts_is_warned_about_and_stopped(iris, tmp_path):
    gas = galaxy()
    gas["Velocities"] = gas["Velocities"] + np.array([300.0, 0.0, 0.0])
    path = write(tmp_path / "snap.hdf5", gas)
    ran = iris("ingest", path, tmp_path / "out", *TINY)
    assert ran.code == 0 and "moves as a whole at 299 km/s" in ran.err and "--bulk-velocity" in ran.err
    assert StandardDataset.open(tmp_path / "out")[0][V_LOS].mean() < -200.0  # towards the observer on +x
    ran = iris("ingest", path, tmp_path / "auto", *TINY, "--bulk-velocity", "auto")
    assert ran.code == 0 and "moves as a whole" not in ran.err
    assert abs(StandardDataset.open(tmp_path / "auto")[0][V_LOS].mean()) < 30.0
    iris("ingest", path, tmp_path / "given", *TINY, "--bulk-velocity", "300,0,0")
    given = StandardDataset.open(tmp_path / "given")[0]
    iris("ingest", write(tmp_path / "still.hdf5", galaxy()), tmp_path / "still", *TINY)
    still = StandardDataset.open(tmp_path / "still")[0]
    assert np.array_equal(given[RHO], still[RHO]) and given[V_LOS] == pytest.approx(still[V_LOS], abs=1e-3)


def test_a_centre_that_is_not_where_the_gas_is_is_warned_about(iris, tmp_path):
    """Near the edge of a periodic box, with thin gas everywhere: the box's centre is not the galaxy's."""
    gas = galaxy()
    rng = np.random.default_rng(0)
    fog = rng.uniform(-1000.0, 1000.0, (1000, 3))
    for name, values in gas.items():
        gas[name] = np.concatenate([values, fog if name == "Coordinates" else values[-1000:] * 0.9])
    path = write(tmp_path / "snap.hdf5", gas, Style(centre_pc=(40.0, 1000.0, 1960.0)))
    ran = iris("ingest", path, tmp_path / "out", *TINY, "--spin", "clockwise")
    assert ran.code == 0 and "from the centre of the box" in ran.err and "--centre" in ran.err
    ran = iris("ingest", path, tmp_path / "mass", *TINY, "--centre", "mass")
    assert ran.code == 0 and "centre of the box" not in ran.err
    (result,) = json.loads((tmp_path / "mass/standard.json").read_text())["origin"]["snapshots"]
    assert result["centre"] == pytest.approx([40.0, 1000.0, 1960.0], abs=20.0)
    assert iris("ingest", path, tmp_path / "given", *TINY, "--centre", "40,1000,1960").code == 0


def test_cells_farther_apart_than_the_view_is_wide_are_all_considered(iris, tmp_path):
    """A hole around the centre: the nearest cells lie beyond what would be read at first."""
    gas = galaxy()
    place = gas["Coordinates"]
    place[10:] = 1500.0 * place[10:] / np.linalg.norm(place[10:], axis=1)[:, None]
    place[:10] = [100.0, 0.0, 0.0]
    path = write(tmp_path / "snap.hdf5", gas, Style(box_pc=4000.0, centre_pc=(2000.0, 2000.0, 2000.0)))
    done(iris("ingest", path, tmp_path / "out", *TINY, "--spin", "clockwise"))
    facts = json.loads((tmp_path / "out/standard.json").read_text())["origin"]["facts"]
    assert next(iter(facts.values()))["cells"] == 3000


def test_a_failed_resume_leaves_no_index_of_absent_tensors(iris, snapshot, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    assert iris("ingest", snapshot, tmp_path / "out", *TINY).code == 0
    (tmp_path / "out/tensor_000001.npy").unlink()
    monkeypatch.setattr("iris_cli.standard.dataset.check_tensor", full)
    one_error(iris("ingest", snapshot, tmp_path / "out", *TINY, "--resume"), 1, "No space left")
    assert not (tmp_path / "out/standard.json").exists()


def test_too_small_a_disk_is_refused(iris, snapshot, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    one_error(iris("ingest", snapshot, tmp_path / "out", *TINY), 1, "2 tensors need")
    assert not (tmp_path / "out").exists()
