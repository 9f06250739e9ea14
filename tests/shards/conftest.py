from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from shards.writer import SetPlan, write_set
from tests.shards.makers import SCHEMA, make

# A busy machine is no fault of the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

PLAN = SetPlan({"train": range(37), "validation": range(100, 111), "test": range(200, 203)}, samples_per_shard=8)
ATTRIBUTES = {"grid": {"v_min_km_s": -200.0}}


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set, made once; tests that change it work on a copy."""
    folder = tmp_path_factory.mktemp("written") / "set"
    write_set(folder, PLAN, make, schema=SCHEMA, attributes=ATTRIBUTES)
    return folder


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
    """The small set, to be damaged."""
    return Path(shutil.copytree(written, tmp_path / "copied"))
