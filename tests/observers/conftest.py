"""Fixtures of several observer tests."""

import numpy as np
import pytest

from iris_cli.observers import level_table
from iris_cli.observers.level_table import Range


@pytest.fixture(scope="session")
def lamda_13co(shared_data):
    """LAMDA's file, with 41 levels and rates with H."""
    path = shared_data / "13co_lamda.dat"
    if not path.exists():
        pytest.skip(f"{path} is missing")
    return str(path)


@pytest.fixture
def coarse_lvg(monkeypatch):
    """Level tables with trapped photons that take 1 s instead of 20 s: n_H 1 … 1e5 /cm^3, T 10 … 100 K, few nodes."""
    log_T = Range(float(np.log(10.0)), ((float(np.log(100.0)), 3.0),), 6.0)
    monkeypatch.setattr(level_table, "_LVG_DENSITY", Range(0.0, ((5.0, 3.0),), 6.0))
    monkeypatch.setattr(level_table, "_COLUMN", Range(12.0, ((18.0, 2.0),), 4.0))
    monkeypatch.setattr(level_table, "_LVG_LOG_T", log_T)
