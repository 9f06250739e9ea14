import pytest


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cube.fits"


@pytest.fixture(scope="module")
def folder(temperature_runs):
    return temperature_runs
