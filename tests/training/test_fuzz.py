"""Damaged checkpoints, run folders and configurations: errors of the program, and no others."""

import json
import math
import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iris_cli.commands import names
from iris_cli.commands.plot_data import histories
from iris_cli.commands.train import configuration_of
from iris_cli.config import catalogue
from iris_cli.config.toml import from_dict, to_dict, to_toml
from iris_cli.config.train import TrainConfig, planned_members
from iris_cli.errors import IrisError
from iris_cli.evaluation.out_of_distribution import TrainingInputs
from iris_cli.training import checkpoint as checkpoints
from iris_cli.training.checkpoint import Progress
from iris_cli.training.run_folder import RunFolder
from iris_cli.training.trained_run import open_run
from shards.errors import ShardError
from tests import fuzz
from tests.fuzz import changed, damaged_bytes, damaged_text, within

INPUTS = 2000
ODD = [
    *fuzz.ODD,
    2**63,
    math.inf,
    {1: 2},
    (),
    torch.zeros(2),
    torch.zeros(0),
    torch.tensor(math.nan),
    torch.ones(3) > 0,
]

pytestmark = pytest.mark.slow


def only_own_errors(read, seconds=10.0):
    with within(seconds), suppress(IrisError, ShardError):
        read()


def test_a_checkpoint_with_other_values_is_refused_or_read(trained_run, monkeypatch):
    body, rng = torch.load(trained_run / "checkpoints/best.pt", weights_only=True), np.random.default_rng(0)
    weights = body["model"]
    for k in range(INPUTS):
        # the weights are as they are, except in one case of ten: copies of all of them take long
        damaged = changed({**body, "model": weights if k % 10 == 0 else {}, "optimizer": {}}, rng, ODD)
        if k % 10 and isinstance(damaged.get("model"), dict):
            damaged["model"] = dict(weights)
        monkeypatch.setattr(checkpoints, "read_tensors", lambda *about, found=damaged: found)
        only_own_errors(lambda: use(trained_run / "checkpoints/best.pt"))


def use(path):
    run = open_run(path)
    run.checkpoint.make_reverter()
    run.training_inputs()
    assert run.checkpoint.progress.step >= 0
    assert str(to_dict(run.hyper)) and run.checkpoint.data.key


def test_a_checkpoint_with_other_bytes_is_refused_or_read(tmp_path, trained_run):
    whole, rng = checkpoints.load(trained_run / "checkpoints/best.pt"), np.random.default_rng(1)
    small = replace(whole, model={"a": torch.arange(4.0)}, last_model={}, optimizer={})
    path = tmp_path / "small.pt"
    checkpoints.save(small, path)
    data = path.read_bytes()
    for _ in range(INPUTS):
        path.write_bytes(damaged_bytes(data, rng))
        only_own_errors(lambda: use(path))


@pytest.mark.parametrize("file", ["config.toml", "metrics.jsonl", "members.json", "training_inputs.npz"])
def test_a_run_folder_with_a_damaged_file_is_refused_or_read(tmp_path, trained_run, file):
    run = Path(shutil.copytree(trained_run, tmp_path / "run"))
    (run / "members.json").write_text(json.dumps({"members": 3}))
    data, rng = (run / file).read_bytes(), np.random.default_rng(2)
    folder, key = RunFolder(run), checkpoints.load(run / "checkpoints/best.pt").data.key
    readers = {
        "config.toml": [lambda: configuration_of("auto", run)],
        "metrics.jsonl": [lambda: histories([run]), lambda: folder.begin(TrainConfig(), Progress(epoch=1, step=3))],
        "members.json": [lambda: planned_members(run)],
        "training_inputs.npz": [lambda: TrainingInputs.load(folder.training_inputs, key)],
    }
    for k in range(INPUTS):
        damage = damaged_bytes if k % 2 or file.endswith("npz") else damaged_text
        (run / file).write_bytes(damage(data, rng))
        for read in readers[file]:
            only_own_errors(read)


@pytest.mark.parametrize("name", sorted(catalogue.CONFIGS))
def test_a_damaged_configuration_is_refused_or_read(tmp_path, name):
    config, file, rng = catalogue.named(name), tmp_path / "file.toml", np.random.default_rng(3)
    text = to_toml(config).encode()
    for k in range(INPUTS):
        file.write_bytes((damaged_text, damaged_bytes)[k % 2](text, rng))
        only_own_errors(lambda: names.check(name, catalogue.read(file, name)[1]))
        only_own_errors(lambda: catalogue.read(file))
        values = changed(to_dict(config), rng, ODD)
        only_own_errors(lambda values=values: names.check(name, from_dict(catalogue.CONFIGS[name].cls, values)))
