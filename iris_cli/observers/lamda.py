"""LAMDA `.dat` file -> `Molecule`.

The format is a fixed sequence of numbers between comment lines that begin with `!`. The reader accepts variants found
in practice: blank lines, comments anywhere (also after numbers), Fortran's D exponents, partners in any order, extra
columns, long rows that continue in the next line, levels numbered in any order, notes after the last table.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from iris_cli.errors import DataError
from iris_cli.observers.molecule import COLLIDERS, K_PER_WAVE_NUMBER, Molecule, Partner

#: More than in any published file; a wrong count must not allocate the memory of the whole machine.
_LARGEST_COUNT = 2_000_000
_EXPONENT = re.compile(r"(?<=[0-9.])[dD](?=[-+0-9])")


class _Lines:
    """The lines with data, one after the other, with their numbers for error messages."""

    def __init__(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
        stripped = ((k, line.split("!", 1)[0].strip()) for k, line in enumerate(text.splitlines(), start=1))
        self.path, self._rest, self.number = path, iter([(k, line) for k, line in stripped if line]), 0

    def text(self, what: str) -> str:
        self.number, line = next(self._rest, (self.number, ""))
        if not line:
            hint = "the file is truncated; fetch it again from the LAMDA database"
            raise DataError(f"{self.path} ends before {what}", hint)
        return line

    def words(self, what: str, count: int) -> list[str]:
        """At least `count` words, from as many lines as needed."""
        found = self.text(what).split()
        while len(found) < count:
            found += self.text(what).split()
        return found

    def count(self, what: str) -> int:
        (n,) = self.integers(self.words(what, 1)[:1], what)
        if not 0 <= n <= _LARGEST_COUNT:
            raise self.error(f"{n} is not a {what}")
        return n

    def integers(self, words: list[str], what: str) -> list[int]:
        try:
            return [int(word) for word in words]
        except ValueError:
            raise self.error(f"'{' '.join(words[:4])}' where {what} should be") from None

    def numbers(self, words: list[str], what: str) -> list[float]:
        try:
            values = [float(_EXPONENT.sub("e", word)) for word in words]
        except ValueError:
            raise self.error(f"'{' '.join(words[:4])}' where {what} should be") from None
        if not np.isfinite(values).all() or min(values, default=0.0) < 0:
            raise self.error(f"a negative or infinite number where {what} should be")
        return values

    def error(self, what: str) -> DataError:
        hint = "expected the LAMDA format; is a line missing above?"
        return DataError(f"{self.path}, line {self.number}: {what}", hint)


def read_lamda(path: Path) -> Molecule:
    """Raises DataError, with the line number, when the file is truncated or of another format."""
    lines = _Lines(path)
    name = lines.text("the molecule's name")
    (mass,) = lines.numbers(lines.words("the molecular weight", 1)[:1], "the molecular weight")
    index, energies, weights, labels = _levels(lines)
    upper, lower, a, frequency = _transitions(lines, index)
    partners = tuple(_partner(lines, index) for _ in range(lines.count("number of collision partners")))
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
        source=f"LAMDA file {path.name}",
    )


def _levels(lines: _Lines) -> tuple[dict[int, int], NDArray, NDArray, tuple[str, ...]]:
    index: dict[int, int] = {}
    numbers, labels = [], []
    for k in range(lines.count("number of energy levels")):
        words = lines.words("the list of energy levels", 3)
        index[lines.integers(words[:1], "a level's number")[0]] = k
        numbers.append(lines.numbers(words[1:3], "a level's energy and weight"))
        labels.append("_".join(words[3:]) or words[0])
    if len(index) < 2 or len(index) != len(labels):
        raise lines.error("fewer than two levels, or two levels of the same number")
    table = np.array(numbers)
    return index, table[:, 0], table[:, 1], tuple(labels)


def _pair(lines: _Lines, index: dict[int, int], words: list[str], what: str) -> tuple[int, int]:
    up, low = lines.integers(words, what)
    if up not in index or low not in index:
        raise lines.error(f"{what}: levels {up} and {low}, but the file has {len(index)} levels")
    return index[up], index[low]


def _transitions(lines: _Lines, index: dict[int, int]) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    pairs, numbers = [], []
    for _ in range(lines.count("number of radiative transitions")):
        words = lines.words("the list of radiative transitions", 5)
        pairs.append(_pair(lines, index, words[1:3], "a radiative transition"))
        numbers.append(lines.numbers(words[3:5], "Einstein A and frequency"))
    levels, table = np.array(pairs, dtype=np.int64).reshape(-1, 2), np.array(numbers).reshape(-1, 2)
    return levels[:, 0], levels[:, 1], table[:, 0], table[:, 1]


def _partner(lines: _Lines, index: dict[int, int]) -> Partner:
    title = lines.text("a collision partner")
    first, _, reference = title.partition(" ")
    number = lines.integers([first], "the number of a collision partner")[0]
    if number not in COLLIDERS:
        raise lines.error(f"collision partner {number}; LAMDA knows 1 to {max(COLLIDERS)}")
    what = f"the rates with {COLLIDERS[number]}"
    rows, columns = lines.count("number of collisional transitions"), lines.count("number of temperatures")
    temperatures = lines.numbers(lines.words("the collision temperatures", columns)[:columns], "temperatures")
    pairs, rates = [], []
    for _ in range(rows):
        words = lines.words(what, 3 + columns)
        pairs.append(_pair(lines, index, words[1:3], "a collisional transition"))
        rates.append(lines.numbers(words[3 : 3 + columns], what))
    if not pairs or not temperatures or (np.diff(temperatures) <= 0).any():
        raise lines.error(f"{what} are empty, or their temperatures do not ascend")
    upper, lower = np.array(pairs, dtype=np.int64).T
    return Partner(COLLIDERS[number], reference.strip(), upper, lower, np.array(temperatures), np.array(rates))
