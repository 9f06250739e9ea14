import pytest
import torch

from tests.training.makers import write_pairs

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """22 pairs to train on, 6 to validate with, 7 to test on; shards of 5."""
    folder = tmp_path_factory.mktemp("pairs") / "shards"
    return write_pairs(folder, {"train": range(22), "validation": range(100, 106), "test": range(200, 207)})


@pytest.fixture(scope="session")
def litter(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("litter") / "litter", {"litter": range(300, 309)}, litter=True)
