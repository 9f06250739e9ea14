"""Near or far of Sgr A*? The networks' answer for an l-v image, for each pixel and for clouds, beside the prior."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from iris_cli.config.cube import LEAST_COVERAGE
from iris_cli.config.grid import Grid
from iris_cli.files import atomic_file
from iris_cli.observers.line_of_sight import distance_edges
from iris_cli.reverter.distances import Distances
from iris_cli.telescope.clouds import Cloud
from iris_cli.telescope.lv_image import LvImage, lv_header, to_fits_axes

#: Of the distance, and of P(near) within a cloud and between networks.
QUANTILES = (0.16, 0.5, 0.84)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class NearFar:
    """`shares` (networks, bins, L, V) of the gas in bins of distance with `edges_pc` from the Sun, and the same of the
    `prior`. `held_out` describes in words how good the networks are on galaxies that they have not seen.
    """

    shares: Floats
    prior: Floats
    edges_pc: Floats
    centre_pc: float
    held_out: str = ""

    @property
    def near_bins(self) -> int:
        """Bins that end before Sgr A*."""
        return int(np.searchsorted(self.edges_pc, self.centre_pc - 1e-6))

    def p_near_of(self, shares: Floats) -> Floats:
        """(…, bins, L, V) -> (…, L, V)"""
        return shares[..., : self.near_bins, :, :].sum(axis=-3)

    @property
    def p_near(self) -> Floats:
        """(L, V) of the networks together."""
        return self.p_near_of(self.shares).mean(axis=0)

    @property
    def prior_p_near(self) -> Floats:
        """(L, V) of the training galaxies at this (l, v), without the image."""
        return self.p_near_of(self.prior).mean(axis=0)

    def distance_pc(self, shares: Floats) -> Floats:
        """(bins, …) -> (QUANTILES, …) pc from the Sun, linear within bins."""
        nearer = np.concatenate([np.zeros((1, *shares.shape[1:])), shares.cumsum(axis=0)])
        flat = nearer.reshape(len(nearer), -1)
        found = [np.interp(QUANTILES, column / max(column[-1], 1e-30), self.edges_pc) for column in flat.T]
        return np.stack(found, axis=1).reshape(len(QUANTILES), *shares.shape[1:])

    def difference(self, image: NDArray) -> float:
        """How far P(near) is from the prior's in the mean over the light of an image (L, V)."""
        light = np.maximum(image, 0.0)
        return float((light * np.abs(self.p_near - self.prior_p_near)).sum() / max(light.sum(), 1e-30))

    def sentence(self, image: NDArray) -> str:
        """The answer and its quality in words."""
        light = np.maximum(image, 0.0)
        near = float((light * self.p_near).sum() / max(light.sum(), 1e-30))
        what = f"{100 * near:.0f} % of the light is from the near side, and P(near) differs from the prior's by "
        return "; ".join([f"{what}{self.difference(image):.2f}", *filter(None, [self.held_out])])


def near_far(networks: Sequence[Distances], image: torch.Tensor, grid: Grid, held_out: str = "") -> NearFar:
    """What distance networks answer for an image (1, channel, L, V); several count alike."""
    with torch.no_grad():
        shares = [network(image)[0].double().exp().numpy() for network in networks]
    priors = [network.prior.double().exp().numpy() for network in networks]
    return NearFar(np.stack(shares), np.stack(priors), distance_edges(grid), grid.observer_distance_pc, held_out)


def near_far_hdus(found: NearFar, lv: LvImage) -> list[fits.ImageHDU]:
    """P_NEAR, P_PRIOR and DISTANCE (16, 50 and 84 % quantiles) on the axes of the l-v image; NaN where unobserved."""
    unseen = lv.coverage < LEAST_COVERAGE
    hdus = []
    for name, image, about in (
        ("P_NEAR", found.p_near, "probability: nearer than Sgr A*"),
        ("P_PRIOR", found.prior_p_near, "the same for all training galaxies"),
    ):
        masked = np.where(unseen, np.nan, image).astype(np.float32)
        hdus.append(fits.ImageHDU(to_fits_axes(masked), header=lv_header(lv, ""), name=name))
        hdus[-1].header["BTYPE"] = about
    quantiles = found.distance_pc(found.shares.mean(axis=0))
    cube = np.stack([to_fits_axes(np.where(unseen, np.nan, image)) for image in quantiles]).astype(np.float32)
    hdus.append(fits.ImageHDU(cube, header=lv_header(lv, "pc"), name="DISTANCE"))
    header = hdus[-1].header
    header["BTYPE"] = "distance from the Sun"
    header["CTYPE3"] = "QUANTILE"
    for k, quantile in enumerate(QUANTILES, start=1):
        header[f"QUANT{k}"] = (quantile, f"quantile of plane {k}")
    return hdus


# --- clouds -----------------------------------------------------------------------------------------------------------


def cloud_table(clouds: Sequence[Cloud], found: NearFar, lv: LvImage) -> Table:
    """A row for each cloud: P(near), its 16 and 84 % quantiles over the cloud's light and the networks, the prior's
    P(near), the offset from Sgr A* along the line of sight, the share of the image's light, the literature's offset.

    A cloud outside the observed part of the image has NaN.
    """
    rows, light = [], np.maximum(lv.image.astype(np.float64), 0.0)
    each = found.p_near_of(found.shares)
    for cloud in clouds:
        weight = cloud.weights(lv.grid, lv.centre_deg) * (lv.coverage >= LEAST_COVERAGE)
        share = float((light * cloud.footprint(weight, lv.grid)).sum() / max(light.sum(), 1e-30))
        shining = weight * light
        weight = shining if shining.sum() > 1e-9 * light.max(initial=0.0) * weight.sum() else weight
        names = cloud.name, cloud.lon_deg, cloud.lat_deg, cloud.v_km_s
        literature = cloud.los_pc, cloud.los_sigma_pc
        if weight.sum() < 1e-3 * max(shining.max(initial=0.0), 1e-30) or weight.sum() == 0.0:
            rows.append((*names, *(math.nan,) * 7, share, *literature))
            continue
        weight = weight / weight.sum()
        low, high = _weighted_quantiles(each, np.broadcast_to(weight / len(each), each.shape), (0.16, 0.84))
        mixed = (found.shares.mean(axis=0) * weight).sum(axis=(1, 2))
        los = found.distance_pc(mixed) - found.centre_pc
        p_near, prior = (float((weight * image).sum()) for image in (found.p_near, found.prior_p_near))
        rows.append((*names, p_near, low, high, prior, *los, share, *literature))
    return _as_table(rows)


_COLUMNS = {
    "name": ("", "cloud"),
    "l": ("deg", "Galactic longitude"),
    "b": ("deg", "Galactic latitude"),
    "v": ("km/s", "LSR velocity"),
    "p_near": ("", "probability: nearer than Sgr A*"),
    "p_near_16": ("", "16 % quantile of P(near) over the cloud and the networks"),
    "p_near_84": ("", "84 % quantile"),
    "prior": ("", "P(near) of the training galaxies at this (l, v)"),
    "los_16": ("pc", "offset from Sgr A* along the line of sight, 16 % quantile; negative: nearer"),
    "los_50": ("pc", "median"),
    "los_84": ("pc", "84 % quantile"),
    "light": ("", "share of the light of the image"),
    "literature_los": ("pc", "offset in the catalogue"),
    "literature_sigma": ("pc", "its standard deviation"),
}


def _as_table(rows: Sequence[tuple[Any, ...]]) -> Table:
    table = Table(rows=rows, names=list(_COLUMNS))
    for name, (unit, about) in _COLUMNS.items():
        table[name].description = about
        if unit:
            table[name].unit = unit
        if name != "name":
            table[name].format = "%.3g" if name == "light" else "%.1f" if unit in ("pc", "km/s") else "%.3f"
    return table


def _weighted_quantiles(values: Floats, weights: Floats, at: tuple[float, ...]) -> tuple[float, ...]:
    order = np.argsort(values, axis=None)
    sums = weights.ravel()[order].cumsum()
    chosen = np.searchsorted(sums, np.asarray(at) * sums[-1])
    return tuple(values.ravel()[order[np.minimum(chosen, len(order) - 1)]].tolist())


def table_paths(out: Path) -> tuple[Path, Path]:
    """`map.fits` -> map.clouds.ecsv, map.clouds.tex."""
    stem = out.name.removesuffix(".fits")
    return out.with_name(f"{stem}.clouds.ecsv"), out.with_name(f"{stem}.clouds.tex")


def write_table(table: Table, out: Path, caption: str, history: Sequence[str] = ()) -> None:
    """As ECSV and as LaTeX, each whole or not at all."""
    import io

    table.meta["comments"] = [caption, *history]
    for path, how in zip(table_paths(out), ({"format": "ascii.ecsv"}, {"format": "ascii.latex"}), strict=True):
        text = io.StringIO()
        options = {"latexdict": {"caption": _in_latex(caption), "tabletype": "table"}} if path.suffix == ".tex" else {}
        named = table.copy()
        if path.suffix == ".tex":
            named.rename_columns(named.colnames, [name.replace("_", " ") for name in named.colnames])
            named["name"] = [_in_latex(str(name)) for name in named["name"]]
        named.write(text, **how, **options)
        with atomic_file(path) as file:
            file.write(text.getvalue().encode())


def _in_latex(text: str) -> str:
    """With the characters escaped that LaTeX takes as commands."""
    return re.sub(r"([%&_#$])", r"\\\1", text)
