"""The outputs of commands record how they were made: command line, versions, configuration, time."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from iris_cli import __version__
from iris_cli.commands import provenance
from iris_cli.config.mock import MockConfig
from iris_cli.ranks import is_rank_0
from tests.commands.errors import done
from tests.snapshots.snapshots import galaxy, write


@pytest.fixture(scope="module")
def made(temperature_runs):
    """shards, run, cube.fits; none of them made by a command."""
    return temperature_runs


def lines_of(folder):
    return [json.loads(line) for line in (folder / "commands.jsonl").read_text().splitlines()]


def test_every_folder_has_the_command_that_made_it(iris, tmp_path, monkeypatch):
    monkeypatch.setattr("iris_cli.evaluation.report_folder.draw_report", lambda *given: [])
    standard, shards, run, report = (tmp_path / name for name in ("my set", "shards", "run", "report"))
    snapshot = write(tmp_path / "snap_101.hdf5", galaxy())
    commands = {
        standard: ("mock", standard, "-n", 12, "-q"),
        shards: ("preobserve", standard, shards, "--observer", "simple", "--test-fraction", 0.2, "-q"),
        run: ("train", shards, "--epochs", 1, "--accumulate", 1, "--out", run, "-q"),
        report: ("test", run, shards, "--report", report, "-q"),
        tmp_path / "ingested": ("ingest", snapshot, tmp_path / "ingested", "--preset", "tiny", "--views", 1, "-q"),
    }
    for words in commands.values():
        assert iris(*words).code == 0
    for folder, words in commands.items():
        (line,) = lines_of(folder)
        quoted = [f"'{word}'" if " " in str(word) else str(word) for word in words]
        assert line["command"] == " ".join(["iris", *quoted]) and line["exit_code"] == 0
        assert line["software"].keys() == {"iris", "python", "numpy", "torch"} and line["folder"] == str(Path.cwd())
        assert line["time"].endswith("Z") and line["config"]
    assert lines_of(standard)[0]["config"]["clouds"] == list(MockConfig().clouds), "defaults are filled in"
    assert lines_of(shards)[0]["config"]["test_fraction"] == 0.2, "flags are taken in"
    assert lines_of(run)[0]["config"]["epochs"] == lines_of(report)[0]["config"]["epochs"] == 1


def test_a_second_command_adds_a_line_and_one_that_is_refused_adds_none(iris, tmp_path):
    iris("mock", tmp_path / "standard", "-n", 2, "-q")
    assert iris("mock", tmp_path / "standard", "-n", 2, "-q").code == 1
    for more in ((), ("--resume",)):
        assert iris("preobserve", tmp_path / "standard", tmp_path / "a", "--observer", "simple", *more).code == 0
    assert iris("preobserve", tmp_path / "standard", tmp_path / "a", "--observer", "simple").code == 1
    (tmp_path / "a" / "index.json").unlink()
    assert iris("shards", "merge", tmp_path / "a").code == 0
    assert iris("shards", "verify", tmp_path / "a", "--repair", "-q").code == 0
    words = [line["command"].split()[1:] for line in lines_of(tmp_path / "a")]
    assert [word[0] for word in words] == ["preobserve", "preobserve", "shards", "shards"]
    assert words[1][-1] == "--resume" and words[3][-2] == "--repair"
    assert len(lines_of(tmp_path / "standard")) == 1


def test_indexed_tars_and_failed_inputs_are_recorded(iris, tmp_path):
    iris("mock", tmp_path / "standard", "-n", 3, "-q")
    tensor = tmp_path / "standard" / "tensor_000001.npy"
    np.save(tensor, np.full_like(np.load(tensor), np.nan))
    assert iris("preobserve", tmp_path / "standard", tmp_path / "a", "--observer", "simple", "-q").code == 1
    assert [line["exit_code"] for line in lines_of(tmp_path / "a")] == [1]
    for path in (tmp_path / "a").iterdir():
        path.unlink() if path.suffix != ".tar" else None
    assert iris("shards", "index", tmp_path / "a", "-q").code == 0
    assert lines_of(tmp_path / "a")[0]["command"].startswith("iris shards index")


def test_only_rank_0_writes_a_record(monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "1")
    assert not is_rank_0()
    provenance.record(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_cannot_be_written_is_a_warning(capsys, tmp_path):
    (tmp_path / provenance.FILE).mkdir()
    provenance.record(tmp_path)
    assert "has no record of this command" in capsys.readouterr().err


def words_of(header, card="HISTORY"):
    return " ".join(map(str, header[card]))


def test_fits_files_have_it_in_their_history(iris, made, tmp_path):
    iris("mock", tmp_path / "standard", "-n", 1, "-q")
    observe = ("observe", tmp_path / "standard", 0, "--out", tmp_path / "seen.fits", "--beam-arcsec", 20, "-q")
    revert = ("revert", made / "run", made / "cube.fits", "--out", tmp_path / "map.fits", "--unit", "K", "-q")
    regrid = ("cube", made / "cube.fits", "--out", tmp_path / "lv.fits", "--run", made / "run", "--unit", "K", "-q")
    keys = {"seen.fits": '"beam_fwhm_arcsec": 20.0', "map.fits": '"unit": "K"', "lv.fits": '"unit": "K"'}
    for words, (name, key) in zip((observe, revert, regrid), keys.items(), strict=True):
        done(iris(*words, *(("--moments",) if name == "seen.fits" else ())))
        history = words_of(fits.getheader(tmp_path / name))
        command = " ".join(["command: iris", *map(str, words)])
        assert command.replace(" ", "") in history.replace(" ", ""), history  # a path may be longer than a card
        assert f"software: iris {__version__}, python" in history and "torch" in history and key in history
    assert "command: iris observe" in words_of(fits.getheader(tmp_path / "seen.mom1.fits"))


def test_a_header_can_hold_text_of_any_alphabet(iris, made, tmp_path):
    out = tmp_path / "größe\n.fits"
    assert iris("cube", made / "cube.fits", "--out", out, "--run", made / "run", "-q").code == 0
    assert r"gr\xf6\xdfe\n.fits" in words_of(fits.getheader(out)).replace(" ", "")


def test_an_npz_file_has_it_in_an_array(iris, made, tmp_path):
    words = ("cube", made / "cube.fits", "--out", tmp_path / "lv.npz", "--run", made / "run", "-q")
    assert iris(*words).code == 0
    with np.load(tmp_path / "lv.npz", allow_pickle=False) as arrays:
        assert " ".join(["command: iris", *map(str, words)]) in list(arrays["history"])
    assert iris("revert", made / "run", tmp_path / "lv.npz", "--out", tmp_path / "map.fits", "-q").code == 0


def text_in(path):
    if path.suffix == ".png":
        return Image.open(path).info["Description"]
    whole = path.read_bytes()
    return whole.decode("utf-8" if path.suffix == ".svg" else "latin-1")


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_figures_have_it_and_keep_the_same_bytes(iris, made, tmp_path, suffix):
    out = tmp_path / f"lv{suffix}"
    words = ("plot", "lv", made / "shards", "--colours", "magma", "-o", out)
    assert iris(*words).code == 0
    first, history = out.read_bytes(), text_in(out)
    for part in ("command: iris plot lv", "--colours magma", "software: iris"):
        assert part in history, history
    assert "written" not in history
    assert iris(*words).code == 0 and out.read_bytes() == first
    preview, drawn = tmp_path / f"sample{suffix}", tmp_path / f"map{suffix}"
    assert iris("shards", "preview", made / "shards", "--out", preview).code == 0
    assert "command: iris shards preview" in text_in(preview)
    ran = iris("revert", made / "run", made / "cube.fits", "--out", tmp_path / "m.fits", "--figure", drawn, "-q")
    assert ran.code == 0 and "command: iris revert" in text_in(drawn), ran.err


def test_a_map_is_drawn_with_its_caption(iris, made, tmp_path, monkeypatch):
    from iris_cli.plots import style

    assert iris("revert", made / "run", made / "cube.fits", "--out", tmp_path / "map.fits", "-q").code == 0
    caption = words_of(fits.getheader(tmp_path / "map.fits"), "COMMENT")
    assert caption.startswith("H2 density seen from Galactic north, reverted from cube.fits by 1 network (run); ")
    assert "of the input observed" in caption and "the training set" in caption
    figures = []
    monkeypatch.setattr(style, "save", lambda figure, *how: figures.append(figure))
    assert iris("plot", "top-down", tmp_path / "map.fits", "-o", tmp_path / "map.png").code == 0
    assert iris("plot", "top-down", made / "shards", "-o", tmp_path / "pair.png").code == 0
    ours, theirs = (figure.get_supxlabel() for figure in figures)
    assert " ".join(ours.split()) == caption and theirs == ""
    longest = max(len(line) for line in ours.splitlines())
    assert longest < len(caption), "it is broken into lines"
