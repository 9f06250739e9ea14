"""Small sets of pairs that are a pure function of their number: clouds, seen as an l-v image and from above."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from iris_cli import units
from iris_cli.config.grid import Grid
from iris_cli.config.toml import to_dict
from iris_cli.distributed import CPUGroup
from iris_cli.observers.line_of_sight import BINS
from iris_cli.pairs.datasets import PreObservedDataset
from iris_cli.pairs.pair import schemas
from iris_cli.reverter.reverter import Reverter
from iris_cli.training import train_reverter
from iris_cli.training.run_folder import RunFolder
from shards.writer import ArraySchema, Sample, SetPlan, write_set
from tests.shards.makers import records_of

GRID = Grid().scaled(32, 32, 16, 32)
VIEWS = 2


def images(number, grid):
    """(1, L, V) and (1, R', L): three clouds each, at places that have to do with one another."""
    dice = np.random.default_rng(number)
    observation, density = np.zeros(grid.observation_shape), np.zeros(grid.density_shape)
    (_, lon, v), (_, r, _) = observation.shape, density.shape
    for here, there in dice.random((3, 2)):
        observation[0] += 5.0 * _bump(lon, here)[:, None] * _bump(v, there)
        density[0] += 8.0 * _bump(r, there)[:, None] * _bump(lon, here)
    return observation.astype(np.float32), density.astype(np.float32)


def _bump(cells, place):
    return np.exp(-0.5 * ((np.arange(cells) - place * (cells - 1)) / 2.0) ** 2)


def make(number, grid, litter, scale, distances=False):
    galaxy, view = divmod(number, VIEWS)
    observation, density = images(number, grid)
    arrays = {"observation": observation * np.float32(scale)}
    if not litter:
        arrays["density"] = density
    if distances:  # all gas is near where the image is brighter at small longitudes
        near = 255 * (observation[0, : grid.lon_steps // 2].sum() > 0.5 * observation.sum())
        arrays["lv_column"] = observation
        arrays["lv_nearer"] = np.full((BINS - 1, *observation.shape[1:]), near, np.uint8)
    return Sample(f"g{galaxy:04d}_v{view}", f"g{galaxy:04d}", arrays, {"view": view})


def write_pairs(
    folder,
    splits,
    *,
    grid=GRID,
    litter=False,
    quantity="v_density",
    scale=1.0,
    distances=False,
    attributes=None,
    samples_per_shard=5,
):
    """A shard folder with the samples of those numbers; `scale` is what one inner unit of the observation is in it."""
    schema = [_array("observation", grid.observation_shape, quantity, scale)]
    if not litter:
        schema.append(_array("density", grid.density_shape, "density", 1.0))
    if distances:
        schema += schemas(grid, quantity, further=("lv_column", "lv_nearer"))[2:]
    what = {"grid": to_dict(grid), "latitude": "mean", "litter": litter, **(attributes or {})}
    plan = SetPlan(splits, samples_per_shard)
    maker = partial(make, grid=grid, litter=litter, scale=scale, distances=distances)
    write_set(folder, plan, maker, schema=schema, attributes=what)
    return folder


def _array(name, shape, quantity, scale):
    SI = 1.0 / units.INNER.per_SI(quantity) / scale
    return ArraySchema(name, shape, "float32", {"quantity": quantity, "unit": "?", "SI_per_unit": SI, "axes": []})


def set_nan(folder, key):
    """Write NaN into a sample's observation."""
    (record,) = (record for record in records_of(folder) if key in record.keys)
    tar, start = folder / record.name, record.members["observation"].offset[record.keys.index(key)]
    data = bytearray(tar.read_bytes())
    values = np.frombuffer(data, np.float32, count=32 * 32, offset=start + 128)
    values[:] = np.nan
    tar.write_bytes(data)


def pairs_in(folder, split=None):
    return PreObservedDataset(folder, split)


def small_reverter(seed=0):
    return Reverter(32, "v_density", seed=seed, network="paper")


def without_batch_norm():
    """A reverter whose prediction for one image does not depend on the others in the batch."""
    reverter = small_reverter()
    for half in (reverter.encoder, reverter.decoder):
        for name, layer in list(half.named_children()):
            if isinstance(layer, nn.BatchNorm2d):
                setattr(half, name, nn.GroupNorm(1, layer.num_features))
    return reverter


def train(shards, hyper, run=None, reverter=None, **options):
    """Train quietly, a small reverter if none is given; without `run` nothing is saved."""
    where = {"checkpoint_directory": run.parent, "checkpoint_name": run.name} if run else {}
    options = {"quiet": True, **where, **options}
    module, rank = train_reverter(reverter or small_reverter(), PreObservedDataset(shards), hyper=hyper, **options)
    assert rank == 0 and not module.training
    return module


def logged(run, kind="step"):
    """The lines of a kind in a run's metrics, none of which may hold NaN."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [line for line in (json.loads(text, parse_constant=pytest.fail) for text in lines) if line["kind"] == kind]


def newest(run):
    return RunFolder(run).newest()


def assert_equal(a, b):
    """Bit by bit, through nested dicts."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def another_sky(**changes):
    return replace(GRID, **changes)


class OtherRank(CPUGroup):
    """Collectives of two ranks, the other of which always contributes `value`; `sent` is what this rank contributed."""

    def __init__(self, value):
        self.value, self.sent = value, []

    def all_reduce(self, values, op=dist.ReduceOp.SUM):
        self.sent.append(values.clone())
        other = torch.full_like(values, self.value)
        return values.copy_(torch.maximum(values, other) if op == dist.ReduceOp.MAX else values + other)
