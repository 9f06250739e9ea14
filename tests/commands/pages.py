"""The commands on a page of the docs, and the inputs that the page takes for granted, as small as can be."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WITH_SHORT_OUT = ("--out", "-o", "--figure", "--report")

SMALL: Mapping[str, tuple[str, ...]] = {
    "mock": ("--galaxies", "10", "--views", "1", "--preset", "tiny"),
    "ingest": ("--views", "2", "--preset", "tiny"),
    "train": ("--epochs", "1", "--batch-size", "4", "--accumulate", "1"),
    "revert": ("--min-coverage", "0.01"),
    "cube": ("--min-coverage", "0.01"),
}
"""Appended to a page's words: the last value of an option wins."""


def commands(text: str) -> Iterator[str]:
    """The indented lines that call `iris`, also behind another program's name, without comments."""
    for line in re.findall(r"^    (?:\$ )?((?:\w+ )?iris .*)$", text, flags=re.M):
        yield shlex.join(shlex.split(line, comments=True)).replace("'>'", ">")


def sections(page: Path) -> list[str]:
    """A page's text, divided at its headings of the second order."""
    return re.split(r"^(?=## )", page.read_text(), flags=re.M)


def outputs(words: list[str]) -> set[str]:
    """Names that a command writes, as far as the docs use it."""
    named = {words[i + 1] for i, word in enumerate(words[:-1]) if word in WITH_SHORT_OUT}
    if words[0] == "mock":
        named.add(words[1])
    if words[0] == "preobserve":
        named.add(words[2])
    if words[0] == "ingest":
        named.add(next(word for word in words[1:] if not word.endswith(".hdf5")))
    return named


@dataclass
class Reader:
    """Does in an empty folder what a page says. Inputs that no earlier line made are lent from `workshop`."""

    iris: Callable[..., object]
    workshop: Path
    folder: Path

    def follow(self, line: str) -> None:
        command, _, kept = line.partition(" > ")
        words = shlex.split(command)[1:]
        self._lend(words)
        ran = self.iris(*words, *SMALL.get(words[0], ()))
        assert ran.code == 0 and "Traceback" not in ran.err, f"{line}\n{ran.err[-1500:]}"  # type: ignore[attr-defined]
        if kept:
            (self.folder / kept).write_text(ran.out)  # type: ignore[attr-defined]
        for name in outputs(words) if "--dry-run" not in words and words[0] != "slurm" else ():
            assert (self.folder / name).exists(), f"{line}\nleft no {name}"

    def _lend(self, words: list[str]) -> None:
        written = outputs(words) if words[0] != "slurm" else set()
        for word in words:
            name = word.removeprefix("@")
            here = self.folder / name
            if word in written and (here.is_symlink() or here.is_file()):  # lent, or of an earlier section
                here.unlink()
            elif word not in written and not here.exists() and (self.workshop / name).exists():
                here.parent.mkdir(exist_ok=True)
                here.symlink_to(self.workshop / name)
