"""LAMDA `.dat` file -> `Molecule`.

The format is a fixed sequence of numbers, each after a comment line that begins with `!`. The reader accepts variants
found in practice: blank lines, comments anywhere (also after numbers), comment lines without `!` where the format has a
comment, tabs, a byte-order mark, Fortran's exponents (1.0D-11, 1.0-105), partners in any order or without data, extra
columns, long rows that continue in the next line, levels numbered in any order, notes after the last table.
"""

import codecs
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iris_cli.errors import DataError
from iris_cli.observers.molecule import COLLIDERS, K_PER_WAVE_NUMBER, Molecule, Partner

#: More than in any published file; a wrong count must not allocate the memory of the whole machine.
_LARGEST_COUNT = 2_000_000
_LARGEST_FILE = 1 << 28
#: A number that can still be converted to other units.
_LARGEST_NUMBER = 1e100
#: Energies of hyperfine levels are rounded to about this.
_ROUNDING_CM = 0.01
_INTEGER = re.compile(r"[-+]?[0-9]+")
#: Fortran writes D for E, and neither where the exponent has three digits.
_NUMBER = re.compile(r"([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eEdD]([-+]?[0-9]+)|([-+][0-9]{3}))?")


class _Lines:
    """The lines with data, one after the other, with their numbers for error messages."""

    def __init__(self, path: Path) -> None:
        if path.stat().st_size > _LARGEST_FILE:
            raise DataError(f"{path} is larger than {_LARGEST_FILE >> 20} MiB", "is it a LAMDA file?")
        data = path.read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if wide else "utf-8-sig", errors="replace")
        self.path, self.number, self._next = path, 0, 0
        self._lines: list[tuple[int, str, bool]] = []  # number, data, whether a comment line with `!` is before it
        commented = False
        for k, line in enumerate(re.split("\r\n|\r|\n", text), start=1):
            content, mark, _ = line.partition("!")
            if content := "".join(c if c.isprintable() else " " for c in content).strip():
                self._lines.append((k, content, commented))
            commented = (commented or bool(mark)) if not content else False

    @property
    def ended(self) -> bool:
        return self._next == len(self._lines)

    def peek(self) -> str:
        return "" if self.ended else self._lines[self._next][1]

    def text(self, what: str) -> str:
        if self.ended:
            hint = "the file is truncated; fetch it again from the LAMDA database"
            raise DataError(f"{self.path} ends before {what}", hint)
        self.number, line, _ = self._lines[self._next]
        self._next += 1
        return line

    def name(self) -> str:
        """The molecule's name: the first line, or the second after a comment line without `!`."""
        name = self.text("the molecule's name")
        if not self.ended:
            _, following, commented = self._lines[self._next]
            if not commented and not self._lines[0][2] and not _NUMBER.fullmatch(following.split()[0]):
                return self.text("the molecule's name")
        return name

    def skip_comment(self) -> None:
        """Skips a comment line without `!`: text where the format has a comment, if there is no other comment."""
        if not self.ended and not self._lines[self._next][2] and not _NUMBER.fullmatch(self.peek().split()[0]):
            self.text("data")

    def words(self, what: str, count: int) -> list[str]:
        """At least `count` words, from as many lines as needed."""
        found: list[str] = []
        while len(found) < count:
            found += self.text(what).split()
        return found

    def count(self, what: str) -> int:
        self.skip_comment()
        (n,) = self.integers(self.words(what, 1)[:1], what)
        if not 0 <= n <= _LARGEST_COUNT:
            raise self.error(f"{n} is not a {what}")
        return n

    def integers(self, words: list[str], what: str) -> list[int]:
        if not all(_INTEGER.fullmatch(word) and len(word) < 20 for word in words):
            raise self.error(f"'{_shown(words)}' where {what} should be")
        return [int(word) for word in words]

    def numbers(self, words: list[str], what: str, *, above_zero: bool = False) -> list[float]:
        found = [_NUMBER.fullmatch(word) for word in words]
        if not all(found):
            raise self.error(f"'{_shown(words)}' where {what} should be")
        values = [float(f"{m[1]}e{m[2] or m[3] or 0}") for m in found if m]
        for value in values:
            if not 0.0 <= value <= _LARGEST_NUMBER or (above_zero and value == 0.0):
                raise self.error(f"{value:g} where {what} should be")
        return values

    def error(self, what: str) -> DataError:
        hint = "expected the LAMDA format; is a line missing above?"
        return DataError(f"{self.path}, line {self.number}: {what}", hint)


def _shown(words: list[str]) -> str:
    text = " ".join(words[:4])
    return text if len(text) <= 60 else f"{text[:60]}…"


def read_lamda(path: Path) -> Molecule:
    """Raises DataError, with the line number, when the file is truncated or of another format."""
    lines = _Lines(path)
    name = lines.name()
    lines.skip_comment()
    (mass,) = lines.numbers(lines.words("the molecular weight", 1)[:1], "the molecular weight", above_zero=True)
    index, energies, weights, labels = _levels(lines)
    upper, lower, a, frequency = _transitions(lines, index, energies)
    listed = [_partner(lines, index) for _ in range(lines.count("number of collision partners"))]
    partners = tuple(partner for partner in listed if len(partner.upper))
    empty = [partner.collider for partner in listed if not len(partner.upper)]
    without = f", which lists {', '.join(empty)} without rates" if empty else ""
    return Molecule(
        name=name,
        mass_u=mass,
        energies_K=energies * K_PER_WAVE_NUMBER,
        weights=weights,
        labels=labels,
        line_upper=upper,
        line_lower=lower,
        einstein_a_s=a,
        frequency_Hz=frequency * 1e9,
        partners=partners,
        source=f"LAMDA file {path.name}{without}",
    )


def _levels(lines: _Lines) -> tuple[dict[int, int], NDArray, NDArray, tuple[str, ...]]:
    index: dict[int, int] = {}
    numbers, labels = [], []
    count = lines.count("number of energy levels")
    lines.skip_comment()
    for k in range(count):
        words = lines.words("the list of energy levels", 3)
        index[lines.integers(words[:1], "a level's number")[0]] = k
        energy, weight = words[1:3]
        (energy_cm,) = lines.numbers([energy], "a level's energy")
        numbers.append((energy_cm, *lines.numbers([weight], "a level's weight", above_zero=True)))
        labels.append("_".join(words[3:]) or words[0])
    if len(index) < 2 or len(index) != len(labels):
        raise lines.error("fewer than two levels, or two levels of the same number")
    table = np.array(numbers)
    return index, table[:, 0], table[:, 1], tuple(labels)


def _pair(lines: _Lines, index: dict[int, int], words: list[str], what: str) -> tuple[int, int]:
    up, low = lines.integers(words, what)
    if up not in index or low not in index:
        raise lines.error(f"{what}: levels {up} and {low}, but the file has {len(index)} levels")
    if up == low:
        raise lines.error(f"{what} from level {up} to itself")
    return index[up], index[low]


def _transitions(
    lines: _Lines, index: dict[int, int], energies_cm: NDArray
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    pairs, numbers = [], []
    count = lines.count("number of radiative transitions")
    lines.skip_comment()
    for _ in range(count):
        words = lines.words("the list of radiative transitions", 5)
        up, low = _pair(lines, index, words[1:3], "a radiative transition")
        if energies_cm[up] < energies_cm[low] - _ROUNDING_CM:
            both = f"{words[1]} ({energies_cm[up]:g} cm^-1) to {words[2]} ({energies_cm[low]:g} cm^-1)"
            raise lines.error(f"a radiative transition from level {both}")
        pairs.append((up, low))
        a, frequency = words[3:5]
        (einstein_a,) = lines.numbers([a], "Einstein A")
        numbers.append((einstein_a, *lines.numbers([frequency], "a frequency", above_zero=True)))
    levels, table = np.array(pairs, dtype=np.int64).reshape(-1, 2), np.array(numbers).reshape(-1, 2)
    return levels[:, 0], levels[:, 1], table[:, 0], table[:, 1]


def _partner(lines: _Lines, index: dict[int, int]) -> Partner:
    """A collision partner. Without collision data (0 transitions) its arrays are empty."""
    lines.skip_comment()
    first, *reference = lines.text("a collision partner").split(maxsplit=1)
    number = lines.integers([first], "the number of a collision partner")[0]
    if number not in COLLIDERS:
        raise lines.error(f"collision partner {number}; LAMDA knows 1 to {max(COLLIDERS)}")
    what = f"the rates with {COLLIDERS[number]}"
    rows = lines.count("number of collisional transitions")
    if not rows and (lines.ended or len(lines.peek().split()) > 1):  # what follows is the next partner
        columns = 0
    else:
        columns = lines.count("number of temperatures")
    lines.skip_comment()
    temperatures = lines.numbers(lines.words("the collision temperatures", columns)[:columns], "temperatures")
    if rows:
        lines.skip_comment()
    pairs, rates = [], []
    for _ in range(rows):
        words = lines.words(what, 3 + columns)
        pairs.append(_pair(lines, index, words[1:3], "a collisional transition"))
        rates.append(lines.numbers(words[3 : 3 + columns], what))
    if rows and (not temperatures or (np.diff(temperatures) <= 0).any()):
        raise lines.error(f"{what} are empty, or their temperatures do not ascend")
    upper, lower = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    table = np.array(rates).reshape(rows, columns)
    return Partner(COLLIDERS[number], " ".join(reference), upper, lower, np.array(temperatures), table)
