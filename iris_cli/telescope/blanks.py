"""Numbers of a cube that stand for no measurement: masked where header or flag say so, else refused when they show."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError

Floats = NDArray[np.float64]

#: No line that the model knows is brighter.
MAX_KELVIN = 1e4
#: In any unit.
BEYOND_ANY = 1e15
#: Noise and absorption are not below this in several voxels with one value: such values are blanks.
REPEATED_KELVIN = -10.0


@dataclass(frozen=True)
class Blanks:
    """The numbers of one image that stand for no measurement.

    A number of the file times `scale` plus `zero` is a value in `unit`. `numbers` are those of header and flag.
    `lowest` is the lowest that integers of this file can be, None if it does not matter. `max_kelvin` is the flag's.
    """

    path: Path
    scale: float
    zero: float
    numbers: tuple[float, ...]
    integers: bool
    lowest: float | None
    max_kelvin: float | None
    unit: str

    def to_kelvin(self, read: NDArray, to_K: Floats) -> NDArray[np.float32]:
        """(channels, rows, columns) values -> K, NaN without a measurement.

        DataError for values that must be blanks, damage or of another unit: too bright or too dark; or the lowest of
        these several times, far below all others.
        """
        values: Floats = read.astype(np.float64 if read.dtype.itemsize > 4 else np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            for number in self.numbers:
                blank = self.zero + self.scale * number
                within = max(0.5 * abs(self.scale) if self.integers else 0.0, 1e-6 * abs(blank))
                values[np.abs(values - blank) <= within] = np.nan
            low, high = _extremes(values)
            if np.isinf(low) or np.isinf(high):
                values[np.isinf(values)] = np.nan
                low, high = _extremes(values)
        self._check(values, low, high, float(np.fmax.reduce(to_K)))
        return (values * to_K[:, None, None].astype(np.float32)).astype(np.float32, copy=False)

    def _check(self, values: NDArray, low: float, high: float, to_K: float) -> None:
        limit_K, worst = self.max_kelvin or MAX_KELVIN, low if -low > high else high
        if abs(worst) * to_K > limit_K:
            self._refuse(values, worst, to_K, f"the limit is {limit_K:g} K")
        if self.max_kelvin is None and (why := self.repeated(values, low, to_K)):
            self._refuse(values, low, to_K, why)

    def repeated(self, values: NDArray, low: float, to_K: float) -> str:
        """Why the lowest value is a blank; "" if it is not."""
        if low < 0.0 and self.lowest is not None and low <= self.zero + self.scale * self.lowest:
            return "it is the lowest of such integers"
        if low * to_K < REPEATED_KELVIN:
            far_below = values[values < 0.5 * low]
            if len(far_below) > 1 and (far_below == low).all():
                return "all others are far above it"
        return ""

    def _refuse(self, values: NDArray, worst: float, to_K: float, why: str) -> None:
        number, kelvin = (worst - self.zero) / self.scale, worst * to_K
        stored = f"{round(number)}" if self.integers else f"{number:.9g}"
        message = (
            f"{self.path} has the number {stored} in {int((values == worst).sum())} voxels, {kelvin:.4g} K in its unit"
        )
        real = f"--max-kelvin {max(1.1 * abs(kelvin), MAX_KELVIN):.2g} if it is real; " if abs(kelvin) < 1e29 else ""
        hint = f"--blank {stored} if it means no measurement; {real}--unit if '{self.unit}' is wrong"
        raise DataError(f"{message} '{self.unit}'; {why}", hint)


def _extremes(values: NDArray) -> tuple[float, float]:
    """The lowest and the highest, NaN if there is none."""
    return float(np.fmin.reduce(values, axis=None)), float(np.fmax.reduce(values, axis=None))


def read_blanks(path: Path, header: fits.Header, unit: str, config: CubeConfig) -> tuple[Blanks, tuple[str, ...]]:
    """From --blank and, for floating-point data, from BLANK, which GILDAS writes there; astropy applies it to integers.

    `--blank` is the number in the file, as BLANK is: before BSCALE and BZERO.
    """
    bits, stated = header["BITPIX"], header.get("BLANK")
    scale, zero = float(header.get("BSCALE", 1.0)), float(header.get("BZERO", 0.0))
    if scale == 0.0 or not np.isfinite([scale, zero]).all():
        what = f"{path}: BSCALE is {scale:g} and BZERO {zero:g}; no values can be made of its numbers"
        raise DataError(what, "fix them")
    numbers, notes = [], []
    if bits < 0 and isinstance(stated, int | float):
        numbers.append(float(stated))
        notes.append(f"{path.name}: values of {stated} (BLANK) count as missing")
    if config.blank is not None:
        numbers.append(config.blank)
    doubtful = bits > 8 and stated is None and config.blank is None
    lowest = -(2.0 ** (bits - 1)) if doubtful else None
    return Blanks(path, scale, zero, tuple(numbers), bits > 0, lowest, config.max_kelvin, unit), tuple(notes)


def mask_blanks(path: Path, header: fits.Header, values: NDArray[np.float32]) -> list[str]:
    """For a figure: values that stand for no measurement become NaN, those that show only by their size with a note."""
    blanks, notes = read_blanks(path, header, "", CubeConfig())
    for number in blanks.numbers:
        values[np.isclose(values, number, rtol=1e-6, atol=0.0)] = np.nan
    said = list(notes)
    for _ in range(4):
        low, high = _extremes(values)
        worst = low if blanks.repeated(values, low, 1.0) or -low > high else high
        if not abs(worst) > BEYOND_ANY and not (worst == low and blanks.repeated(values, low, 1.0)):
            break
        said.append(f"{path.name} has {int((values == worst).sum())} values of {worst:.9g}, which are not drawn")
        values[values == worst] = np.nan
    return said
