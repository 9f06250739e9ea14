from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from iris_cli.commands.train import spelled_out
from tests.training.makers import another_sky, write_pairs

SHORT = ("--epochs", 1, "--batch-size", 4, "--accumulate", 2, "-q")
KEYS = {
    "pairs",
    "loss",
    "loss_zero",
    "loss_mean_image",
    "skill",
    "rmse_dex",
    "pearson_asinh",
    "ssim_asinh",
    "mass_ratio",
    "near_far_error",
    "near_far_sign_right",
    "near_far_pairs",
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    splits = {"train": range(10), "validation": range(100, 104), "test": range(200, 205)}
    return write_pairs(tmp_path_factory.mktemp("pairs") / "shards", splits)


@pytest.fixture(scope="module")
def litter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("litter") / "litter", {"litter": range(300, 304)}, litter=True)


@pytest.fixture
def run(iris: Callable, shards: Path, litter: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    ran = iris("train", shards, "--litter", litter, "--noise-sigma-k", 1, "--out", folder, *SHORT)
    assert ran.code == 0, ran.err
    return folder


def test_training_leaves_its_configuration_its_metrics_and_its_checkpoints(run: Path, shards: Path) -> None:
    config = tomllib.loads((run / "config.toml").read_text())
    assert config["epochs"] == 1 and config["noise"]["sigma_K"] == 1.0 and config["data"] == [str(shards)]
    kinds = [json.loads(line)["kind"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert kinds == ["step", "epoch"]
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["best.pt", "step-000000002.pt"]


def test_a_test_tells_people_a_table_and_machines_the_same_numbers(iris: Callable, run: Path, shards: Path) -> None:
    table, report = iris("test", run, shards, "-q"), iris("test", run, shards, "--json", "-q")
    assert table.code == report.code == 0
    told = json.loads(report.out)
    assert told.keys() >= KEYS and told["pairs"] == 5 and told["split"] == "test"
    assert f"{told['loss']:.4g}" in table.out and "near_far_sign_right" in table.out
    assert report.err == ""


def test_a_test_takes_over_what_a_file_says_and_flags_win(
    iris: Callable, run: Path, shards: Path, tmp_path: Path
) -> None:
    """Table by table: what the file does not name of the noise is as in training."""
    (tmp_path / "t.toml").write_text('batch_size = 3\nlitter = ""\n[noise]\nsigma_K = 0.0\n')
    words = ("test", run, shards, "--json", "-q", "--device", "cpu")
    quiet, by_flags = (
        json.loads(iris(*words, *more).out)
        for more in (("--config", tmp_path / "t.toml"), ("--noise-sigma-k", 0, "--no-litter"))
    )
    assert quiet["loss"] == pytest.approx(by_flags["loss"], rel=1e-6)
    noisy, as_trained = (
        json.loads(iris(*words, *more).out)
        for more in (("--config", tmp_path / "t.toml", "--noise-sigma-k", 1, "--no-litter"), ("--no-litter",))
    )
    assert noisy["loss"] == pytest.approx(as_trained["loss"], rel=1e-6) and noisy["loss"] != quiet["loss"]
    (tmp_path / "t.toml").write_text("bathc_size = 3\n")
    ran = iris(*words, "--config", tmp_path / "t.toml")
    assert ran.code == 2 and "did you mean 'batch_size'?" in ran.err


def test_a_test_repeats_the_noise_and_litter_of_the_training_unless_told_otherwise(
    iris: Callable, run: Path, shards: Path, litter: Path
) -> None:
    def loss(*words: object) -> float:
        return json.loads(iris("test", run, shards, "--json", "-q", *words).out)["loss"]

    assert loss() == loss("--noise-sigma-k", 1, "--litter", litter, "--batch-size", 4)
    assert len({loss(), loss("--noise-sigma-k", 0), loss("--no-litter"), loss("--seed", 9)}) == 4


def test_a_configuration_that_a_run_has_left_trains_the_same_again(iris: Callable, run: Path, tmp_path: Path) -> None:
    config = tomllib.loads((run / "config.toml").read_text())
    again = iris("train", *config["data"], "--config", run / "config.toml", "--out", tmp_path / "again", "-q", "--json")
    assert again.code == 0, again.err
    lines = [(folder / "metrics.jsonl").read_text().splitlines()[-1] for folder in (run, tmp_path / "again")]
    assert lines[0] == lines[1]


def test_the_reference_data_of_the_field_pass_through_the_whole_line(
    iris: Callable, shared_data: Path, tmp_path: Path
) -> None:
    observed = iris("preobserve", shared_data / "reference-preobserved", tmp_path / "pairs", "-q")
    assert observed.code == 0, observed.err
    trained = iris(
        "train", tmp_path / "pairs", "--out", tmp_path / "run", "--noise-sigma-k", 0.1, *SHORT, "--epochs", 2
    )
    assert trained.code == 0, trained.err
    tested = iris("test", tmp_path / "run", tmp_path / "pairs", "--json", "-q")
    assert json.loads(tested.out)["pairs"] == 8
    standard = shared_data / "reference-standard"
    slow = iris("train", standard, "--observer", "simple", "--out", tmp_path / "slow", *SHORT)
    assert slow.code == 0, slow.err
    again = iris("test", tmp_path / "slow", standard, "--observer", "simple", "--json", "-q")
    assert json.loads(again.out)["pairs"] == 3
    assert "is what the network was trained on" in again.err  # tensors that are observed on the way are known, too


def test_resume_alone_means_auto(iris: Callable, run: Path, shards: Path, litter: Path) -> None:
    assert list(spelled_out(["a", "--resume"])) == ["a", "--resume", "auto"]
    assert list(spelled_out(["--resume", "shards", "-q"])) == ["--resume", "auto", "shards", "-q"]
    assert list(spelled_out(["--resume", "x.pt", "b"])) == ["--resume", "x.pt", "b"]
    more = ("train", shards, "--litter", litter, "--noise-sigma-k", 1, "--out", run, *SHORT, "--epochs", 2)
    assert "exists" in iris(*more).err
    resumed = iris(*more, "--resume", "--json")
    assert resumed.code == 0 and json.loads(resumed.out)["epochs"] == 2


def refused(iris: Callable, code: int, *words: object) -> str:
    """What an error says: one line, on stderr."""
    ran = iris(*words)
    lines = [line for line in ran.err.splitlines() if "error:" in line]
    assert ran.code == code and len(lines) == 1 and "Traceback" not in ran.err and ran.out == "", ran
    return lines[0]


def test_shards_of_two_grids_are_refused(iris: Callable, shards: Path, tmp_path: Path) -> None:
    other = write_pairs(tmp_path / "other", {"train": range(4)}, grid=another_sky(lon_max_deg=1.0))
    said = refused(iris, 1, "train", shards, other, "--out", tmp_path / "run", *SHORT)
    assert "lon_max_deg = 1.5 and 1.0" in said and not (tmp_path / "run").exists()


def test_litter_on_another_velocity_axis_is_refused(iris: Callable, shards: Path, tmp_path: Path) -> None:
    other = write_pairs(tmp_path / "other", {"litter": range(4)}, grid=another_sky(v_max_km_s=150.0), litter=True)
    said = refused(iris, 1, "train", shards, "--litter", other, "--out", tmp_path / "run", *SHORT)
    assert "v_max_km_s = 200.0 and 150.0" in said


def test_litter_that_is_empty_is_refused(iris: Callable, shards: Path, tmp_path: Path) -> None:
    none = write_pairs(tmp_path / "none", {"litter": range(0)}, litter=True)
    said = refused(iris, 1, "train", shards, "--litter", none, "--out", tmp_path / "run", *SHORT)
    assert "no litter" in said or "index.json" in said or "no shard" in said


def test_a_run_folder_that_cannot_be_written_is_told(iris: Callable, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "file" in refused(iris, 2, "train", shards, "--out", tmp_path / "file", *SHORT)
    said = refused(iris, 1, "train", shards, "--out", "/proc/nowhere/run", *SHORT)
    assert "/proc/nowhere" in said


def test_nothing_to_train_on_is_refused(iris: Callable, tmp_path: Path) -> None:
    none = write_pairs(tmp_path / "none", {"validation": range(4)})
    assert "no sample to train on" in refused(iris, 1, "train", none, "--out", tmp_path / "run", *SHORT)


def test_a_network_for_another_image_is_refused(iris: Callable, run: Path, tmp_path: Path) -> None:
    larger = write_pairs(tmp_path / "larger", {"test": range(4)}, grid=another_sky().scaled(64, 64, 16, 64))
    assert "32 x 32 pixels" in refused(iris, 1, "test", run, larger, "--no-litter", "-q")
    warm = write_pairs(tmp_path / "warm", {"test": range(4)}, quantity="temperature")
    assert "reads a v_density" in refused(iris, 1, "test", run, warm, "--no-litter", "-q")


def test_what_is_misspelt_is_refused_with_the_nearest_name(iris: Callable, shards: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("epoch = 3\n")
    out = ("--out", tmp_path / "run", *SHORT)
    assert "did you mean 'epochs'" in refused(iris, 2, "train", shards, "--config", tmp_path / "wrong.toml", *out)
    assert "did you mean 'adam'" in refused(iris, 2, "train", shards, "--optimizer", "adan", *out)
    assert "epochs = 0" in refused(iris, 2, "train", shards, *out, "--epochs", 0)
    assert "cuda" in refused(iris, 2, "train", shards, *out, "--device", "cudo")
    assert not (tmp_path / "run").exists()


def test_folders_of_another_kind_are_refused(iris: Callable, shards: Path, run: Path, tmp_path: Path) -> None:
    assert "is not a folder" in refused(iris, 1, "train", tmp_path / "absent", "--out", tmp_path / "r", *SHORT)
    (tmp_path / "empty").mkdir()
    assert "index.json" in refused(iris, 1, "train", tmp_path / "empty", "--out", tmp_path / "r", *SHORT)
    (tmp_path / "standard.json").write_text("{}")
    assert "--observer" in refused(iris, 2, "train", tmp_path, "--out", tmp_path / "r", *SHORT)
    assert "holds no checkpoint" in refused(iris, 1, "test", tmp_path / "empty", shards, "-q")
    assert "has no split 'tests'" in refused(iris, 1, "test", run, shards, "--split", "tests", "--no-litter", "-q")


def test_a_damaged_checkpoint_is_refused(iris: Callable, run: Path, shards: Path) -> None:
    best = run / "checkpoints" / "best.pt"
    best.write_bytes(best.read_bytes()[:1000])
    assert "not a complete checkpoint" in refused(iris, 1, "test", run, shards, "-q")


def test_a_checkpoint_that_would_run_code_is_refused(iris: Callable, shards: Path, tmp_path: Path) -> None:
    import torch

    torch.save({"format": Path}, tmp_path / "evil.pt")  # a class, which only pickle can bring back
    assert "not a complete checkpoint" in refused(iris, 1, "test", tmp_path / "evil.pt", shards, "-q")


def test_a_lonely_rank_is_told_what_was_left_over(
    iris: Callable, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    said = refused(iris, 2, "train", shards, "--out", tmp_path / "run", *SHORT)
    assert "WORLD_SIZE = 2" in said and "left over" in said
