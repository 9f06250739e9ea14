from tests.training.conftest import litter, shards

__all__ = ["litter", "shards"]
