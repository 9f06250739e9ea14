"""No galaxy in two splits of a run, whatever the folders that it is in; and litter likewise."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset

from iris_cli.config.grid import GRID_PRESETS
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.config.train import TrainConfig
from iris_cli.errors import DataError
from iris_cli.observers.simple import SimpleObserver
from iris_cli.pairs.datasets import InfiniteDataset, litter_of, pairs_of
from iris_cli.pairs.divide import divide, litter_parts
from iris_cli.pairs.preobserve import open_input, plan_set
from iris_cli.standard.dataset import Entry, StandardDataset, write_index, write_slabs
from iris_cli.training import PreObservedDataset
from shards.index import Index
from tests.shards.makers import groups_of
from tests.training.makers import newest, pairs_in, train, write_pairs

HYPER = TrainConfig()


def joined(*folders):
    return pairs_of(ConcatDataset([PreObservedDataset(folder) for folder in folders]))


def galaxies(pairs, numbers):
    return {pairs.groups()[i] for i in numbers}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The same galaxies twice, observed with another line, in other splits; in `b` galaxy 0 is validated with."""
    folder = tmp_path_factory.mktemp("sets")
    a = write_pairs(folder / "a", {"train": range(8), "validation": range(8, 12), "test": range(12, 16)})
    b = write_pairs(folder / "b", {"train": range(6, 14), "validation": range(2), "test": range(40, 44)}, scale=2.0)
    return {"a": a, "b": b}


# --- several folders --------------------------------------------------------------------------------------------------


def test_a_galaxy_in_two_splits_of_different_folders_is_refused(sets):
    with pytest.raises(
        DataError, match=r"galax.* in the train split of .*a \+ .*b are also in its test or validation"
    ) as caught:
        divide(joined(sets["a"], sets["b"]), HYPER)
    assert "--split-seed" in caught.value.hint and "--overlap leave-out" in caught.value.hint


def test_galaxies_that_are_held_out_anywhere_can_be_left_out_of_the_training(sets):
    pairs = joined(sets["a"], sets["b"])
    trained, validation = (galaxies(pairs, n) for n in divide(pairs, replace(HYPER, overlap="leave-out")))
    test = galaxies(pairs, pairs.own_split("test"))
    assert not trained & validation and not trained & test and not validation & test
    assert trained == {"g0001", "g0002", "g0003"} and validation == {"g0000", "g0004", "g0005"}


def test_an_overlap_can_be_allowed(sets, capsys):
    numbers = divide(joined(sets["a"], sets["b"]), replace(HYPER, overlap="allow"))
    assert [len(n) for n in numbers] == [16, 6] and "allowed by --overlap allow" in capsys.readouterr().err


def test_a_folder_named_twice_and_its_copy_are_refused(sets, tmp_path):
    copy = Path(shutil.copytree(sets["a"], tmp_path / "copy"))
    for other in (sets["a"], copy):
        with pytest.raises(DataError, match="hold the same pairs"):
            joined(sets["a"], other)


def test_a_pair_that_is_in_two_folders_is_used_once(tmp_path, capsys):
    more = write_pairs(tmp_path / "more", {"train": range(4, 12), "validation": range(50, 54)})
    part = write_pairs(tmp_path / "part", {"train": range(8)})
    numbers, _ = divide(joined(part, more), HYPER)
    assert numbers.tolist() == [*range(8), *range(12, 16)]
    assert "4 pairs of the train split" in capsys.readouterr().err


def test_a_folder_without_splits_beside_one_with_splits_is_divided_too(tmp_path):
    own = write_pairs(tmp_path / "own", {"train": range(100, 108), "validation": range(120, 124)})
    plain = write_pairs(tmp_path / "plain", {"all": range(40)})
    pairs, hyper = joined(own, plain), replace(HYPER, validation_data_fraction=0.3)
    trained, validation = divide(pairs, hyper)
    assert len(trained) + len(validation) == 12 + 40
    alone = galaxies(pairs_in(plain), divide(pairs_in(plain), hyper)[1])
    assert alone and alone == {g for g in galaxies(pairs, validation) if g < "g0050"}


def test_a_set_with_a_test_split_alone_is_not_trained_on(tmp_path):
    with pytest.raises(DataError, match="no sample to train on"):
        divide(pairs_in(write_pairs(tmp_path / "set", {"test": range(8)})), HYPER)


def test_maps_that_are_empty_are_not_taken_for_one_galaxy(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.training.makers._bump", lambda cells, place: np.zeros(cells))
    empty = write_pairs(tmp_path / "empty", {"train": range(8), "validation": range(20, 24)})
    assert [len(numbers) for numbers in divide(pairs_in(empty), HYPER)] == [8, 4]


def test_a_run_is_not_resumed_with_training_galaxies_as_validation(sets, tmp_path):
    hyper = TrainConfig(epochs=1, batch_size=4, batches_per_update=1)
    train(sets["a"], hyper, tmp_path / "run")
    with pytest.raises(DataError, match="was trained on 1 of the validation's galaxies"):
        train(sets["b"], replace(hyper, epochs=2), tmp_path / "run", resume="auto", force=True)
    other = write_pairs(tmp_path / "other", {"train": range(60, 64), "validation": range(70, 74)})
    train(other, replace(hyper, epochs=2), tmp_path / "run", resume="auto", force=True)
    seen = newest(tmp_path / "run").seen
    assert seen and all(m in seen.trained for f in (sets["a"], other) for m in pairs_in(f, "train").marks.galaxy)


# --- identity ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    """Eight empty tensors of four galaxies with an identity of their own."""
    folder = tmp_path_factory.mktemp("standard") / "set"
    grid = GRID_PRESETS["tiny"]
    folder.mkdir()
    for i in range(8):
        tensor = np.full(grid.tensor_shape, 1e-3 * i, np.float32)
        write_slabs(folder / f"t{i}.npy", tensor.shape, [(slice(0, None), tensor)])
    entries = tuple(Entry(f"t{i}.npy", f"name {i // 2}", None, {}, f"galaxy-{i // 2}") for i in range(8))
    write_index(folder, grid, entries, {})
    return folder


def test_identities_decide_and_names_do_not(standard, tmp_path):
    renamed = Path(shutil.copytree(standard, tmp_path / "renamed"))
    index = json.loads((renamed / "standard.json").read_text())
    for tensor in index["tensors"]:
        tensor["source"] = "another"
    (renamed / "standard.json").write_text(json.dumps(index))
    config = PreobserveConfig(observer="simple", validation_fraction=0.3)
    plans = [plan_set([open_input(folder, config)], config).splits for folder in (standard, renamed)]
    assert plans[0] == plans[1] and set(plans[0]) == {"train", "validation"}
    assert StandardDataset.open(renamed).identities == [f"galaxy-{i // 2}" for i in range(8)]


def test_galaxies_that_are_in_two_inputs_are_named(iris, standard, tmp_path):
    again = Path(shutil.copytree(standard, tmp_path / "again"))
    ran = iris(
        "preobserve", standard, again, tmp_path / "out", "--observer", "simple", "--validation-fraction", 0.3, "-q"
    )
    assert ran.code == 0, ran.err
    assert "4 galaxies are in" in ran.err and "such as name 0: their views stay in one split" in " ".join(
        ran.err.split()
    )
    assert set(groups_of(tmp_path / "out")) == {f"galaxy-{i}" for i in range(4)}
    assert pairs_in(tmp_path / "out").source(0).startswith("name ")


def test_an_empty_test_split_is_refused_with_a_better_seed(iris, standard, tmp_path):
    words = ("preobserve", standard, tmp_path / "out", "--observer", "simple", "--validation-fraction", 0.2)
    for seed in range(20):
        ran = iris(*words, "--test-fraction", 0.1, "--split-seed", seed, "-q", "--dry-run")
        if ran.code:
            break
    assert ran.code == 1 and "0 test" in ran.err and not (tmp_path / "out").exists()
    named = ran.err.rpartition("--split-seed ")[2].split(",")[0]
    assert iris(*words, "--test-fraction", 0.1, "--split-seed", named, "-q").code == 0
    assert set(Index.open(tmp_path / "out").splits) == {"train", "validation", "test"}


# --- litter -----------------------------------------------------------------------------------------------------------


def test_litter_is_divided_into_disjoint_pieces_that_stay_when_it_grows(tmp_path):
    parts = {}
    for count in (60, 120):
        litter = pairs_in(write_pairs(tmp_path / f"{count}", {"litter": range(300, 300 + count)}, litter=True))
        parts[count] = {name: galaxies(litter, numbers) for name, numbers in litter_parts(litter, HYPER).items()}
        assert sum(map(len, parts[count].values())) == count / 2 and all(parts[count].values())
    assert all(parts[60][name] <= parts[120][name] for name in ("train", "validation", "test"))


def test_few_pieces_of_litter_are_divided_so_that_no_part_is_empty(tmp_path):
    for images in range(3, 10):
        litter = pairs_in(write_pairs(tmp_path / f"{images}", {"litter": range(300, 300 + images)}, litter=True))
        for seed in range(5):
            parts = litter_parts(litter, replace(HYPER, split_seed=seed)).values()
            assert all(len(numbers) for numbers in parts)
            assert sorted(np.concatenate(list(parts)).tolist()) == list(range(images))
    two = pairs_in(write_pairs(tmp_path / "two", {"litter": range(300, 302)}, litter=True))
    with pytest.raises(DataError, match="holds 2 images of litter"):
        litter_parts(two, HYPER)
    assert [len(n) for n in litter_parts(two, replace(HYPER, overlap="allow")).values()] == [2, 2, 2]


def test_litter_of_training_and_validation_is_that_of_the_checkpoint(sets, tmp_path):
    folder = write_pairs(tmp_path / "litter", {"litter": range(300, 312)}, litter=True)
    hyper = TrainConfig(epochs=1, batch_size=4, batches_per_update=1)
    train(sets["a"], hyper, tmp_path / "run", litter=InfiniteDataset(PreObservedDataset(folder), 0))
    seen = newest(tmp_path / "run").seen
    assert seen and len(seen.litter_trained) and len(seen.litter_validated)
    assert not set(seen.litter_trained) & set(seen.litter_validated) and len(seen.litter) < 6


def test_litter_of_tensors_is_observed_on_its_own_grid(iris, standard, tmp_path):
    dataset = StandardDataset.open(standard)
    near = Path(shutil.copytree(standard, tmp_path / "near"))
    index = json.loads((near / "standard.json").read_text())
    index["grid"] |= {"r_min_pc": 6000.0, "r_max_pc": 7500.0}
    (near / "standard.json").write_text(json.dumps(index))
    observer, drawn = SimpleObserver(dataset.grid), StandardDataset.open(near)
    litter = litter_of(InfiniteDataset(drawn), observer, pairs_of(dataset, observer))
    assert litter is not None and observer.grid == dataset.grid != litter.grid == drawn.grid
    rows = {"observation": np.zeros(litter.grid.observation_shape, np.float32)}
    litter.read(5, rows)
    expected = SimpleObserver(drawn.grid).observe(torch.from_numpy(drawn[5]))
    np.testing.assert_array_equal(rows["observation"], expected.numpy())

    words = ("train", standard, "--litter", near, "--validation-fraction", 0.3, "--dry-run")
    assert iris(*words, "--observer", "simple", "--out", tmp_path / "run").code == 0
    shards = write_pairs(tmp_path / "shards", {"train": range(4)})
    refused = iris("train", shards, "--litter", near, "--out", tmp_path / "run")
    assert refused.code == 2 and f"iris preobserve {near} LITTER --litter" in " ".join(refused.err.split())
