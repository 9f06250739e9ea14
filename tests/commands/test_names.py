"""All commands with a name that a terminal, rich, matplotlib, TOML, FITS, Markdown and HTML could misread."""

import json
import os
import re

import pytest
from astropy.io import fits

from tests.telescope import sky

#: Markup of rich, a formula that is none, HTML, Markdown, an escape sequence, a line break, and a byte of latin-1.
NASTY = "_[red]x[] $\\a_{ <b>|`*\x1b[31m\n é\udce9"
ESCAPED = "\\x1b[31m\\n é\\xe9"


def cube(path, source=b"$\\a_{ [/]"):
    """A cube of a source of this name."""
    sky.cube(path, cards={"OBJECT": "@" * 9})
    path.write_bytes(path.read_bytes().replace(b"@" * 9, source.ljust(9)))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("names") / NASTY
    made.mkdir()
    cube(made / f"{NASTY}.fits")
    return made


def check(ran, *codes):
    assert ran.code in codes, ran
    for text in (ran.out, ran.err):
        assert "\x1b" not in text and "Traceback" not in text and text.isprintable() is (text == "")
    return ran


@pytest.mark.slow
def test_a_name_goes_through_the_whole_chain(iris, folder):
    made = {name: folder / f"{name}{NASTY}" for name in ("standard", "shards", "run", "report")}
    train = ("--epochs", 1, "--batch-size", 2, "--device", "cpu", "-q")
    check(iris("mock", made["standard"], "-n", 4, "--preset", "tiny", "-q"), 0)
    check(iris("preobserve", made["standard"], made["shards"], "--test-fraction", 0.25, "-q"), 0)
    check(iris("shards", "verify", made["shards"]), 0)
    assert ESCAPED in check(iris("shards", "info", made["shards"].parent / "absent"), 1).err
    check(iris("train", made["shards"], "--out", made["run"], *train), 0)
    check(iris("config", "show", made["run"]), 0)
    check(iris("train", made["shards"], "--out", made["run"], *train, "--resume"), 0)
    ran = check(iris("test", made["run"], made["shards"], "--report", made["report"], "-q"), 0)
    assert "[red]x[]" in ran.out.replace("\n", "")
    check(iris("test", made["run"], made["shards"], "--json", "-q"), 0)
    page = (made["report"] / "report.md").read_text(encoding="utf-8")
    prose = re.sub("^    .*", "", page, flags=re.M)  # without code
    assert prose != page and "\\[red\\]" in prose
    assert "<b>|" in NASTY and "<b>|" not in prose + (made["report"] / "report.html").read_text(encoding="utf-8")
    assert json.loads((made["report"] / "report.json").read_text())["runs"] == [str(made["run"])]
    data = made["shards"]
    for words in (
        ("plot", "lv", data, "--out", folder / f"{NASTY}.png"),
        ("plot", "pair", data, "--run", made["run"], "--out", folder / f"{NASTY}.svg"),
        ("plot", "losses", made["run"], "--out", folder / f"{NASTY}.pdf"),
        ("plot", "spectrum", folder / f"{NASTY}.fits", "--out", folder / f"s{NASTY}.svg"),
        ("shards", "preview", data, "--out", folder / f"show{NASTY}.png"),
        ("cube", folder / f"{NASTY}.fits", "--preset", "tiny", "--min-coverage", 0, "--out", folder / f"{NASTY}.npz"),
        ("plot", "lv", folder / f"{NASTY}.npz", "--out", folder / f"{NASTY}.png"),
        ("cube", folder / f"{NASTY}.fits", "--preset", "tiny", "--min-coverage", 0, "--out", folder / "lv.fits"),
        (
            "revert",
            made["run"],
            folder / f"{NASTY}.fits",
            "--min-coverage",
            0,
            "-q",
            *("--out", folder / f"map{NASTY}.fits", "--figure", folder / f"map{NASTY}.png"),
        ),
        ("plot", "top-down", folder / f"map{NASTY}.fits", "--out", folder / f"{NASTY}.png"),
        ("observe", made["standard"], 1, "--out", folder / f"observed{NASTY}.fits", "-q"),
    ):
        check(iris(*words), 0)
    assert "\x1b" not in str(fits.getheader(folder / f"map{NASTY}.fits"))


COMMANDS = [
    ("mock", "{}/file", "--preset", "tiny", "-n", "1"),
    ("ingest", "{}", "{}2"),
    ("preobserve", "{}", "{}2"),
    ("observe", "{}", "0", "--out", "{}.fits"),
    ("train", "{}", "--out", "{}2"),
    ("test", "{}", "{}"),
    ("import-checkpoint", "{}", "--out", "{}2"),
    ("cube", "{}", "--out", "{}.npz"),
    ("revert", "{}", "{}", "--out", "{}.fits"),
    ("molecule", "{}"),
    ("doctor", "{}"),
    *(("shards", name, "{}") for name in ("index", "info", "verify", "preview")),
    *(
        ("plot", name, "{}", "--out", "{}.png")
        for name in ("lb", "lv", "top-down", "pair", "losses", "moments", "spectrum")
    ),
    *(("batch", name, "{}", "--out", "{}2") for name in ("train", "preobserve")),
    ("config", "show", "{}"),
    ("config", "validate", "{}"),
    ("{}",),
    ("train", "--{}"),
    ("mock", "out", "--preset", "{}"),
    ("observe", "x", "--observer", "{}"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("name", [NASTY, "x" * 300, "a/" * 2100], ids=["nasty", "long", "deep"])
def test_an_absent_file_is_an_error_of_ours(iris, tmp_path, monkeypatch, words, name):
    monkeypatch.chdir(tmp_path)
    ran = check(iris(*(word.replace("{}", name) for word in words)), 0, 1, 2)
    assert ran.code or words[0] in ("mock", "batch", "doctor"), ran
    assert not list(tmp_path.rglob("*.part"))
    assert ran.code == 0 or len(ran.err) < 8000


def test_a_header_cannot_act_on_the_terminal(iris, tmp_path):
    ran = check(iris("plot", "lv", cube(tmp_path / "cube.fits", b"\x1b[31mred\n"), "--out", tmp_path / "lv.png"), 0, 1)
    assert ran.code == 0 or "\\x1b[31m" in ran.err


def test_a_molecule_file_cannot_act_on_the_terminal(iris, tmp_path):
    text = (
        "!MOLECULE\n[red]CO[/] \x1b[2J\n!MOLECULAR WEIGHT\n28.0\n!NUMBER OF ENERGY LEVELS\n2\n!LEVEL + E + g + J\n"
        "1 0.0 1.0 [/b]\n2 3.845 3.0 1\n!NUMBER OF RADIATIVE TRANSITIONS\n1\n!T + u + l + A + f + E\n"
        "1 2 1 7.203e-08 115.2712018 5.53\n!NUMBER OF COLL PARTNERS\n1\n!COLLISIONS\n1 CO-H2 [/] \x1b]0;owned\x07\n"
        "!NUMBER OF COLL TRANS\n1\n!NUMBER OF COLL TEMPS\n1\n!COLL TEMPS\n10.0\n!T + u + l + rates\n1 2 1 3.3e-11\n"
    )
    (tmp_path / "co.dat").write_text(text)
    ran = check(iris("molecule", tmp_path / "co.dat"), 0)
    assert "[red]CO[/]" in ran.out and "[/b]" in ran.out
    assert os.fsencode(ran.out)
