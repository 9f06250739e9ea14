import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.shards.makers import write

# A busy machine is no fault of the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """A small set, made once; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("written") / "set"
    write(folder)
    return folder


@pytest.fixture
def copied(written, tmp_path):
    """The small set, to be damaged."""
    return Path(shutil.copytree(written, tmp_path / "copied"))
