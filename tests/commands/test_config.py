"""`iris config`: defaults, presets, files and folders."""

import json
import tomllib

import pytest

from iris_cli.config.catalogue import CONFIGS, PRESETS
from iris_cli.config.describe import kind
from iris_cli.config.setting import unit_of
from iris_cli.config.toml import from_dict
from iris_cli.config.train import Noise, TrainConfig
from tests.snapshots.snapshots import galaxy, write


@pytest.mark.parametrize("name", CONFIGS)
def test_a_shown_configuration_is_a_file_with_the_defaults(iris, tmp_path, name):
    ran = iris("config", "show", name)
    assert ran.code == 0
    assert from_dict(CONFIGS[name].cls, tomllib.loads(ran.out)) == CONFIGS[name].cls()
    (tmp_path / "file.toml").write_text(ran.out)
    checked = iris("config", "validate", tmp_path / "file.toml")
    assert checked.code == 0 and f"fits `{CONFIGS[name].command} --config`" in checked.out


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_shown_by_name(iris, name):
    ran = iris("config", "show", name)
    assert from_dict(type(PRESETS[name]), tomllib.loads(ran.out)) == PRESETS[name]


def test_a_file_is_shown_with_all_its_defaults_and_its_comments(iris, tmp_path):
    (tmp_path / "t.toml").write_text("epochs = 3\n[noise]\nsigma_K = 0.5\n")
    out = iris("config", "show", tmp_path / "t.toml").out
    shown = from_dict(TrainConfig, tomllib.loads(out))
    assert shown == TrainConfig(epochs=3, noise=Noise(sigma_K=0.5))
    assert "# Batches of one optimizer step.\nbatches_per_update = 1" in out


def test_a_table_that_may_be_left_out_is_shown_when_it_is_there(iris, tmp_path):
    assert "# [grid]  (left out)" in iris("config", "show", "cube").out
    (tmp_path / "c.toml").write_text("[grid]\nr_steps = 64\nr_crop_max = 64\n")
    out = iris("config", "show", tmp_path / "c.toml", "--for", "cube").out
    assert tomllib.loads(out)["grid"]["r_steps"] == 64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("latitud = 'max'\n", ("unknown key 'latitud'", "did you mean 'latitude'?")),
        ("epochs = 3\n[optimizer]\nlearning_rat = 0.1\n", ("optimizer", "did you mean 'learning_rate'?")),
        ("epochs = 'many'\n", ("epochs must be of type int, not 'many'",)),
        ("epochs = 3.5\n", ("epochs must be of type int, not 3.5",)),
        ("epochs = true\n", ("epochs must be of type int, not True",)),
        ("stop_signals = 'TERM'\n", ("stop_signals must be a list",)),
        ("epochs = 0\n", ("epochs = 0", "1 or more")),
        ("turbulence_contrast = [0.1, 0.2]\n", ("fit mock, foreground", "--for mock")),
        ("", ("an empty file fits", "--for")),
        ("epochs = \n", ("not valid TOML",)),
        ("network = 'papier'\n", ("unknown network 'papier'", "did you mean 'paper'?")),
        ("physical_loss = 'ScaledDensityLos'\n", ("unknown physical loss", "'ScaledDensityLoss'")),
        ("epochs = 3\n[schedule]\nname = 'cosin'\n", ("unknown schedule 'cosin'", "did you mean 'cosine'?")),
        ("[optimizer]\nname = 'adamv'\n", ("unknown optimizer 'adamv'",)),
        ("samples_per_shard = 0\n", ("samples_per_shard = 0", "1 or more")),
        ("encoding = 'float16-scale'\n", ("unknown encoding 'float16-scale'", "did you mean 'float16-scaled'?")),
        ("[synthetic]\nlines = [{molecule = '14co'}]\n", ("'14co' is neither a built-in molecule",)),
        ("[synthetic]\nlines = [{transition = '2-0'}]\n", ("13CO has no transition '2-0'",)),
        ("[synthetic.lines]\nmolecule = '13co'\n", ("must be a list", "write [[lines]]")),
        ("orbits = ['wolker']\n", ("no orbit 'wolker'", "did you mean 'walker'?")),
        ("[preobserve]\nlitter = true\n", ("no pairs to train on",)),
        ("epochs = " + "9" * 30, ("epochs is too large",)),
        ("epochs = " + "9" * 5000, ("not valid TOML",)),
        ("[noise]\nsigma_K = " + "9" * 400, ("sigma_K is too large",)),
        ("data = " + "[" * 5000, ("not valid TOML",)),
        ("rows = 3\ntemperature_K = nan", ("temperature_K = nan; it must be finite",)),
        ("high = inf\nlow = 1.0\n", ("high = inf; it must be finite",)),
        ("[schedule]\nhalve_after_epochs = [1.0, nan]", ("halve_after_epochs",)),
        ("epochs = 3\n[noise]\nobserved_per_K = 0.0", ("noise: observed_per_K = 0.0; it must be above 0",)),
    ],
)
def test_an_invalid_file_is_a_named_error(iris, tmp_path, text, words):
    (tmp_path / "file.toml").write_text(text)
    ran = iris("config", "validate", tmp_path / "file.toml")
    assert ran.code == 2 and ran.out == "" and ran.err.count("error:") == 1 and "Traceback" not in ran.err
    assert "file.toml" in ran.err
    assert all(word in ran.err for word in words), ran.err


def test_a_file_can_be_checked_against_a_configuration_that_is_named(iris, tmp_path):
    (tmp_path / "m.toml").write_text("turbulence_contrast = [0.1, 0.2]\n")
    shown = json.loads(iris("config", "validate", tmp_path / "m.toml", "--for", "foreground", "--json").out)
    assert shown["files"][str(tmp_path / "m.toml")]["command"] == "iris mock --foreground"
    ran = iris("config", "validate", tmp_path / "m.toml", "--for", "trian")
    assert ran.code == 2 and "did you mean 'train'?" in ran.err


def test_line_ends_and_a_byte_order_mark_are_ignored(iris, tmp_path):
    (tmp_path / "t.toml").write_bytes(b"\xef\xbb\xbfepochs = 3\r\n[noise]\r\nsigma_K = 1\r\n")
    assert iris("config", "validate", tmp_path / "t.toml").code == 0
    (tmp_path / "t.toml").write_bytes("epochs = 3".encode("utf-16"))
    ran = iris("config", "validate", tmp_path / "t.toml")
    assert ran.code == 2 and "save it as UTF-8" in ran.err


def test_a_configuration_is_not_hidden_by_a_folder(iris, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()  # where `iris demo` writes
    assert tomllib.loads(iris("config", "show", "demo").out)["galaxies"] == 1600
    assert iris("config", "show", "./demo").code == 1


def test_validate_and_the_command_refuse_a_value_with_the_same_message(iris, tmp_path):
    (tmp_path / "p.toml").write_text("encoding = 'zip'\n")
    (tmp_path / "s").mkdir()
    checked = iris("config", "validate", tmp_path / "p.toml")
    used = iris("preobserve", tmp_path / "s", tmp_path / "out", "--config", tmp_path / "p.toml")
    assert checked.code == used.code == 2
    assert "unknown encoding 'zip'" in checked.err and "unknown encoding 'zip'" in used.err


def test_without_a_name_all_names_are_listed(iris):
    out = iris("config", "show").out
    assert all(name in out for name in (*CONFIGS, *PRESETS))
    assert json.loads(iris("config", "show", "--json").out)["presets"] == list(PRESETS)


def test_folders_have_configurations(iris, tmp_path, trained_ensemble, tiny_shards):
    (tmp_path / "m.toml").write_text("clouds = [2, 3]\n")
    iris("mock", tmp_path / "standard", "-n", 3, "--config", tmp_path / "m.toml")
    iris("preobserve", tmp_path / "standard", tmp_path / "shards", "--observer", "simple", "--samples-per-shard", 2)
    out = iris("config", "show", tmp_path / "standard").out
    assert tomllib.loads(out)["clouds"] == [2, 3] and "#   r_steps = 64" in out
    shown = json.loads(iris("config", "show", tmp_path / "shards", "--json").out)
    assert shown["configuration"] == "preobserve" and shown["values"]["samples_per_shard"] == 2
    for run in (trained_ensemble, trained_ensemble / "member-01"):
        shown = json.loads(iris("config", "show", run, "--json").out)
        assert shown["values"]["epochs"] == 1 and shown["values"]["data"] == [str(tiny_shards)]
    ran = iris("config", "show", tmp_path)
    assert ran.code == 1 and "is not a run, a shard folder or a standard data set" in ran.err


def test_the_configuration_of_an_ingested_data_set_is_shown(iris, tmp_path):
    write(tmp_path / "s_001.hdf5", galaxy())
    assert iris("ingest", tmp_path / "s_001.hdf5", tmp_path / "set", "--views", 2, "--preset", "tiny", "-q").code == 0
    shown = json.loads(iris("config", "show", tmp_path / "set", "--json").out)
    assert shown["configuration"] == "ingest" and shown["values"]["views"] == 2
    index = json.loads((tmp_path / "set" / "standard.json").read_text())
    del index["origin"]["config"]
    (tmp_path / "set" / "standard.json").write_text(json.dumps(index))
    ran = iris("config", "show", tmp_path / "set")
    assert ran.code == 1 and "holds no configuration" in ran.err


def test_the_grid_of_a_paper_code_folder_is_shown(iris, shared_data):
    for name in ("reference-standard", "reference-preobserved"):
        out = iris("config", "show", shared_data / name).out
        assert tomllib.loads(out)["lon_steps"] == 32, out


def test_units_follow_from_names_and_kinds_from_types():
    assert unit_of("v_gradient_km_s_deg") == "km/s per deg" and unit_of("height_pc") == "pc" and unit_of("clouds") == ""
    assert kind(tuple[float, float]) == "[float, float]" and kind(tuple[str, ...]) == "list of str"
    assert kind(float | None) == "float"
