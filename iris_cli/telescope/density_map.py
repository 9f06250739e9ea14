"""The reverted map: the record of its making and its quality, and its FITS file.

HDU 0 of the file is the mean (distance upwards, longitude falling): of the samples, which are in SAMPLES, with their
standard deviation in STD and their QUANTILES; without samples, of the networks, with their standard deviation in SPREAD
if there are several. MASK is 1 at longitudes where nothing was observed. OBSERVED and COVERAGE are the l-v image that
was reverted, P_NEAR, P_PRIOR and DISTANCE the answers of distance networks on it (`near_far`).
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from iris_cli import __version__
from iris_cli.config.grid import Grid
from iris_cli.config.train import CHECKPOINTS
from iris_cli.console import plural
from iris_cli.errors import DataError, choose
from iris_cli.evaluation.out_of_distribution import InputScore
from iris_cli.evaluation.reobservation import Consistency
from iris_cli.evaluation.runs import in_words
from iris_cli.files import add_history, atomic_file, fits_cards, json_card
from iris_cli.telescope.fits_file import COPY, open_fits, reading
from iris_cli.telescope.lv_image import (
    LvImage,
    from_fits_axes,
    longitude_cards,
    lv_header,
    moment_hdus,
    read_hdus,
    to_fits_axes,
)
from iris_cli.text import in_ascii
from iris_cli.units import INNER, SI, convert

#: Name of a unit in options -> (BUNIT, factor from inner units).
DENSITY_UNITS = {"Msun/pc3": ("solMass pc-3", 1.0), "kg/m3": ("kg m-3", convert("density", INNER, SI))}
#: Probabilities of the planes of QUANTILES: median, 68 % and 95 %.
QUANTILES = (0.025, 0.16, 0.5, 0.84, 0.975)


def density_unit(name: str) -> tuple[str, float]:
    """(BUNIT, factor from inner units). UsageError for an unknown name."""
    return choose("unit", name, DENSITY_UNITS)


@dataclass(frozen=True)
class NetworkInput:
    """A checkpoint that was used, and the software versions that trained it."""

    checkpoint: str
    sha256: str
    epoch: int
    software: dict[str, str]

    @property
    def run(self) -> str:
        """`run` for run/checkpoints/best.pt and for run/member-01/checkpoints/best.pt."""
        path = Path(self.checkpoint)
        if path.parent.name != CHECKPOINTS:
            return path.name
        run = path.absolute().parent.parent
        return run.parent.name if run.name.startswith("member-") else run.name


@dataclass(frozen=True)
class FileInput:
    """A cube or an l-v image that was reverted, as named by the user."""

    file: str
    sha256: str


@dataclass(frozen=True)
class MapProvenance:
    """How a map was made from its l-v image: software versions, networks, files, unit."""

    software: dict[str, str]
    networks: tuple[NetworkInput, ...]
    files: tuple[FileInput, ...]
    #: Name -> GHz of the lines that the networks were trained on; empty if unknown.
    trained_lines_GHz: dict[str, float]
    unit: str
    #: Of all samplers together; 0 without.
    samples: int = 0


@dataclass(frozen=True)
class Estimate:
    """Mean over the samples or networks, and their standard deviation, None for a single network.

    `low` and `high` are the limits of the central 68 % of samples.
    """

    mean: float
    spread: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, values: NDArray, sampled: bool) -> "Estimate":
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        limits = (float(limit) for limit in np.quantile(values, (0.16, 0.84))) if sampled else ()
        return cls(float(values.mean()), spread, *limits)

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"{self.mean:.3g} ({self.low:.3g} to {self.high:.3g})"
        return f"{self.mean:.3g}" + ("" if self.spread is None else f" ± {self.spread:.2g}")


@dataclass(frozen=True)
class MapSummary:
    """H2 mass, the share of it in front of the model's centre, and the highest density of a pixel.

    They are of observed longitudes; `unobserved_mass_Msun` is what the networks predict where nothing was observed.
    """

    mass_Msun: Estimate
    near_share: Estimate
    peak_Msun_pc3: Estimate
    unobserved_mass_Msun: Estimate


@dataclass(frozen=True)
class MapQuality:
    """How reliable a map is.

    `sampled` is the share of the input that was observed. `input_score` compares the input with the training set,
    `consistency` the map with the input; where they are None, `no_score` says why. `runs` are the numbers of
    evaluation/runs.py that say how far several runs lie apart.
    """

    sampled: float
    input_score: InputScore | None
    no_score: str
    consistency: Consistency | None
    runs: dict[str, float] = field(default_factory=dict)

    def sentences(self) -> list[str]:
        """The quality in words: part of every figure's caption."""
        said = [f"{100 * self.sampled:.0f} % of the input observed"]
        if self.input_score is None:
            said.append("likeness to the training set unknown")
        else:
            unlike, rank = self.input_score.unlike, self.input_score.percentile
            like = "UNLIKE" if unlike else "like"
            said.append(f"{like} the training set (farther than {rank:.0f} % of held-out inputs)")
        if self.consistency is not None:
            said.append(str(self.consistency))
        return said + ([in_words(self.runs)] if self.runs else [])


@dataclass(frozen=True)
class MapRecord:
    """The making, the content and the quality of a map; JSON is made from it."""

    provenance: MapProvenance
    summary: MapSummary
    quality: MapQuality
    #: What the distance networks say of the light, in words; empty without such networks.
    near_far: str = ""

    def caption(self) -> str:
        """The text below every figure of the map: what it shows, from which cubes, by which runs, and its quality."""
        files = ", ".join(Path(file.file).name for file in self.provenance.files)
        runs = ", ".join(dict.fromkeys(network.run for network in self.provenance.networks))
        what = f"H2 density seen from Galactic north, reverted from {files} by {self._networks()} ({runs})"
        return "; ".join([what, *self._unobserved(), *self.quality.sentences()])

    def sentences(self) -> list[str]:
        """The result in words."""
        mass, near = self.summary.mass_Msun, self.summary.near_share
        intervals = " (mean and central 68 %)" if self.provenance.samples else ""
        what = f"{self._networks()}{intervals}: {mass} solar masses of H2, {near} of it on the near side"
        return [what, *filter(None, [self.near_far]), *self._unobserved(), *self.quality.sentences()]

    def _unobserved(self) -> list[str]:
        """The mass that the map does not count, if there are longitudes that were not observed."""
        mass = self.summary.unobserved_mass_Msun
        if mass.mean == 0:
            return []
        share = mass.mean / (mass.mean + self.summary.mass_Msun.mean)
        return [
            f"not counted: {mass} solar masses ({100 * share:.0f} %) predicted at longitudes that were not observed"
        ]

    def _networks(self) -> str:
        sampled = f"{self.provenance.samples} samples of " if self.provenance.samples else ""
        return sampled + plural(len(self.provenance.networks), "network")


def save_map(
    path: Path,
    density: NDArray,
    spread: NDArray | None,
    lv: LvImage,
    record: MapRecord,
    history: Iterable[str] = (),
    samples: NDArray | None = None,
    extensions: Iterable[fits.ImageHDU] = (),
) -> None:
    """Write densities (R', L) and `samples` (K, R', L) in inner units as a FITS file in the unit of `record`.

    The header holds the record as JSON, its main entries as cards, its caption as COMMENT cards, and `history` (how the
    file was made) as HISTORY cards.
    """
    bunit, factor = density_unit(record.provenance.unit)
    header = map_header(lv.grid, lv.centre_deg[0], bunit)
    plain = header.copy()
    _record_cards(header, record)
    for line in fits_cards(record.caption()):
        header.add_comment(line)
    add_history(header, history)
    hdus = fits.HDUList([fits.PrimaryHDU((to_fits_axes(density.T) * factor).astype(np.float32), header=header)])
    images = {} if spread is None else {"SPREAD" if samples is None else "STD": spread}
    if samples is not None:
        images |= {"QUANTILES": np.quantile(samples, QUANTILES, axis=0), "SAMPLES": samples}
    for name, values in images.items():
        image = np.stack([to_fits_axes(one.T) for one in values.reshape(-1, *density.shape)])
        hdus.append(fits.ImageHDU((image.reshape(values.shape) * factor).astype(np.float32), plain, name))
        if name == "QUANTILES":
            for k, quantile in enumerate(QUANTILES, start=1):
                hdus[name].header[f"QUANT{k}"] = (quantile, f"probability of plane {k}")
    hdus.append(_mask(lv, plain))
    for name, image, unit in (("OBSERVED", lv.image, "K"), ("COVERAGE", lv.coverage, "")):
        hdus.append(fits.ImageHDU(to_fits_axes(image), header=lv_header(lv, unit), name=name))
    hdus += [*moment_hdus(lv), *extensions]
    with atomic_file(path) as file:
        hdus.writeto(file)


def _mask(lv: LvImage, header: fits.Header) -> fits.ImageHDU:
    """1 where nothing was observed, on the axes of the map."""
    unobserved = np.broadcast_to(~lv.observed_longitudes, lv.grid.density_shape[1:])
    hdu = fits.ImageHDU(to_fits_axes(unobserved.T).astype(np.uint8), header=header, name="MASK")
    hdu.header["BUNIT"], hdu.header["BTYPE"] = "", "1: no observation at this longitude"
    return hdu


def is_map(path: Path) -> bool:
    """Whether a FITS file is a map of `iris revert`. DataError when it cannot be read."""
    notes: list[str] = []
    with open_fits(path, False, notes) as hdus, reading(path, notes):
        return "OBSERVED" in hdus


def load_map(path: Path) -> tuple[NDArray[np.float32], LvImage]:
    """(R', L) in inner units, also where nothing was observed, and the l-v image.

    DataError when the file is not a whole map of `iris revert`.
    """
    notes: list[str] = []
    with open_fits(path, False, notes) as hdus, reading(path, notes, "is not a whole map of `iris revert`", COPY):
        bunit = hdus[0].header.get("BUNIT")
        factors = dict(DENSITY_UNITS.values())
        if bunit not in factors or "OBSERVED" not in hdus:
            raise DataError(f"{path} is not a map of `iris revert`")
        density = from_fits_axes(hdus[0].data).T / np.float32(factors[bunit])
        observed = read_hdus(path, hdus, "OBSERVED")
    if density.shape != observed.grid.density_shape[1:]:
        raise DataError(f"{path} does not hold a map of {observed.grid.density_shape[1:]} pixels")
    return density, observed


def load_caption(path: Path) -> str:
    """The caption in a map of `iris revert`, which every figure of it shows; "" if its COMMENT cards were removed."""
    with open_fits(path, False, []) as hdus:
        return " ".join(map(str, hdus[0].header.get("COMMENT", ())))


def map_header(grid: Grid, centre_lon_deg: float, bunit: str) -> fits.Header:
    header, r, lat = fits.Header(), grid.distance, grid.latitude.edges()
    longitude_cards(header, grid, centre_lon_deg)
    header["CTYPE2"], header["CUNIT2"] = ("DIST", "distance from the Sun"), "pc"
    header["CRPIX2"], header["CRVAL2"], header["CDELT2"] = 1.0, float(r.centres()[grid.r_crop_min]), r.step
    header["BUNIT"] = (bunit, "mean H2 density over latitude")
    header["BTYPE"] = "H2 mass density"
    header["GCDIST"] = (grid.observer_distance_pc, "[pc] Sun to the model's centre")
    header["LATMIN"] = (lat[0], "[deg] lower edge of the mean")
    header["LATMAX"] = (lat[-1], "[deg] upper edge of the mean")
    return header


def _record_cards(header: fits.Header, record: MapRecord) -> None:
    """Main entries as cards, everything as JSON in IRISMAP."""
    provenance = record.provenance
    header["ORIGIN"] = f"IRIS {__version__}"
    header["DATE"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    for name, version in provenance.software.items():
        header[f"V_{name.upper()[:6]}"] = (version, f"version of {name}")
    for k, network in enumerate(provenance.networks, start=1):
        header[f"NET{k}"], header[f"NETSHA{k}"] = in_ascii(network.checkpoint), network.sha256
    for k, file in enumerate(provenance.files, start=1):
        header[f"CUBE{k}"], header[f"CUBSHA{k}"] = in_ascii(file.file), file.sha256
    header["IRISMAP"] = json_card(asdict(record))
