"""Text from outside is shown harmless, and names that are not UTF-8 survive every kind of file."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from iris_cli.config.toml import from_dict, read_toml, to_toml
from iris_cli.files import fits_cards, json_card, write_text
from iris_cli.text import PLAIN, in_ascii, printable, to_json, utf8

LATIN = "caf\udce9"  # é in latin-1, as Python has the name of such a file


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("13CO (2-1) é ☉ 日本 a b", "13CO (2-1) é ☉ 日本 a b"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("one\r\ntwo\ttabs\x7f\x9b2J", r"one\r\ntwo\ttabs\x7f\x9b2J"),
        ("safe\u202egnp.exe\u200b", r"safe\u202egnp.exe\u200b"),
        (LATIN, r"caf\xe9"),
        ("[red]bold[/red] [/] $x_1$ <b>", "[red]bold[/red] [/] $x_1$ <b>"),
    ],
)
def test_hidden_characters_are_escapes_and_all_others_stay(text, shown):
    assert printable(text) == shown
    assert printable("one\n\ttwo\x1b", keep="\n\t") == "one\n\ttwo\\x1b"


def test_symbols_of_our_own_have_an_ascii_form_and_letters_of_names_are_escapes():
    assert in_ascii("1 … 2 cm², 3° ± 4 é") == r"1 ... 2 cm2, 3 deg +- 4 \xe9"
    assert "│ é".encode("latin-1", PLAIN) == b"\\u2502 \xe9"


def test_a_name_that_is_not_utf8_survives_toml(tmp_path):
    @dataclass(frozen=True)
    class Config:
        data: tuple[str, ...] = ()
        name: str = ""

    before = Config((f"/data/{LATIN}/x\udcff", "/plain é"), f"{LATIN}9")
    (tmp_path / "config.toml").write_bytes(to_toml(before).encode())
    assert from_dict(Config, read_toml(tmp_path / "config.toml")) == before


def test_other_files_hold_it_as_an_escape(tmp_path):
    write_text(tmp_path / "report.md", f"Test of {LATIN}")
    assert (
        (tmp_path / "report.md").read_text(encoding="utf-8") == r"Test of caf\xe9" == utf8(f"Test of {LATIN}").decode()
    )
    assert fits_cards(f"command: iris {LATIN}\x1b[2J\n") == [r"command: iris caf\xe9\x1b[2J\n"]
    assert json.loads(json_card([LATIN, "\x7f\n"])) == [LATIN, "\x7f\n"] and json_card(["\x7f"]).isprintable()


def test_records_become_json():
    @dataclass(frozen=True)
    class Record:
        values: object
        files: dict[Path, np.integer]

    record = Record(([1.0, math.nan], np.array([[np.inf]]), np.float32(0.5), None, "a"), {Path("b"): np.int64(3)})
    assert json.loads(to_json([record])) == [{"values": [[1.0, None], [[None]], 0.5, None, "a"], "files": {"b": 3}}]
