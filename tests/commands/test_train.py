"""`iris train` and `iris test`: what they write and print, and what they refuse."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.run
from torch.distributed.elastic.rendezvous import RendezvousConnectionError

from iris_cli.commands.train import with_resume_value
from tests.commands.errors import done, error_of
from tests.training.makers import another_sky, write_pairs

SHORT = ("--epochs", 1, "--batch-size", 4, "--accumulate", 2, "-q")
KEYS = "pairs loss loss_zero loss_mean_image skill rmse_dex pearson_asinh ssim_asinh mass_ratio"
NEAR_FAR = {"near_far_error", "near_far_sign_right", "near_far_pairs"}


@pytest.fixture
def run_copy(trained_run, tmp_path):
    """A run that a test may change."""
    return Path(shutil.copytree(trained_run, tmp_path / "run"))


def refused(iris, code, *words):
    return error_of(iris(*words), code)


# --- what is written and printed --------------------------------------------------------------------------------------


def test_a_training_writes_a_run_and_resumes(iris, tiny_shards, tiny_litter, tmp_path):
    words = ("train", tiny_shards, "--litter", tiny_litter, "--noise-sigma-k", 1, "--out", tmp_path / "run", *SHORT)
    assert iris(*words).code == 0
    config = tomllib.loads((tmp_path / "run/config.toml").read_text())
    assert config["epochs"] == 1 and config["noise"]["sigma_K"] == 1.0 and config["data"] == [str(tiny_shards)]
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert kinds == ["step", "epoch"]
    assert sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir()) == ["best.pt", "step-000000002.pt"]

    again = tmp_path / "again"
    done(iris("train", *config["data"], "--config", tmp_path / "run/config.toml", "--out", again, "-q", "--json"))
    lines = [(folder / "metrics.jsonl").read_text().splitlines()[-1] for folder in (tmp_path / "run", again)]
    assert lines[0] == lines[1], "its configuration trains the same again"

    as_in_training = ("--noise-sigma-k", 1, "--litter", tiny_litter, "--batch-size", 4)
    given = ((), as_in_training, ("--noise-sigma-k", 0), ("--no-litter",), ("--seed", 9))
    tests = [iris("test", tmp_path / "run", tiny_shards, "--json", "-q", *more) for more in given]
    losses = [json.loads(ran.out)["loss"] for ran in tests]
    assert losses[0] == losses[1], "a test has the noise and the litter of the training"
    assert len(set(losses)) == 4, "unless they are given"

    assert "exists" in refused(iris, 2, *words, "--epochs", 2)
    resumed = iris(*words, "--epochs", 2, "--resume", "--json")
    assert resumed.code == 0 and json.loads(resumed.out)["epochs"] == 2


def test_a_test_prints_a_table_or_the_same_numbers_as_json(iris, trained_run, tiny_shards):
    table, report = (iris("test", trained_run, tiny_shards, *more, "-q") for more in ((), ("--json",)))
    assert table.code == report.code == 0
    found = json.loads(report.out)
    assert found.keys() >= {*KEYS.split(), *NEAR_FAR} and found["pairs"] == 5 and found["split"] == "test"
    assert f"{found['loss']:.4g}" in table.out and "near_far_sign_right" in table.out
    assert report.err == ""


def test_a_test_has_its_own_configuration(iris, trained_run, tiny_shards, tmp_path):
    """Table by table: what the file does not name of the noise is as in training."""
    (tmp_path / "t.toml").write_text("batch_size = 3\n[noise]\nsigma_K = 0.0\n")
    words = ("test", trained_run, tiny_shards, "--json", "-q", "--device", "cpu")
    by_file = ("--config", tmp_path / "t.toml")
    more = ((), ("--noise-sigma-k", 1), ("--noise-sigma-k", 0))
    trained, by_flag, silent = (json.loads(iris(*words, *each).out)["loss"] for each in more)
    by_file_and_flag, by_file_alone = (
        json.loads(iris(*words, *by_file, *each).out)["loss"] for each in (("--noise-sigma-k", 1), ())
    )
    assert by_file_alone == pytest.approx(silent, rel=1e-6) and silent != trained
    assert trained == by_flag == pytest.approx(by_file_and_flag, rel=1e-6)
    (tmp_path / "t.toml").write_text("bathc_size = 3\n")
    assert "did you mean 'batch_size'?" in refused(iris, 2, *words, *by_file)


def test_data_of_the_paper_code_are_trained_on_and_tested(iris, shared_data, tmp_path):
    done(iris("preobserve", shared_data / "reference-preobserved", tmp_path / "pairs", "-q"))
    done(iris("train", tmp_path / "pairs", "--out", tmp_path / "run", "--noise-sigma-k", 0.1, *SHORT))
    test = ("test", tmp_path / "run", tmp_path / "pairs", "-q")
    assert "trained on" in refused(iris, 1, *test)
    assert json.loads(iris(*test, "--overlap", "allow", "--json").out)["pairs"] == 8
    standard = shared_data / "reference-standard"
    one_galaxy = ("--observer", "simple", "--validation-fraction", 0)
    done(iris("train", standard, *one_galaxy, "--out", tmp_path / "slow", *SHORT))
    again = iris("test", tmp_path / "slow", standard, "--observer", "simple", "--overlap", "allow", "--json", "-q")
    assert json.loads(again.out)["pairs"] == 3
    assert "was trained on" in again.err  # also of tensors that are observed during training


def test_resume_alone_means_auto():
    assert list(with_resume_value(["a", "--resume"])) == ["a", "--resume", "auto"]
    rest = ["shards", "--out", "run"]
    assert list(with_resume_value(["--resume", *rest])) == ["--resume", "auto", *rest]
    assert list(with_resume_value(["--resume", "run", "-q"])) == ["--resume", "run", "-q"]
    assert list(with_resume_value(["--resume", "x.pt", "b"])) == ["--resume", "x.pt", "b"]


def test_a_run_is_resumed_by_its_name_from_any_folder(iris, tiny_shards, tiny_litter, tmp_path, monkeypatch):
    run = tmp_path / "my run's"
    monkeypatch.chdir(tiny_shards.parent)
    options = ("--litter", os.path.relpath(tiny_litter), "--noise-sigma-k", 1, "--seed", 5, "--ema", 0.5, *SHORT)
    assert iris("train", tiny_shards.name, "--out", run, *options).code == 0
    hint = refused(iris, 2, "train", tiny_shards.name, "--out", run, *options).split("hint: ")[1]
    monkeypatch.chdir(tmp_path)
    words = shlex.split(hint.split("`")[1])
    assert words == ["iris", "train", "--resume", str(run)]
    before = (run / "config.toml").read_text()
    assert iris(*words[1:], "-q").code == 0 and (run / "config.toml").read_text() == before
    assert iris(*words[1:], "--epochs", 2, "--seed", 5, "-q", "--json").code == 0
    assert (run / "config.toml").read_text() == before.replace("epochs = 1\n", "epochs = 2\n", 1)
    error = refused(iris, 1, *words[1:], "--seed", 6, "--noise-sigma-k", 2)
    assert "seed: 5 in the checkpoint, 6 now" in error and "'sigma_K': 2.0" in error and "1.0" in error
    assert "data: " in refused(iris, 1, *words[1:-1], run, write_pairs(tmp_path / "other", {"train": range(4)}))
    (run / "config.toml").write_text(before.replace(str(tiny_shards), "/gone"))
    assert f"iris train SHARDS --resume {shlex.quote(str(run))}" in refused(iris, 1, *words[1:])


def test_an_ensemble_is_resumed_by_its_name_with_all_members(iris, tiny_shards, tmp_path):
    run = tmp_path / "run"
    assert iris("train", tiny_shards, "--out", run, "--members", 2, *SHORT).code == 0
    shutil.rmtree(run / "member-02")
    assert iris("train", "--resume", run, "-q").code == 0
    seeds = [tomllib.loads((run / f"member-0{k}/config.toml").read_text())["seed"] for k in (1, 2)]
    assert seeds == [0, 1]
    (run / "members.json").write_text("[")
    assert "--members N" in refused(iris, 2, "train", "--resume", run)


def test_the_run_folder_may_be_here(iris, tiny_shards, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done(iris("train", tiny_shards, "--out", ".", *SHORT))
    assert (tmp_path / "checkpoints" / "best.pt").exists()


# --- data -------------------------------------------------------------------------------------------------------------


def test_a_test_on_other_images_than_the_training_is_refused(iris, trained_run, tmp_path):
    larger = write_pairs(tmp_path / "larger", {"test": range(4)}, grid=another_sky().scaled(64, 64, 16, 64))
    assert "32 x 32 pixels" in refused(iris, 1, "test", trained_run, larger, "-q")
    warm = write_pairs(tmp_path / "warm", {"test": range(4)}, quantity="temperature")
    assert "reads a v_density" in refused(iris, 1, "test", trained_run, warm, "-q")
    other = write_pairs(tmp_path / "other", {"test": range(4)}, grid=another_sky(v_max_km_s=150.0))
    error = refused(iris, 1, "test", trained_run, other, "-q")
    assert "v_max_km_s = 200.0" in error and "150.0" in error


def test_a_tensor_that_cannot_be_read_during_training_is_an_error_or_skipped(iris, tmp_path):
    assert iris("mock", tmp_path / "standard", "-n", 4, "-q").code == 0
    damaged = tmp_path / "standard" / "tensor_000000.npy"
    tensor = np.load(damaged)
    tensor[0, 1, 1, 1] = np.nan
    np.save(damaged, tensor)
    words = ("train", tmp_path / "standard", "--observer", "simple", *SHORT)
    error = refused(iris, 1, *words, "--out", tmp_path / "run")
    assert error.startswith(f"error: {damaged}: v_los holds 1 NaN")
    skipped = iris(*words, "--out", tmp_path / "other", "--on-bad-sample", "skip")
    assert skipped.code == 0 and "1 sample could not be read" in skipped.err


# --- options ----------------------------------------------------------------------------------------------------------


# --- run folders and checkpoints --------------------------------------------------------------------------------------


def test_another_optimizer_can_be_forced_and_starts_afresh(iris, run_copy, tiny_shards):
    config = ("--config", run_copy / "config.toml", "--epochs", 2, "--optimizer", "sgd", "-q")
    words = ("train", tiny_shards, "--out", run_copy, "--resume", *config)
    assert "optimizer" in refused(iris, 1, *words)
    ran = iris(*words, "--force")
    assert ran.code == 0 and "another optimizer" in ran.err


def test_another_file_is_no_checkpoint(iris, trained_run, tiny_shards, tmp_path):
    odd = tmp_path / "odd.pt"
    odd.write_text("hello world\n")
    assert "not a complete checkpoint" in refused(iris, 1, "test", odd, tiny_shards)
    torch.save({"format": Path}, odd)  # a class, which only pickle can restore
    assert "not a complete checkpoint" in refused(iris, 1, "test", odd, tiny_shards, "-q")
    body = torch.load(trained_run / "checkpoints/best.pt", weights_only=True)
    for changed in ({**body, "more": 1}, {"format": body["format"]}, {**body, "progress": {"epoch": 1, "x": 2}}):
        torch.save(changed, odd)
        assert "does not hold what a checkpoint holds" in refused(iris, 1, "test", odd, tiny_shards)


# --- processes and memory ---------------------------------------------------------------------------------------------


def test_left_over_ranks_are_refused(iris, tiny_shards, tmp_path, monkeypatch):
    words = ("train", tiny_shards, "--out", tmp_path / "run", *SHORT)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    error = refused(iris, 2, *words)
    assert "WORLD_SIZE = 2" in error and "left over" in error
    monkeypatch.setenv("WORLD_SIZE", "1")
    error = refused(iris, 2, *words, "--nproc-per-node", 2)
    assert "starts no processes" in error and "unset RANK and WORLD_SIZE" in error


def test_unconnected_ranks_fail(iris, tiny_shards, tmp_path, monkeypatch):
    def alone(options):
        raise RendezvousConnectionError("The connection has failed. See inner exception for details.")

    monkeypatch.setattr(torch.distributed.run, "run", alone)
    error = refused(iris, 1, "train", tiny_shards, "--out", tmp_path / "x", "--nproc-per-node", 2, *SHORT)
    assert "The connection has failed hint: " in error


def test_ctrl_c_during_the_start_is_no_traceback():
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
    assert ran.returncode == 130 and ran.stderr == "error: interrupted\nhint: run it again\n"
