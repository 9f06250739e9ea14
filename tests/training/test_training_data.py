"""Training sets that a network cannot learn from are named before the first step; the automatic normalization."""

import json
from dataclasses import replace
from functools import cached_property
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from iris_cli.config.train import TrainConfig
from iris_cli.errors import DataError
from iris_cli.pairs.datasets import Pairs, PreObservedDataset
from iris_cli.pairs.overlap import Marks, digests
from iris_cli.reverter.reverter import Reverter
from iris_cli.training.train import check_fits, new_reverter
from iris_cli.training.training_data import LEARNABLE, MOST_READ, TrainingData
from iris_cli.units import INNER
from shards.errors import ShardError
from tests.training.makers import GRID, images, newest, train, write_pairs

Images = tuple[NDArray[np.float32], NDArray[np.float32]]
UNREADABLE: Images = (np.zeros(0, np.float32), np.zeros(0, np.float32))


class Listed(Pairs):
    """Pairs in memory, two views of each galaxy."""

    name, grid, quantity, latitude, litter, fingerprint, lines = "data", GRID, "v_density", "mean", False, "", {}

    def __init__(self, items):
        self.items, self.sizes, self.reads = items, [len(items)], 0

    def read(self, number, rows):
        self.reads += 1
        if self.items[number] is UNREADABLE:
            raise ShardError("torn")
        rows["observation"][...], rows["density"][...] = self.items[number]

    def groups(self):
        return [f"galaxy {k // 2}" for k in range(len(self))]

    @cached_property
    def marks(self):
        pairs = digests(f"{hash(o.tobytes())} {hash(d.tobytes())}" for o, d in self.items)
        return Marks(digests(self.groups()), pairs, pairs)

    def key(self, number):
        return str(number)

    def source(self, number):
        return self.groups()[number]


def found(items):
    return TrainingData.of(Listed(items), np.arange(len(items)))


USUAL = [images(k, GRID) for k in range(8)]
NOTHING = np.zeros_like(USUAL[0][0])


def test_a_usual_set_has_no_problem():
    facts = found(USUAL)
    assert facts.problems(1e-19) == [] and (facts.pairs, facts.galaxies, facts.read) == (8, 4, 8)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (USUAL[:2], "all 2 training pairs of data are of one galaxy"),
        (USUAL[:1], "all 1 training pair of data are of one galaxy"),
        ([*USUAL, USUAL[0], USUAL[1]], "2 of the 10 training pairs of data are copies of another one"),
        ([USUAL[0]] * 6, "5 of the 6 training pairs of data are copies"),
        ([(USUAL[0][0], d) for _, d in USUAL], "that were looked at have the same image as another"),
        ([(NOTHING, d) for _, d in USUAL], "8 of the 8 training pairs of data that were looked at have an empty image"),
        ([(NOTHING + 2.7, USUAL[0][1]), *USUAL], "1 of the 9 training pairs of data that were looked at have"),
        ([(o, NOTHING) for o, _ in USUAL], "8 of the 8 training pairs of data that were looked at have an empty map"),
        ([(o * np.nan, d) for o, d in USUAL], "8 of the 8 training pairs of data that were looked at hold values that"),
        ([(o, 1e-4 * d) for o, d in USUAL], "times the loss's normalization of 1e-19 kg/m^3: a network can hardly"),
        ([(o, 1e4 * d) for o, d in USUAL], "--density-normalization auto"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_learned_are_named(items, message):
    assert any(message in problem for problem in found(items).problems(1e-19)), found(items)


def test_few_pairs_are_read_and_unreadable_ones_are_left_to_the_stream():
    pairs = Listed([*USUAL, UNREADABLE] * 50)
    facts = TrainingData.of(pairs, np.arange(len(pairs)))
    assert pairs.reads == MOST_READ and 0 < facts.read < MOST_READ
    pairs.on_the_fly, pairs.reads = True, 0
    assert TrainingData.of(pairs, np.arange(len(pairs))).read <= pairs.reads == 4


@pytest.mark.parametrize("scale", [1e-6, 1.0, 3e5])
def test_the_automatic_normalization_follows_the_densities(scale):
    facts = found([(o, np.float32(scale) * d) for o, d in USUAL])
    hyper = facts.normalized(TrainConfig(density_normalization="auto"))
    assert hyper.density_normalization_kg_m3 == pytest.approx(
        scale * found(USUAL).typical_kg_m3 / 10.0, rel=5e-3
    )  # to three digits
    assert facts.problems(hyper.density_normalization_kg_m3) == []
    assert LEARNABLE[0] < facts.typical_kg_m3 / hyper.density_normalization_kg_m3 < LEARNABLE[1]
    assert facts.normalized(TrainConfig()) == TrainConfig()


def test_empty_maps_have_no_automatic_normalization():
    with pytest.raises(DataError, match="the maps that were read are empty"):
        found([(o, NOTHING) for o, _ in USUAL]).normalized(TrainConfig(density_normalization="auto"))


def test_the_outputs_of_columns_take_the_scale_and_the_paper_network_stays_as_it_is():
    image = torch.rand(1, 1, 32, 32)
    for name, factor in (("columns", 1e3), ("paper", 1.0)):
        one, other = (Reverter(32, network=name).eval() for _ in range(2))
        other.set_density_scale(1e-16)
        with torch.no_grad():
            torch.testing.assert_close(other(image), factor * one(image))
    assert float(other.density) == INNER.density_per_SI


def test_a_run_records_its_normalization_and_resumes_with_it(shards, tmp_path):
    hyper = TrainConfig(epochs=1, batch_size=8, batches_per_update=1, density_normalization="auto")
    reverter = Reverter(32, "v_density", network="columns")
    train(shards, hyper, tmp_path / "run", reverter)
    expected = TrainingData.of(PreObservedDataset(shards, "train"), np.arange(22)).normalized(hyper)
    first = newest(tmp_path / "run")
    value = first.config["density_normalization_kg_m3"]
    assert value == expected.density_normalization_kg_m3 != 1e-19
    assert float(first.model["density_scale.scale"]) == pytest.approx(value * INNER.density_per_SI)
    again = Reverter(32, "v_density", network="columns")
    train(shards, replace(hyper, epochs=2), tmp_path / "run", again, resume="auto")
    assert newest(tmp_path / "run").config["density_normalization_kg_m3"] == value


def test_the_command_and_its_dry_run_name_the_problem(iris, tmp_path):
    shards = write_pairs(tmp_path / "one", {"train": range(2), "validation": range(100, 102)})
    planned = iris("train", shards, "--out", tmp_path / "run", "--dry-run", "--json")
    assert any("are of one galaxy" in note for note in json.loads(planned.out)["notes"])
    ran = iris("train", shards, "--out", tmp_path / "run", "-e", 1, "-q", "--density-normalization", "auto")
    assert ran.code == 0 and "are of one galaxy" in ran.err


def test_only_sightlines_is_trained_on_several_lines_and_then_takes_no_others():
    two = SimpleNamespace(name="two", litter=False, grid=GRID, quantity="v_density", channels=2, latitude="mean")
    one = SimpleNamespace(**{**vars(two), "name": "one", "channels": 1})
    network = new_reverter(two, TrainConfig(network="sightlines"))
    check_fits(network, two)
    with pytest.raises(DataError, match="takes 2 images of each galaxy; one has 1"):
        check_fits(network, one)
    with pytest.raises(DataError, match="two holds observations of several lines; the reverter takes one") as refused:
        check_fits(new_reverter(two, TrainConfig(network="columns")), two)
    assert "--network sightlines" in refused.value.hint
