"""From mock galaxies to a report, small: `iris demo`, and each command on its folders."""

import json

import pytest
from astropy.io import fits
from PIL import Image

SMALL = """
galaxies = 24
foregrounds = 3
[preobserve]
observer = "simple"
validation_fraction = 0.2
test_fraction = 0.25
[train]
epochs = 2
batch_size = 4
batches_per_update = 1
[train.noise]
sigma_K = 1.0
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "small.toml"
    file.write_text(SMALL)
    return file


def test_the_demonstration_writes_a_report_a_figure_and_folders_that_each_command_can_use(iris, config, tmp_path):
    out = tmp_path / "demo"
    ran = iris("demo", "--out", out, "--config", config, "-w", 1, "--json")
    assert ran.code == 0, ran.err
    assert json.loads((out / "commands.jsonl").read_text())["config"]["galaxies"] == 24
    report = json.loads((out / "report.json").read_text())
    assert report == json.loads(ran.out)
    assert report["pairs"] == 6 and report["split"] == "test"
    trivial = min(report["loss_zero"], report["loss_mean_image"])
    assert report["skill"] == pytest.approx(1 - report["loss"] / trivial)
    for figure in ("pairs.png", "map.png", "near_far.png"):
        assert "command: iris demo" in Image.open(out / figure).info["Description"]
    assert "no run was named: the network of the package is used" in ran.err
    assert fits.getheader(out / "cube.fits")["RESTFRQ"] == pytest.approx(87.925237e9, rel=1e-4)
    assert fits.getdata(out / "map.fits", "SAMPLES").shape == (64, 64, 64)
    assert "<h1" in (out / "report/report.html").read_text()
    kept = {path.name for path in out.iterdir()}
    assert {"galaxy", "shards", "litter", "run"} < kept and not kept & {"standard", "foreground"}
    assert report["bytes"] == pytest.approx(sum(f.stat().st_size for f in out.rglob("*") if f.is_file()), rel=0.01)

    assert iris("plot", "top-down", out / "galaxy", "--out", tmp_path / "truth.png").code == 0
    tested = iris("test", out / "run", out / "shards", "--json", "-q")
    again = json.loads(tested.out)
    assert [again[k] for k in ("pairs", "loss", "skill")] == [report[k] for k in ("pairs", "loss", "skill")]
    assert again["loss_zero"] == report["loss_zero"]
    short = ("--epochs", 1, "-q", "--out")
    noise = ("--litter", out / "litter", "--noise-sigma-k", 1)
    trained = iris("train", out / "shards", *noise, *short, tmp_path / "run")
    assert trained.code == 0, trained.err

    refused = iris("demo", "--out", out, "--config", config)
    assert refused.code == 1 and "exists" in refused.err
