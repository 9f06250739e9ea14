import pytest

from tests.snapshots.snapshots import galaxy


@pytest.fixture(scope="session")
def gas():
    """The gas that most snapshots hold; tests only read it."""
    return galaxy()
