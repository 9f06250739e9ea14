"""What the telescope's tests share: a file name, and trained networks with a cube that they can revert."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.telescope import sky
from tests.telescope.runs import train, write_shards


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cube.fits"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A read-only folder with shards, ensemble/member-01 and -02, cube.fits."""
    torch.set_num_threads(1)
    made = tmp_path_factory.mktemp("telescope")
    write_shards(made / "shards")
    for seed in (0, 1):
        train(made / "ensemble" / f"member-0{seed + 1}", made / "shards", seed)
    sky.cube(made / "cube.fits")
    return made
