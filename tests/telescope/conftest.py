from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cube.fits"


@pytest.fixture(scope="module")
def folder(temperature_runs: Path) -> Path:
    return temperature_runs
