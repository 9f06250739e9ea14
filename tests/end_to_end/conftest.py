import pytest

from tests.training.makers import write_pairs


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """13 pairs to train on, 7 to test on: 2 and 3 do not divide them."""
    splits = {"train": range(13), "validation": range(100, 105), "test": range(200, 207)}
    return write_pairs(tmp_path_factory.mktemp("pairs") / "shards", splits)
