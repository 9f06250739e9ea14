import pytest
from numpy.typing import NDArray

from tests.snapshots.snapshots import galaxy


@pytest.fixture(scope="session")
def gas() -> dict[str, NDArray]:
    """The gas that most snapshots hold; tests only read it."""
    return galaxy()
