"""The commands of the program and of the pages of the docs, and a reader that runs the latter with small inputs."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iris_cli.app import program
from tests.commands.errors import Iris

ROOT = Path(__file__).resolve().parents[2]
WITH_SHORT_OUT = ("--out", "-o", "--figure", "--report")


def _single_commands(path, command):
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _single_commands(f"{path} {name}".strip(), inner)
    else:
        yield path, command


#: All commands by their words: `train`, `shards info`, …
COMMANDS: Mapping[str, Any] = dict(_single_commands("", program()))

SMALL: Mapping[str, tuple[str, ...]] = {
    "mock": ("--galaxies", "12", "--views", "1", "--preset", "tiny"),
    "ingest": ("--views", "2", "--preset", "tiny"),
    "train": ("--epochs", "1", "--batch-size", "4", "--accumulate", "1"),
    "revert": ("--min-coverage", "0.01"),
    "cube": ("--min-coverage", "0.01"),
}
"""Appended to the words of a page; the last value of an option is used."""
FRESH = ("--fresh-galaxies", "4", "--fresh-workers", "0")
MADE_NOW = ("-n", "12", "-w", "1", "--seed", "1")


def commands(text):
    """The indented lines that call `iris`, also after another program's name, and those of `sh` blocks.

    Comments are removed, and variables with a default have this value.
    """
    indented = re.sub(
        r"^```sh\n(.*?)^```$", lambda block: re.sub("^", "    ", block[1], flags=re.M), text, flags=re.M | re.S
    )
    for line in re.findall(r"^    (?:\$ )?((?:\w+ )?iris .*)$", indented, flags=re.M):
        words = shlex.split(re.sub(r"\$\{\w+:-(\w+)\}", r"\1", line), comments=True)
        yield shlex.join(words).replace("'>'", ">")


def blocks(page, language, begins=""):
    """The fenced blocks of a page of the docs, or those that begin with some words."""
    text = (ROOT / "docs" / page).read_text()
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.M | re.S)
    return [block for block in found if block.startswith(begins)]


def sections(page):
    """A page's text, divided at its headings of the second order."""
    return re.split(r"^(?=## )", page.read_text(), flags=re.M)


def outputs(words):
    """The outputs of a command, as far as the docs use it."""
    named = {words[i + 1] for i, word in enumerate(words[:-1]) if word in WITH_SHORT_OUT}
    if words[0] == "mock":
        named.add(words[1])
    if words[0] == "preobserve":
        named.add(words[5] if words[1] == "--mock" else words[2])
    if words[0] == "ingest":
        named.add(next(word for word in words[1:] if not word.endswith((".hdf5", ".h5"))))
    return named


@dataclass
class Reader:
    """Runs the commands of a page in an empty folder. Inputs that no earlier line made are linked from `workshop`."""

    iris: Iris
    workshop: Path
    folder: Path

    def follow(self, line):
        command, _, kept = line.partition(" > ")
        words = shlex.split(command)[1:]
        self._link_inputs(words)
        added = {"--fresh": FRESH, "--mock": MADE_NOW if words[0] == "preobserve" else ()}
        if words[0] == "train":
            added["--samples"] = ("--config", str(self.workshop / "stages.toml"))
        small = [*SMALL.get(words[0], ()), *(word for option in added if option in words for word in added[option])]
        ran = self.iris(*words, *small)
        assert ran.code == 0 and "Traceback" not in ran.err, f"{line}\n{ran.err[-1500:]}"
        if kept:
            (self.folder / kept).write_text(ran.out)
        for name in outputs(words) if "--dry-run" not in words and words[0] != "batch" else ():
            assert (self.folder / name).exists(), f"{line}\nleft no {name}"

    def _link_inputs(self, words):
        written = outputs(words) if words[0] != "batch" else set()
        for word in words:
            name = word.removeprefix("@")
            here = self.folder / name
            if word in written and (here.is_symlink() or here.is_file()):  # linked, or of an earlier section
                here.unlink()
            elif word not in written and not here.exists() and (self.workshop / name).exists():
                here.parent.mkdir(exist_ok=True)
                here.symlink_to(self.workshop / name)
