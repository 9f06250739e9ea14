"""`iris compare-sky`: the statistics of a cube beside those of a run, of shards, and of mock galaxies made now."""

import json

import pytest

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError
from iris_cli.evaluation.image_statistics import STATISTICS
from iris_cli.telescope.compare_sky import compare_sky, set_of_run, set_of_shards
from iris_cli.telescope.revert import revert
from tests.telescope import sky

#: 16 x 16 pixels on the cube of `sky`, and an observer in equilibrium, which needs no table.
SMALL = "[grid]\nr_steps = 8\nr_crop_max = 8\nlat_steps = 4\nlon_steps = 16\nv_steps = 16\n"
LIMITS = "lon_min_deg = -0.3\nlon_max_deg = 0.3\nlat_min_deg = -0.05\nlat_max_deg = 0.05\n"
SPEEDS = "v_min_km_s = -100.0\nv_max_km_s = 100.0\n"
LTE = '[synthetic]\npopulations = "lte"\n'


def test_a_run_gives_the_score_that_revert_gives(folder):
    made = compare_sky([folder / "cube.fits"], set_of_run(folder / "run"))
    assert made.score == revert([folder / "run"], [folder / "cube.fits"]).record.quality.input_score
    assert made.score.unlike and made.score.held_out == 40


def test_the_command_prints_the_most_unusual_first_and_draws_it(iris, folder, tmp_path):
    words = ("compare-sky", folder / "cube.fits", "--shards", folder / "shards", "--figure", tmp_path / "sky.png")
    ran = iris(*words, "-q")
    assert ran.code == 0, ran.err
    score = compare_sky([folder / "cube.fits"], set_of_shards(folder / "shards")).score
    places = [ran.out.index(f"│ {name} ") for name in score.statistics]
    assert places == sorted(places) and set(score.statistics) == set(STATISTICS)
    assert str(score) in ran.out and ran.out.rstrip().endswith("sky.png")
    assert (tmp_path / "sky.png").stat().st_size > 20_000
    assert "--overwrite" in iris(*words, "-q").err
    made = json.loads(iris(*words, "--overwrite", "--json", "-q").out)
    first = next(iter(made["statistics"].values()))
    assert made["unlike"] is True and first["deviation"] == score.statistics[next(iter(score.statistics))].deviation
    assert made["set"] == str(folder / "shards") and made["input"]["shape"] == [32, 32]


def test_mock_galaxies_are_made_and_observed_for_the_comparison(iris, folder, tmp_path):
    (tmp_path / "cube.toml").write_text(SMALL + LIMITS + SPEEDS)
    (tmp_path / "observe.toml").write_text(LTE)
    (tmp_path / "mock.toml").write_text("clouds = [2, 4]\nturbulence_cell_pc = 20.0\n")
    words = ("--observing", tmp_path / "observe.toml", "--config", tmp_path / "cube.toml", "-n", 3, "--json", "-q")
    ran = [
        iris("compare-sky", folder / "cube.fits", "--mock", tmp_path / "mock.toml", *words, "--seed", seed)
        for seed in (0, 0, 1)
    ]
    assert [each.code for each in ran] == [0, 0, 0], ran[0].err
    one, again, other = (json.loads(each.out) for each in ran)
    assert one == again and one["statistics"] != other["statistics"]
    assert one["held_out"] == 3 and one["input"]["shape"] == [16, 16]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("CUBE",), 2, "give one of --run, --shards and --mock"),
        (("CUBE", "--run", "RUN", "--shards", "SHARDS"), 2, "give one of"),
        (("CUBE", "--run", "RUN", "--preset", "tiny"), 2, "are for --mock"),
        (("CUBE", "--mock", "default", "--observing", "SIMPLE"), 1, "a telescope's cube holds temperatures"),
        (("CUBE", "--mock", "default", "--preset", "tiny", "--config", "GRID"), 2, "both give a grid"),
        (("CUBE", "--mock", "gone.toml"), 2, "gone.toml"),
        (("CUBE", "--mock", "default", "--observing", "SIMPLE", "--survey", "mopra-hnco"), 2, "both give an observer"),
        (("CUBE", "--shards", "SHARDS", "--figure", "sky.gif"), 2, ".png"),
        (("gone.fits", "--shards", "SHARDS"), 1, "does not exist"),
    ],
)
def test_an_impossible_comparison_is_one_line_and_leaves_nothing(
    iris, folder, tmp_path, monkeypatch, words, code, message
):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    named = {"RUN": folder / "run", "SHARDS": folder / "shards", "CUBE": folder / "cube.fits"}
    named |= {"SIMPLE": tmp_path / "simple.toml", "GRID": tmp_path / "grid.toml"}
    named["SIMPLE"].write_text('observer = "simple"\n')
    named["GRID"].write_text(SMALL)
    ran = iris("compare-sky", *(named.get(word, word) for word in words))
    assert ran.code == code and message in ran.err and "Traceback" not in ran.err
    assert not list(here.iterdir())


def test_a_survey_that_fills_too_little_is_refused(folder, path):
    known, cube = set_of_shards(folder / "shards"), sky.cube(path, cards={"CDELT1": -0.001})
    with pytest.raises(DataError, match="too little of the image"):
        compare_sky([cube], known, config=CubeConfig(min_coverage=0.001))
