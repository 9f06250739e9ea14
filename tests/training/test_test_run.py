"""The inputs of a test: the normal set, changed inputs, another family of galaxies."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from iris_cli.config.train import Noise, TrainConfig
from iris_cli.training.test import MIRRORED, NOISE_ONLY, NORMAL, inputs_of
from tests.training.makers import another_sky, write_pairs


def hyper_of(shards: Path, **changes: Any) -> TrainConfig:
    return replace(TrainConfig(batch_size=3, noise=Noise(sigma_K=0.3), data=(str(shards),)), **changes)


def test_noise_alone_has_no_emission_and_no_litter(tiny_shards: Path, tiny_litter: Path) -> None:
    stream = inputs_of(hyper_of(tiny_shards, litter=str(tiny_litter)), stress=True).streams[NOISE_ONLY]
    batch = next(stream.epoch())
    assert abs(batch.observation.mean().item()) < 0.01 < batch.observation.std().item()
    assert batch.density.max() > 1.0  # the truth is still that of the galaxy
    assert next(replace(stream, noise=None).epoch()).observation.abs().max() == 0.0


def test_mirrored_inputs_have_reversed_velocities_and_the_same_truth(tiny_shards: Path) -> None:
    inputs = inputs_of(hyper_of(tiny_shards, noise=Noise()), stress=True)
    normal, mirrored = (next(inputs.streams[name].epoch()) for name in (NORMAL, MIRRORED))
    assert torch.equal(mirrored.observation, normal.observation.flip(-1))
    assert torch.equal(mirrored.density, normal.density)


def test_an_axis_that_is_not_symmetric_is_not_mirrored(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lopsided = write_pairs(tmp_path / "pairs", {"test": range(4)}, grid=another_sky(v_max_km_s=150.0))
    assert MIRRORED not in inputs_of(hyper_of(lopsided), stress=True).streams
    assert "not symmetric" in capfd.readouterr().err


def test_another_family_is_a_set_of_its_own(tiny_shards: Path, tmp_path: Path) -> None:
    other = write_pairs(tmp_path / "family", {"test": range(400, 403), "train": range(4)})
    inputs = inputs_of(hyper_of(tiny_shards), against=[str(other)])
    assert list(inputs.streams) == [NORMAL, "against family"] and inputs.streams["against family"].count == 3
