"""`iris test --report`: what the folder holds, that it agrees with the plain test, and what goes wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from iris_cli.config.train import Noise, TrainConfig
from iris_cli.training.train import train_run
from tests.commands.errors import error_of
from tests.training.makers import another_sky, write_pairs

MEASURES = {
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
}
CURVES = {
    "iou",
    "enclosed_mass_true",
    "enclosed_mass_pred",
    "enclosed_mass_ratio",
    "surface_density_true",
    "surface_density_pred",
    "power_ratio",
    "cross_correlation",
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 galaxies in the test split, two views each."""
    splits = {"train": range(10), "validation": range(100, 104), "test": range(200, 216)}
    return write_pairs(tmp_path_factory.mktemp("pairs") / "shards", splits)


@pytest.fixture(scope="module")
def ensemble(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "ensemble"
    folder.mkdir()
    for seed in (1, 2, 3):
        hyper = TrainConfig(
            epochs=1, batch_size=4, batches_per_update=2, seed=seed, data=(str(shards),), noise=Noise(sigma_K=0.3)
        )
        train_run(hyper, folder / f"member-{seed:02d}", quiet=True)
    return folder


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("other") / "family", {"test": range(500, 504)})


def test_a_report_holds_the_numbers_of_the_plain_test_and_much_more(
    iris: Callable, ensemble: Path, shards: Path, family: Path, tmp_path: Path
) -> None:
    run, out = ensemble / "member-02", tmp_path / "report"
    plain = json.loads(iris("test", run, shards, "--json", "-q").out)
    ran = iris("test", run, shards, "--report", out, "--against", family, "--json", "-q")
    assert ran.code == 0 and json.loads(ran.out)["report"] == str(out / "report.html"), ran.err
    told = json.loads((out / "report.json").read_text())
    assert {name: told[name] for name in plain} == plain  # to the last digit
    assert list(told["sets"]) == ["normal", "noise only", "velocity mirrored", "against family"]
    for found in told["sets"].values():
        assert found["numbers"].keys() == MEASURES and found["curves"].keys() == CURVES
        for curve in found["curves"].values():
            assert len(curve["x"]) == len(curve["mean"]) == len(curve["low"]) == len(curve["median"])
    normal = told["sets"]["normal"]
    assert (normal["pairs"], normal["sources"]) == (16, 8) and told["sets"]["against family"]["sources"] == 2
    for name in MEASURES - {"skill"}:
        number = normal["numbers"][name]
        assert number["mean"] == told[name] and number["low"] <= number["mean"] <= number["high"], name
    skill = normal["numbers"]["skill"]
    assert skill["mean"] == pytest.approx(told["skill"]) and skill["low"] < skill["mean"] < skill["high"]
    assert skill["median"] is None  # a number made of sums has none
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report"]


def test_the_page_shows_every_table_and_holds_its_figures(
    iris: Callable, ensemble: Path, shards: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    ran = iris("test", ensemble, shards, "--report", out, "-q")
    assert ran.code == 0 and "spread_skill" in ran.out and str(out / "report.html") in ran.out, ran.err
    told = json.loads((out / "report.json").read_text())
    assert told["members"] == 3
    page, words = (out / "report.html").read_text(), (out / "report.md").read_text()
    for name in ("loss", "crps", "coverage", "velocity mirrored", "noise only", "median", "95% interval"):
        assert name in page and name in words, name
    assert f"{told['loss']:.4g}" in page and f"{told['loss']:.4g}" in words
    pictures = {"pairs", "stress", "profiles", "spectra", "overlap", "calibration"}
    assert page.count("data:image/png;base64,") == len(pictures)
    assert not re.search(r'(src|href)="(?!data:)', page)  # nothing outside the file
    linked = set(re.findall(r"\]\((\w+)\.png\)", words))
    assert linked == pictures == {path.stem for path in out.glob("*.png")}
    for path in out.glob("*.png"):
        assert (
            f"--report {out}" in Image.open(path).info["Description"]
        )  # a copy in a paper still says where it is from


def test_an_ensemble_without_a_report_tells_spread_and_coverage(iris: Callable, ensemble: Path, shards: Path) -> None:
    told = json.loads(iris("test", ensemble, shards, "--json", "-q").out)
    found = told["ensemble"]
    assert found["nominal_coverage"] == [0.5] and 0 <= found["coverage"][0] <= 1
    assert found["spread"] > 0 and found["crps"] < found["mean_absolute_error"] and told["members"] == 3
    alone = json.loads(iris("test", ensemble / "member-01", shards, "--json", "-q").out)
    assert "ensemble" not in alone and alone["loss"] != told["loss"]


def refused(iris: Callable, code: int, *words: object) -> str:
    return error_of(iris("test", *words, "-q"), code)


def test_a_folder_that_is_there_is_kept_unless_it_may_go(
    iris: Callable, ensemble: Path, shards: Path, tmp_path: Path
) -> None:
    (tmp_path / "note").write_text("mine")
    run = ensemble / "member-01"
    assert "exists" in refused(iris, 1, run, shards, "--report", tmp_path)
    assert "something other than a report" in refused(iris, 1, run, shards, "--report", tmp_path, "--overwrite")
    assert [p.name for p in tmp_path.iterdir()] == ["note"] and (tmp_path / "note").read_text() == "mine"
    out = tmp_path / "report"
    out.mkdir()
    (out / "report.json").write_text("an older one")
    (out / "old.png").write_text("")
    lone = write_pairs(tmp_path / "lone", {"test": range(600, 602)})
    assert iris("test", run, lone, "--report", out, "--overwrite", "-q").code == 0
    assert not (out / "old.png").exists()
    # A single galaxy has no interval.
    number = json.loads((out / "report.json").read_text())["sets"]["normal"]["numbers"]["loss"]
    assert number["low"] is None and number["mean"] > 0
    assert "too narrow" in (out / "report.md").read_text()


def test_what_does_not_fit_is_told_before_anything_is_written(
    iris: Callable, ensemble: Path, shards: Path, tmp_path: Path
) -> None:
    run = ensemble / "member-01"
    assert "--report" in refused(iris, 2, run, shards, "--against", shards)
    larger = write_pairs(tmp_path / "larger", {"test": range(4)}, grid=another_sky().scaled(64, 64, 16, 64))
    said = refused(iris, 1, run, shards, "--report", tmp_path / "report", "--against", larger)
    assert "32 x 32" in said and "larger" in said
    assert not (tmp_path / "report").exists()
    assert "is not a folder" in refused(iris, 1, run, shards, "--report", tmp_path / "r", "--against", tmp_path / "no")
    (tmp_path / "empty" / "member-01").mkdir(parents=True)
    assert "holds no checkpoint" in refused(iris, 1, tmp_path / "empty", shards)


def test_members_of_two_kinds_are_refused(iris: Callable, ensemble: Path, shards: Path, tmp_path: Path) -> None:
    import shutil

    mixed = tmp_path / "mixed"
    shutil.copytree(ensemble / "member-01", mixed / "member-01")
    warm = write_pairs(tmp_path / "warm", {"train": range(8)}, quantity="temperature")
    train_run(TrainConfig(epochs=1, batch_size=4, data=(str(warm),)), mixed / "member-02", quiet=True)
    assert "differ in quantity" in refused(iris, 1, mixed, shards)
