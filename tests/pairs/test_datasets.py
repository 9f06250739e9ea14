"""Data sets as numbered pairs: units, splits, joining, and what is refused."""

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset

from iris_cli.config.train import TrainConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.observers.simple import SimpleObserver
from iris_cli.pairs.datasets import JoinedPairs, check_litter, check_pairs, image_size, pairs_of
from iris_cli.pairs.divide import divide
from iris_cli.pairs.open_data import open_data, open_litter
from iris_cli.pairs.pair import FURTHER
from iris_cli.standard.dataset import StandardDataset
from iris_cli.training import InfiniteDataset, PreObservedDataset, test_reverter, train_reverter
from shards.errors import ShardError
from shards.reader import Reader
from tests.training.makers import GRID, another_sky, images, pairs_in, small_reverter, write_pairs

SMALL = {"train": range(6)}


def read(pairs, number):
    rows = {name: np.empty(s.shape, s.dtype) for name, s in pairs.arrays.items()}
    pairs.read(number, rows)
    return rows


def test_an_item_is_the_pair_that_was_written(shards):
    observation, density = PreObservedDataset(shards, "validation")[2]
    for tensor, array in zip((observation, density), images(102, GRID), strict=True):
        np.testing.assert_array_equal(tensor, array)


def test_other_units_are_converted_to_inner_units(tmp_path):
    own = pairs_in(write_pairs(tmp_path / "own", SMALL))
    other = pairs_in(write_pairs(tmp_path / "other", SMALL, scale=250.0))
    np.testing.assert_allclose(read(other, 3)["observation"], read(own, 3)["observation"], rtol=1e-6)
    stored = other.index.arrays["observation"].attributes["SI_per_unit"]
    assert stored == pytest.approx(own.index.arrays["observation"].attributes["SI_per_unit"] / 250.0)


def test_a_negative_density_is_refused(shards, monkeypatch):
    """`iris preobserve` writes none, but another program may."""
    pairs, fill = pairs_in(shards), Reader.read

    def negative(self, number, rows):
        fill(self, number, rows)
        rows["density"][0, 0, 0] = -0.5

    monkeypatch.setattr(Reader, "read", negative)
    with pytest.raises(ShardError, match=r"the density of g0001_v1 goes down to -0\.5"):
        read(pairs, 3)


def test_several_sets_are_read_as_one(shards, tmp_path):
    more = write_pairs(tmp_path / "more", {"train": range(50, 54)})
    joined = pairs_of(ConcatDataset([PreObservedDataset(shards), PreObservedDataset(more)]))
    assert len(joined) == 35 + 4
    assert joined.key(36) == pairs_in(more).key(1)
    np.testing.assert_array_equal(read(joined, 37)["density"], images(52, GRID)[1])
    train, validation = divide(joined, TrainConfig())
    assert len(train) == 22 + 4 and len(validation) == 6 and train[-1] == 38


def test_dividing_never_separates_the_views_of_a_galaxy(tmp_path):
    pairs = pairs_in(write_pairs(tmp_path / "set", {"train": range(20)}), "train")
    train, validation = divide(pairs, TrainConfig(validation_data_fraction=0.3))
    groups = pairs.groups()
    assert len(train) + len(validation) == 20 and 4 <= len(validation) <= 8
    assert not {groups[i] for i in train} & {groups[i] for i in validation}


def test_the_splits_of_a_data_set_are_kept(shards):
    pairs = pairs_in(shards)
    train, validation = divide(pairs, TrainConfig())
    own = PreObservedDataset(shards, "validation")
    assert {pairs.key(i) for i in validation} == {own.key(i) for i in range(6)}
    assert len(train) == 22


def test_litter_may_have_another_distance(shards, tmp_path):
    near = another_sky(r_min_pc=6000.0, r_max_pc=7500.0)
    check_litter(pairs_in(shards), pairs_in(write_pairs(tmp_path / "near", SMALL, grid=near, litter=True)))


@pytest.mark.parametrize(
    ("options", "use", "message"),
    [
        ({"grid": another_sky(v_max_km_s=250.0)}, lambda *both: JoinedPairs(both), r"v_max_km_s = 200\.0 and 250\.0"),
        ({"quantity": "temperature"}, check_pairs, "quantity = v_density and temperature"),
        ({"litter": True}, check_pairs, "set holds litter, and .* pairs"),
        ({"grid": another_sky(v_min_km_s=-300.0), "litter": True}, check_litter, r"v_min_km_s = -200\.0 and -300\.0"),
        ({"grid": another_sky(v_steps=64)}, lambda _, new: image_size(new), "32 longitudes and 64 velocities"),
        ({"splits": {"validation": range(4)}}, lambda _, new: divide(new, TrainConfig()), "no sample to train on"),
        (
            {"splits": {"litter": range(0)}, "litter": True},
            lambda _, new: open_litter(TrainConfig(litter=new.name)),
            "set holds no litter to draw from",
        ),
    ],
)
def test_sets_that_do_not_fit_are_refused(shards, tmp_path, options, use, message):
    with pytest.raises(DataError, match=message):
        use(pairs_in(shards), pairs_in(write_pairs(tmp_path / "set", **{"splits": SMALL, **options})))


def test_folders_that_cannot_be_opened_are_refused(shards, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    for use, message in (
        (lambda: open_data([str(tmp_path / "nowhere")]), "nowhere is not a folder"),
        (lambda: open_data([str(tmp_path / "run")]), "run is a run, not shards"),
        (lambda: open_data([str(shards)], "simple"), "holds shards, which are observed already"),
        (lambda: open_data([str(shards)], "simple", "test"), "a standard data set has no splits"),
        (lambda: open_litter(TrainConfig(litter="nowhere")), "the litter nowhere is not there"),
    ):
        with pytest.raises((DataError, UsageError), match=message):
            use()


def test_a_folder_with_unknown_or_missing_metadata_is_refused(tmp_path):
    silent = write_pairs(tmp_path / "set", SMALL, attributes={"grid": {"v_stepz": 3}})
    with pytest.raises(UsageError, match="unknown key 'v_stepz'"):
        PreObservedDataset(silent)
    with pytest.raises(ShardError):
        PreObservedDataset(tmp_path)


def test_an_infinite_data_set_depends_on_its_seed(shards):
    def first(seed):
        draws = iter(InfiniteDataset(PreObservedDataset(shards, "test"), seed))
        return [float(next(draws)[0].sum()) for _ in range(20)]

    assert first(1) == first(1) != first(2)
    assert 1 < len(set(first(1))) <= 7


@pytest.fixture
def standard(iris, tmp_path):
    iris("mock", tmp_path / "standard", "-n", 2, "--preset", "tiny", "-q")
    return tmp_path / "standard"


def test_observing_on_the_fly_gives_the_pairs_of_the_shards(iris, standard, tmp_path):
    iris("preobserve", standard, tmp_path / "shards", "--observer", "simple", "--validation-fraction", 0, "-q")
    stored = pairs_in(tmp_path / "shards")
    dataset = StandardDataset.open(standard)
    observed = pairs_of(dataset, SimpleObserver(dataset.grid))
    assert len(observed) == len(stored) == 2 and sorted(observed.groups()) == sorted(stored.groups())
    numbers = [observed.groups().index(group) for group in stored.groups()]
    for here, there in enumerate(numbers):
        arrays = read(observed, there)
        assert arrays.keys() == {"observation", "density", *FURTHER}
        for name, image in arrays.items():
            np.testing.assert_allclose(image, read(stored, here)[name], rtol=1e-6)


def test_unusable_arguments_are_value_errors(shards, standard, tmp_path):
    reverter, pairs = small_reverter(), PreObservedDataset(shards)
    for function in (train_reverter, test_reverter):
        with pytest.raises(ValueError, match="observer"):
            function(reverter, StandardDataset.open(standard))
        with pytest.raises(ValueError, match="Tensor"):
            function(reverter, torch.zeros(3))
        with pytest.raises(ValueError, match="InfiniteDataset"):
            function(reverter, pairs, litter=pairs)
    with pytest.raises(ValueError, match=r"mean_image is of shape \(32, 32\); .* \(1, 32, 32\)"):
        test_reverter(reverter, pairs, mean_image=torch.zeros(32, 32))
    with pytest.raises(ValueError, match="both"):
        train_reverter(reverter, pairs, checkpoint_directory=tmp_path)
    with pytest.raises(ValueError, match="at least one item"):
        InfiniteDataset(torch.utils.data.TensorDataset(torch.zeros(0)))
