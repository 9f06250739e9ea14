"""Small runs on brightness temperatures, on a grid that the cubes of `sky` fill."""

from dataclasses import replace

from iris_cli.config.train import SamplesConfig, TrainConfig
from iris_cli.training.train import train_run
from tests.telescope import sky
from tests.training.makers import write_pairs

GRID = replace(sky.GRID, r_steps=32, r_crop_max=32)


def write_shards(folder):
    splits = {"train": range(24), "validation": range(100, 110), "test": range(200, 206)}
    observer = {"lines": [{"molecule": "13CO", "transition": "2-1", "frequency_GHz": 220.3986841}]}
    return write_pairs(folder, splits, grid=GRID, quantity="temperature", attributes={"observer": observer})


def train(folder, shards, seed=0, sampler=False):
    samples = SamplesConfig(train=sampler, epochs=1)
    hyper = TrainConfig(epochs=1, batch_size=8, batches_per_update=1, seed=seed, data=(str(shards),), samples=samples)
    train_run(hyper, folder, quiet=True)
    return folder
