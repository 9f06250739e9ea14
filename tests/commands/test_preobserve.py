"""`iris mock` and `iris preobserve`."""

import io
import json
import shutil
import tarfile

import numpy as np
import pytest
import torch
import webdataset

from iris_cli import units
from iris_cli.config.grid import grid_preset
from iris_cli.config.mock import MockConfig
from iris_cli.config.preobserve import ENCODINGS, LATITUDE_REDUCTIONS, PreobserveConfig
from iris_cli.mock.generate import Galaxies, write_mock
from iris_cli.observers import observer
from iris_cli.observers.simple import SimpleObserver
from iris_cli.observers.top_down import top_down_density
from iris_cli.pairs.preobserve import preobserve
from iris_cli.standard.dataset import StandardDataset
from shards import codec
from shards.index import Index
from tests.commands.errors import bytes_of, done, one_error

PREOBSERVE = ("preobserve", "--observer", "simple")


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mock") / "standard"
    write_mock(Galaxies(MockConfig(), grid_preset("tiny"), 7, 2), folder, 5, quiet=True)
    return folder


def test_the_same_seed_gives_the_same_bytes_on_one_and_two_workers(iris, standard, tmp_path):
    assert iris("mock", tmp_path / "again", "-n", 5, "-m", 2, "--seed", 7, "-w", 2).code == 0
    assert bytes_of(tmp_path / "again") == bytes_of(standard)
    iris("mock", tmp_path / "other", "-n", 1, "--seed", 8)
    assert bytes_of(tmp_path / "other")["tensor_000000.npy"] != bytes_of(standard)["tensor_000000.npy"]
    for workers in (1, 2):
        done(iris(*PREOBSERVE, standard, tmp_path / f"shards{workers}", "-w", workers, "--samples-per-shard", 3))
    assert bytes_of(tmp_path / "shards1") == bytes_of(tmp_path / "shards2")


def test_an_input_that_is_named_twice_is_refused(iris, standard, tmp_path):
    (tmp_path / "link").symlink_to(standard)
    ran = iris(*PREOBSERVE, standard, tmp_path / "link", tmp_path / "pairs")
    one_error(ran, 1, "are the same folder", "name each input once")
    assert not (tmp_path / "pairs").exists()


@pytest.fixture(scope="module")
def pairs(standard, tmp_path_factory):
    """Shards of `standard`; tests do not change them."""
    folder = tmp_path_factory.mktemp("pairs") / "pairs"
    preobserve([standard], folder, PreobserveConfig(observer="simple", test_fraction=0.2), quiet=True)
    return folder


def test_galaxies_without_tensors_on_disk_give_the_same_pairs(iris, pairs, tmp_path):
    made, shard = tmp_path / "made", "train-000000.json"
    words = [*PREOBSERVE, "--mock", "default", "-n", 5, "-m", 2, "--seed", 7, "--test-fraction", 0.2, made]
    done(iris(*words, "-w", 2))
    same_pairs(made, pairs)
    whole = bytes_of(made)
    one_error(iris(*words), 1, "--resume")
    one_error(iris(*words, "--resume", "--seed", 8), 1, "inputs")
    (made / shard).unlink()
    assert iris(*words, "--resume").code == 0
    assert bytes_of(made)[shard] == whole[shard]
    assert iris(*words, "--seed", 8, "--overwrite").code == 0
    assert bytes_of(made)[shard] != whole[shard]


def same_pairs(folder, other_folder):
    made, kept = Index.open(folder), Index.open(other_folder)
    assert made.arrays.keys() == kept.arrays.keys() and len(made.shards) == len(kept.shards) > 0
    for shard in range(len(kept.shards)):
        one, other = made.record(shard), kept.record(shard)
        assert (one.keys, one.groups, one.statistics) == (other.keys, other.groups, other.statistics)
        assert all(one.members[name].checksum == other.members[name].checksum for name in kept.arrays)
    about = made.attributes["inputs"][0]["origin"]
    assert about.items() <= kept.attributes["inputs"][0]["origin"].items()


@pytest.mark.parametrize(
    ("mock", "observing"), [(("--foreground",), ("--litter",)), ((), ("--turn-over", "--validation-fraction", "0"))]
)
def test_a_mock_without_tensors_on_disk_is_that_of_the_same_options(iris, tmp_path, mock, observing):
    survey = ("--survey", "mopra-hnco-fitted")
    assert iris("mock", tmp_path / "standard", "-n", 2, *survey, *mock).code == 0
    assert iris(*PREOBSERVE, tmp_path / "standard", tmp_path / "kept", *survey, *observing).code == 0
    done(iris(*PREOBSERVE, "--mock", "default", "-n", 2, tmp_path / "made", *survey, *observing))
    same_pairs(tmp_path / "made", tmp_path / "kept")


def test_numbers_that_overflow_in_an_observation_are_a_failure(iris, standard, tmp_path):
    """A density that float32 can hold, whose sum along a ray it cannot."""
    folder = shutil.copytree(standard, tmp_path / "standard")
    tensor = np.load(folder / "tensor_000003.npy")
    tensor[1] = 1e19
    np.save(folder / "tensor_000003.npy", tensor)
    ran = iris(*PREOBSERVE, folder, tmp_path / "pairs")
    one_error(ran, 1, "1 of 10 ", "of tensor_000003.npy holds", "values that are not finite")
    index = Index.open(tmp_path / "pairs")
    assert index.count() == 9


def test_plain_webdataset_reads_what_was_observed(pairs, standard):
    tars = sorted(map(str, pairs.glob("*.tar")))
    stream = webdataset.WebDataset(tars, shardshuffle=False).decode().to_tuple("observation.npy", "density.npy", "json")
    read = list(stream)
    assert len(read) == 10
    dataset = StandardDataset.open(standard)
    numbers = {entry.file: n for n, entry in enumerate(dataset.entries)}
    observation, density, info = read[0]
    tensor = torch.from_numpy(dataset[numbers[info["file"]]])
    assert np.array_equal(observation, SimpleObserver(dataset.grid).observe(tensor).numpy())
    assert np.array_equal(density, top_down_density(tensor, dataset.grid).numpy())


def test_views_of_one_galaxy_are_never_on_both_sides_of_a_split(pairs):
    index = Index.open(pairs)
    assert index.splits == {"train": 6, "validation": 2, "test": 2}
    groups = [{g for k in index.shard_numbers(split) for g in index.record(k).groups} for split in index.splits]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 5


def test_the_index_has_units_grid_and_inputs(pairs):
    index = Index.open(pairs)
    density, observation = index.arrays["density"].attributes, index.arrays["observation"].attributes
    assert density["quantity"] == "density" and density["unit"] == "solMass / pc3"
    assert density["SI_per_unit"] == pytest.approx(6.768e-20, rel=1e-3)
    assert observation["quantity"] == "v_density" and observation["axes"] == ["line", "longitude", "velocity"]
    assert index.attributes["grid"]["r_max_pc"] == 8502.0
    assert index.attributes["inputs"][0]["folder"] == "standard"
    assert index.attributes["inputs"][0]["origin"]["seed"] == 7
    with tarfile.open(pairs / "train-000000.tar") as tar:
        member = tar.extractfile(next(name for name in tar.getnames() if name.endswith(".json")))
        assert member is not None
        info = json.load(member)
    assert info["source"].startswith("mock-7-") and -36.0 < info["view_deg"] < 36.0 and info["seed"] == 7


def test_litter_is_observed_without_density(iris, tmp_path):
    iris("mock", tmp_path / "foreground", "-n", 2, "--foreground")
    ran = iris(*PREOBSERVE, tmp_path / "foreground", tmp_path / "litter", "--litter", "--json")
    assert json.loads(ran.out)["pairs"] == 2
    index = Index.open(tmp_path / "litter")
    assert list(index.arrays) == ["observation"] and index.attributes["litter"] is True


def test_data_sets_of_the_paper_code_are_observed_and_imported(iris, shared_data, tmp_path):
    ran = iris(*PREOBSERVE, shared_data / "reference-standard", tmp_path / "s", "--views-per-source", 1)
    assert ran.code == 0 and "turns anticlockwise" in ran.err and "--turn-over" in ran.err
    ran = iris(*PREOBSERVE, shared_data / "reference-standard", tmp_path / "t", "--views-per-source", 1, "--turn-over")
    assert ran.code == 0 and "anticlockwise" not in ran.err
    ran = iris(*PREOBSERVE, shared_data / "reference-preobserved", tmp_path / "p", "--turn-over")
    assert ran.code == 0 and "reversed shadowing" in ran.err and "there are too few galaxies" in ran.err
    index = Index.open(tmp_path / "p")
    assert index.count() == 8 and index.arrays["observation"].attributes["unit"] == "K"
    raw = np.load(shared_data / "reference-preobserved/observed_0.npy")
    with tarfile.open(tmp_path / "p/train-000000.tar") as tar:
        member = tar.extractfile("00-reference-preobserved-000000-000000.observation.npy")
        assert member is not None
        kelvin = np.load(io.BytesIO(member.read()), allow_pickle=False)
    assert kelvin == pytest.approx(raw[:, ::-1, ::-1] / 11.398585319519043, rel=1e-6)


def test_inputs_in_other_units_are_brought_to_one(iris, shared_data, tmp_path):
    """The paper's two folders scale densities differently (x 1.27); view 0 of both is the same galaxy."""
    iris(*PREOBSERVE, shared_data / "reference-standard", tmp_path / "s", "--validation-fraction", 0)
    iris(*PREOBSERVE, shared_data / "reference-preobserved", tmp_path / "p", "--validation-fraction", 0)

    def first_density(folder):
        tars = [str(folder / "train-000000.tar")]
        stream = webdataset.WebDataset(tars, shardshuffle=False).decode()
        return next(iter(stream))["density.npy"]

    assert first_density(tmp_path / "s") == pytest.approx(first_density(tmp_path / "p"), rel=1e-5)
    assert first_density(tmp_path / "s").max() * 1e18 / units.INNER.density_per_SI > 1.0


# --- bad input: one line, the right exit code, nothing half-written ---


def test_an_existing_output_is_kept_without_overwrite(iris, standard, pairs):
    before = bytes_of(pairs)
    one_error(iris(*PREOBSERVE, standard, pairs, "--test-fraction", 0.2), 1, "exists", "--resume", "--overwrite")
    one_error(iris("mock", standard, "-n", 1), 1, "exists", "--overwrite")
    assert bytes_of(pairs) == before
    assert iris(*PREOBSERVE, standard, pairs, "--test-fraction", 0.2, "--resume").code == 0
    assert bytes_of(pairs) == before


def test_shards_are_not_written_among_tensors(iris, standard):
    before = bytes_of(standard)
    for words in ((), ("--dry-run",)):
        one_error(iris(*PREOBSERVE, standard, standard, "--overwrite", *words), 1, "is a data set of tensors")
    assert bytes_of(standard) == before


def test_mock_galaxies_replace_a_data_set_and_nothing_else(iris, standard, tmp_path):
    (tmp_path / "cube.fits").write_text("mine")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    for name, said in (("cube.fits", "is not a folder"), ("thesis", "something else than a data set: chapter.tex")):
        for words in ((), ("--dry-run",)):
            one_error(iris("mock", tmp_path / name, "-n", 1, "--overwrite", *words), 1, said)
    assert (tmp_path / "cube.fits").read_text() == (tmp_path / "thesis" / "chapter.tex").read_text() == "mine"
    shutil.copytree(standard, tmp_path / "set")
    assert iris("mock", tmp_path / "set", "-n", 1, "--preset", "tiny", "--overwrite", "-q").code == 0


def test_two_grids_do_not_go_into_one_set(iris, standard, shared_data, tmp_path):
    ran = iris(*PREOBSERVE, standard, shared_data / "reference-standard", tmp_path / "out")
    one_error(ran, 1, "do not fit into one set", "lon_steps = 64 and 32")
    assert not (tmp_path / "out").exists()


def test_the_choices_of_a_configuration_are_those_of_the_code_behind_it():
    assert ENCODINGS == codec.ENCODINGS
    assert set(LATITUDE_REDUCTIONS) == set(observer.LATITUDE_REDUCTIONS)


def test_a_damaged_tensor_fails_alone_and_can_be_retried(iris, standard, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(standard, damaged)
    tensor = np.load(damaged / "tensor_000003.npy")
    tensor[1, 0, 0, 0] = np.nan
    np.save(damaged / "tensor_000003.npy", tensor)
    ran = iris(*PREOBSERVE, damaged, tmp_path / "out")
    one_error(ran, 1, "1 of 10 inputs failed", "tensor_000003.npy", "rho holds 1 NaN", "--retry-failed")
    assert Index.open(tmp_path / "out").count() == 9
    shutil.copy(standard / "tensor_000003.npy", damaged)
    assert iris(*PREOBSERVE, damaged, tmp_path / "out", "--retry-failed").code == 0
    assert iris(*PREOBSERVE, damaged, tmp_path / "undisturbed").code == 0
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "undisturbed")


def test_a_damaged_first_tensor_is_an_error(iris, standard, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(standard, damaged)
    np.save(damaged / "tensor_000000.npy", np.load(damaged / "tensor_000000.npy") * np.nan)
    one_error(iris(*PREOBSERVE, damaged, tmp_path / "out"), 1, "tensor_000000.npy", "NaN", "the sense of rotation")
    assert not (tmp_path / "out").exists()
