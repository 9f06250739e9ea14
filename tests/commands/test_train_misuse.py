"""A user who errs: what `iris train` and `iris test` refuse, and what they leave alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.run
from torch.distributed.elastic.rendezvous import RendezvousConnectionError

from iris_cli.training.checkpoint import load
from tests.commands.test_train import SHORT, refused
from tests.training.makers import another_sky, write_pairs


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "shards", {"train": range(10), "validation": range(100, 104)})


@pytest.fixture
def run(iris: Callable, shards: Path, tmp_path: Path) -> Path:
    ran = iris("train", shards, "--out", tmp_path / "run", *SHORT)
    assert ran.code == 0, ran.err
    return tmp_path / "run"


def test_the_folder_that_one_is_in_can_be_the_run_s(
    iris: Callable, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = iris("train", shards, "--out", ".", *SHORT)
    assert ran.code == 0, ran.err
    assert (tmp_path / "checkpoints" / "best.pt").exists()


def test_litter_is_not_taken_for_pairs(iris: Callable, shards: Path, run: Path, tmp_path: Path) -> None:
    litter = write_pairs(tmp_path / "litter", {"litter": range(4)}, litter=True)
    assert "holds litter" in refused(iris, 1, "train", litter, "--out", tmp_path / "x", *SHORT)
    assert "holds litter" in refused(iris, 1, "train", shards, litter, "--out", tmp_path / "x", *SHORT)
    assert "holds litter" in refused(iris, 1, "test", run, litter, "-q")
    assert not (tmp_path / "x").exists()


def test_a_run_behind_resume_is_not_taken_for_pairs(iris: Callable, shards: Path, run: Path) -> None:
    for folder in (run, run / "checkpoints"):
        said = refused(iris, 2, "train", shards, "--out", run, "--resume", folder, *SHORT)
        assert f"{folder} is a run, not shards" in said and "NAME.pt" in said


@pytest.mark.parametrize("option", ["network", "optimizer", "schedule"])
def test_a_name_that_nothing_answers_to_leaves_the_folder_as_it_was(
    iris: Callable, shards: Path, run: Path, option: str
) -> None:
    before = sorted(run.rglob("*"))
    said = refused(iris, 2, "train", shards, "--out", run, "--overwrite", f"--{option}", "papre", *SHORT)
    assert f"unknown {option} 'papre'" in said and sorted(run.rglob("*")) == before
    refused(iris, 2, "train", shards, "--out", run.parent / "new", f"--{option}", "papre", *SHORT)
    assert not (run.parent / "new").exists()


def test_overwrite_leaves_a_folder_alone_that_is_no_run(iris: Callable, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("config.toml", "metrics.jsonl"):
        (tmp_path / "mine" / name).write_text("epochs = 3\n")
    said = refused(iris, 1, "train", shards, "--out", tmp_path / "mine", "--overwrite", *SHORT)
    assert "something else than a run" in said
    assert {p.name: p.read_text() for p in (tmp_path / "mine").iterdir()} == {
        "config.toml": "epochs = 3\n",
        "metrics.jsonl": "epochs = 3\n",
    }


def test_overwrite_leaves_checkpoints_alone_that_are_not_the_run_s(iris: Callable, run: Path, shards: Path) -> None:
    (run / "checkpoints" / "kept.pt").write_text("mine")
    assert iris("train", shards, "--out", run, "--overwrite", *SHORT).code == 0
    assert (run / "checkpoints" / "kept.pt").read_text() == "mine"


def test_a_run_and_an_ensemble_do_not_share_a_folder(iris: Callable, run: Path, shards: Path, tmp_path: Path) -> None:
    """A test of the folder would take one of them for the other."""
    assert "holds a single run" in refused(iris, 2, "train", shards, "--out", run, "--members", 2, *SHORT)
    both = tmp_path / "both"
    assert iris("train", shards, "--out", both, "--members", 2, *SHORT).code == 0
    for more in ("--overwrite", "--resume"):
        assert "ensemble of 2" in refused(iris, 2, "train", shards, "--out", both, more, *SHORT)
    words = ("train", shards, "--out", tmp_path / "three", *SHORT, "--members")
    assert iris(*words, 3).code == 0
    assert "more than the 2" in refused(iris, 2, *words, 2, "--overwrite")


def test_members_do_not_all_go_on_from_one_checkpoint(iris: Callable, run: Path, shards: Path, tmp_path: Path) -> None:
    best = run / "checkpoints" / "best.pt"
    words = ("train", shards, "--out", tmp_path / "e", "--members", 2, "--resume", best, "--force", *SHORT)
    assert "2 members cannot all go on from" in refused(iris, 2, *words)


def test_a_run_is_not_resumed_and_replaced_at_once(iris: Callable, run: Path, shards: Path) -> None:
    kept = sorted(p.name for p in (run / "checkpoints").iterdir())
    said = refused(iris, 2, "train", shards, "--out", run, "--resume", "--overwrite", *SHORT)
    assert "--resume or --overwrite" in said and sorted(p.name for p in (run / "checkpoints").iterdir()) == kept


def test_a_configuration_that_is_a_folder_is_told(iris: Callable, shards: Path, tmp_path: Path) -> None:
    said = refused(iris, 2, "train", shards, "--out", tmp_path / "x", "--config", tmp_path, *SHORT)
    assert "cannot be read" in said


def test_what_cannot_be_resumed_leaves_no_folder(iris: Callable, run: Path, shards: Path, tmp_path: Path) -> None:
    words = ("train", shards, "--out", tmp_path / "x", *SHORT, "--resume")
    assert "does not exist" in refused(iris, 1, *words, tmp_path / "nope.pt")
    refused(iris, 1, *words, run / "checkpoints" / "best.pt", "--seed", 7)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("epochs = 2\n[noise]\nmean_K = nan", "noise: mean_K = nan"),
        ("[optimizer]\nlearning_rate = inf", "optimizer: learning_rate = inf"),
        ("[schedule]\nhalve_after_epochs = [1.0, nan]", "schedule: halve_after_epochs"),
        ("[noise]\nobserved_per_K = 0.0", "noise: observed_per_K = 0.0"),
        ("gradient_clip = inf", "gradient_clip = inf"),
    ],
)
def test_numbers_that_are_none_are_refused(iris: Callable, shards: Path, tmp_path: Path, file: str, says: str) -> None:
    (tmp_path / "c.toml").write_text(file)
    said = refused(iris, 2, "train", shards, "--out", tmp_path / "x", "--config", tmp_path / "c.toml", *SHORT)
    assert says in said and not (tmp_path / "x").exists()


def test_processes_that_left_over_variables_keep_from_starting_are_missed(
    iris: Callable, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    said = refused(iris, 2, "train", shards, "--out", tmp_path / "x", "--nproc-per-node", 2, *SHORT)
    assert "left over" in said and "unset RANK and WORLD_SIZE" in said


def test_another_optimizer_can_be_forced_and_begins_anew(iris: Callable, run: Path, shards: Path) -> None:
    words = ("train", shards, "--out", run, "--resume", *SHORT, "--epochs", 2, "--optimizer", "sgd")
    assert "optimizer" in refused(iris, 1, *words)
    ran = iris(*words, "--force")
    assert ran.code == 0 and "another optimizer" in ran.err


def test_files_that_are_no_checkpoints_are_told_in_a_line(
    iris: Callable, run: Path, shards: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "odd.pt"
    odd.write_text("hello world\n")
    assert "no whole checkpoint" in refused(iris, 1, "test", odd, shards)
    assert "no whole state dict" in refused(iris, 1, "import-checkpoint", odd, tmp_path / "x", "--preset", "tiny")
    body = torch.load(run / "checkpoints" / "best.pt", weights_only=True)
    for changed in ({**body, "more": 1}, {"format": body["format"]}, {**body, "progress": {"epoch": 1, "x": 2}}):
        torch.save(changed, odd)
        assert "does not hold what a checkpoint holds" in refused(iris, 1, "test", odd, shards)


def test_nothing_is_claimed_of_a_split_that_does_not_exist(iris: Callable, run: Path, shards: Path) -> None:
    ran = iris("test", run, shards, "--split", "nope", "-q")
    assert ran.code == 1 and "no split 'nope'" in ran.err and "trained on" not in ran.err


def test_litter_and_none_at_once_is_refused(iris: Callable, run: Path, shards: Path) -> None:
    assert "contradict" in refused(iris, 2, "test", run, shards, "--litter", shards, "--no-litter")


def test_a_test_on_another_sky_is_refused_though_the_image_is_as_large(
    iris: Callable, run: Path, tmp_path: Path
) -> None:
    other = write_pairs(tmp_path / "other", {"test": range(4)}, grid=another_sky(v_max_km_s=150.0))
    said = refused(iris, 1, "test", run, other, "-q")
    assert "v_max_km_s = 200.0" in said and "150.0" in said
    assert load(run / "checkpoints" / "best.pt").data.grid.v_max_km_s == 200.0


def test_ctrl_c_before_the_program_is_awake_is_no_traceback() -> None:
    script = (
        "import runpy, sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, *more):\n"
        "        if name == 'iris_cli.commands':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "runpy.run_module('iris_cli', run_name='__main__')\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 130 and ran.stderr.startswith("error: interrupted") and ran.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--torchrun", "'open"), "--torchrun cannot be taken apart"),
        (("--torchrun=--nnodes=many",), "torchrun refuses '--nnodes=many'"),
        (("--torchrun=--rdzv-backend=nope",), "'nope' is not registered"),
        (("--seed", 2**63), "below 2^63"),
        (("--observer", "simple"), "observed already (leave out --observer)"),
    ],
)
def test_values_that_cannot_be_are_told_in_a_line(
    iris: Callable, shards: Path, tmp_path: Path, words: tuple, says: str
) -> None:
    assert says in refused(iris, 2, "train", shards, "--out", tmp_path / "x", *words, *SHORT)
    assert not (tmp_path / "x").exists()


def test_ranks_that_cannot_meet_are_told_in_a_line(
    iris: Callable, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def alone(options: object) -> None:
        raise RendezvousConnectionError("The connection has failed. See inner exception for details.")

    monkeypatch.setattr(torch.distributed.run, "run", alone)
    said = refused(iris, 1, "train", shards, "--out", tmp_path / "x", "--nproc-per-node", 2, *SHORT)
    assert "the ranks could not meet: The connection has failed (" in said


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 9 TiB"),
        torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 9 TiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_a_lack_of_memory_is_told_in_a_line(
    iris: Callable, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def greedy(*words: object, **how: object) -> None:
        raise error

    monkeypatch.setattr("iris_cli.training.train.train_reverter", greedy)
    said = refused(iris, 1, "train", shards, "--out", tmp_path / "x", *SHORT)
    assert "error: not enough memory: " in said and "--dry-run" in said


def test_a_tensor_that_cannot_be_read_on_the_fly_is_told_as_a_shard_is(iris: Callable, tmp_path: Path) -> None:
    assert iris("mock", tmp_path / "standard", "-n", 4, "-q").code == 0
    damaged = tmp_path / "standard" / "tensor_000000.npy"
    tensor = np.load(damaged)
    tensor[0, 1, 1, 1] = np.nan
    np.save(damaged, tensor)
    words = ("train", tmp_path / "standard", "--observer", "simple", *SHORT)
    said = refused(iris, 1, *words, "--out", tmp_path / "run")
    assert said.startswith(f"error: {damaged}: v_los holds 1 NaN")
    skipped = iris(*words, "--out", tmp_path / "other", "--on-bad-sample", "skip")
    assert skipped.code == 0 and "1 sample could not be read" in skipped.err
