"""Statistics of l-v images, in which an observation is compared with a set of mock ones.

In: images (n, L, V) in any unit, and the pixels that were observed. Out: (n, STATISTICS) numbers. Only `brightness`
depends on the unit of the images; all others describe their shape. Pixels below NOISE_CUT times the noise of an image
count as dark, and so do pixels that were not observed, in all images.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label, uniform_filter, uniform_filter1d

from iris_cli.axes import Axis

#: Pixels below so many times the noise count as dark.
NOISE_CUT = 3.0
#: The noise of an image without bright pixels, over their mean.
MOST_NOISE = 10.0
#: A smaller share of negative pixels is no noise.
LEAST_NEGATIVE = 0.05
#: Wavelengths between which slopes of power spectra are fitted: shares of the axis at most, pixels at least.
LONGEST, SHORTEST_PIXELS = 0.25, 2.5
#: A maximum along velocity is a component if it exceeds this share of the largest one at its longitude.
COMPONENT = 0.3

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Statistic:
    """Its unit, what it measures, and the smallest spread of a set that counts (sets may be equal in a statistic)."""

    unit: str
    about: str
    least_spread: float


_SHARE, _DEG, _KM_S, _LOG = ("", 0.01), ("deg", 0.005), ("km/s", 0.5), ("dex", 0.01)


def _row(kind: tuple[str, float], about: str) -> Statistic:
    return Statistic(kind[0], about, kind[1])


STATISTICS: dict[str, Statistic] = {
    "brightness": _row(_LOG, "log10 of the mean"),
    "noise": _row(_SHARE, "rms noise of a pixel over the mean"),
    "peak": _row(_LOG, "log10 of the brightest pixel over the mean"),
    "brightest 1 %": _row(_LOG, "log10 of the 99th percentile of the pixels over the mean"),
    "brightest 10 %": _row(_LOG, "log10 of the 90th percentile of the pixels over the mean"),
    "area of 50 %": _row(_SHARE, "smallest share of the pixels with half of the emission"),
    "area of 90 %": _row(_SHARE, "the same with 90 % of it"),
    "longitude of 10 %": _row(_DEG, "longitude below which a tenth of the emission is"),
    "longitude of 50 %": _row(_DEG, "its median longitude"),
    "longitude of 90 %": _row(_DEG, "longitude above which a tenth of it is"),
    "velocity of 10 %": _row(_KM_S, "velocity below which a tenth of the emission is"),
    "velocity of 50 %": _row(_KM_S, "its median velocity"),
    "velocity of 90 %": _row(_KM_S, "velocity above which a tenth of it is"),
    "line width": _row(_KM_S, "standard deviation of velocity at a longitude, mean over the emission"),
    "line width, low l": _row(_KM_S, "the same in the lowest third of the longitudes"),
    "line width, middle": _row(_KM_S, "in the middle third"),
    "line width, high l": _row(_KM_S, "in the highest third"),
    "velocity gradient": _row(("km/s/deg", 0.5), "slope of the mean velocity along longitude"),
    "velocity scatter": _row(_KM_S, "rms of the mean velocities about this slope"),
    "l-v correlation": _row(_SHARE, "correlation of longitude and velocity of the emission"),
    "point symmetry": _row(_SHARE, "correlation with the image turned about l = 0, v = 0"),
    "components": _row(("", 0.02), "maxima along velocity at a longitude, mean over the emission"),
    "spectral slope, l": _row(("", 0.05), "d ln P / d ln k of the power spectrum along longitude"),
    "spectral slope, v": _row(("", 0.05), "the same along velocity"),
    "autocorrelation, l": _row(_DEG, "shift along longitude that halves the autocorrelation"),
    "autocorrelation, v": _row(_KM_S, "the same along velocity"),
    "fine structure": _row(_SHARE, "rms difference of a pixel from the mean of 3 x 3, over the rms"),
    "structures": _row(("", 0.5), "connected regions of the brightest pixels that hold half of the emission"),
    "largest structure": _row(_SHARE, "share of this emission in the largest of them"),
}


def statistics_of(images: NDArray, observed: NDArray[np.bool_], longitude: Axis, velocity: Axis) -> Floats:
    """(n, L, V) images, (L, V) True where pixels were observed -> (n, STATISTICS), finite.

    At least a few pixels must be observed along each axis.
    """
    rows, columns = _bounds(observed)
    seen = np.where(observed, images, 0.0)[:, rows, columns].astype(np.float64)
    area, lon, v = float(observed.sum()), longitude.centres()[rows], velocity.centres()[columns]
    noise = noise_of(seen)
    bright = np.where(seen > NOISE_CUT * noise[:, None, None], seen, 0.0)
    mean = np.maximum(bright.sum(axis=(1, 2)) / area, 1e-12)
    found = {"brightness": np.log10(mean), "noise": np.minimum(noise / mean, MOST_NOISE)}
    bright /= mean[:, None, None]
    found |= _brightness(bright, observed[rows, columns]) | _position(bright, lon, v) | _lines(bright, lon, v)
    found |= _texture(bright, longitude.step, velocity.step) | _structures(bright)
    return np.column_stack([found[name] for name in STATISTICS])


def in_blocks(images: NDArray, pixels: int) -> NDArray:
    """(n, A, B) -> means over blocks, `pixels` to 2 pixels - 1 of them along an axis that has so many pixels.

    A remainder at the end of an axis is left out.
    """
    n, rows, columns = images.shape
    a, b = max(rows // pixels, 1), max(columns // pixels, 1)
    cut = images[:, : rows // a * a, : columns // b * b]
    return cut.reshape(n, rows // a, a, columns // b, b).mean(axis=(2, 4))


def _bounds(observed: NDArray[np.bool_]) -> tuple[slice, slice]:
    rows, columns = (np.flatnonzero(observed.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def with_noise_like(images: NDArray[np.float32], image: NDArray, observed: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Images (n, L, V) plus white noise of the rms of `image` (L, V), by `noise_of`; the same noise in each call."""
    rows, columns = _bounds(observed)
    rms = noise_of(np.where(observed, image, 0.0)[None, rows, columns].astype(np.float64))[0]
    return images + np.random.default_rng(0).normal(0.0, rms, images.shape).astype(np.float32)


def noise_of(images: Floats) -> Floats:
    """(n, L, V) -> (n,) rms of the negative pixels; 0 where these are fewer than LEAST_NEGATIVE: absorption."""
    below = images < 0
    share = below.mean(axis=(1, 2))
    rms = np.sqrt((images**2 * below).mean(axis=(1, 2)) / np.maximum(share, 1e-12))
    return np.where(share > LEAST_NEGATIVE, rms, 0.0)


def _brightness(images: Floats, observed: NDArray[np.bool_]) -> dict[str, Floats]:
    pixels = np.sort(images[:, observed], axis=1)[:, ::-1]
    inside = np.cumsum(pixels, axis=1) / np.maximum(pixels.sum(axis=1, keepdims=True), 1e-12)
    high = {"peak": pixels[:, 0]}
    high |= {f"brightest {share} %": pixels[:, pixels.shape[1] * share // 100] for share in (1, 10)}
    areas = {f"area of {share} %": (inside < 0.01 * share).mean(axis=1) for share in (50, 90)}
    return {name: np.log10(np.maximum(x, 1e-3)) for name, x in high.items()} | areas


def _position(images: Floats, lon: Floats, v: Floats) -> dict[str, Floats]:
    found = {}
    for name, axis, along in (("longitude", lon, 2), ("velocity", v, 1)):
        inside = np.cumsum(images.sum(axis=along), axis=1)
        inside /= np.maximum(inside[:, -1:], 1e-12)
        for share in (10, 50, 90):
            found[f"{name} of {share} %"] = np.array([np.interp(0.01 * share, row, axis) for row in inside])
    turned = images[:, _opposite(lon)[:, None], _opposite(v)] * ((_opposite(lon) >= 0)[:, None] & (_opposite(v) >= 0))
    power = np.sqrt((images**2).sum(axis=(1, 2)) * (turned**2).sum(axis=(1, 2)))
    return found | {"point symmetry": (images * turned).sum(axis=(1, 2)) / np.maximum(power, 1e-12)}


def _opposite(axis: Floats) -> NDArray[np.int64]:
    """The index of -x for each x of an axis; -1 outside."""
    index = np.rint((-axis - axis[0]) / (axis[1] - axis[0])).astype(int)
    return np.where((index >= 0) & (index < len(axis)), index, -1)


def _lines(images: Floats, lon: Floats, v: Floats) -> dict[str, Floats]:
    weight = images.sum(axis=2)
    total = np.maximum(weight.sum(axis=1), 1e-12)
    there = np.maximum(weight, 1e-12)
    centre = images @ v / there
    variance = np.maximum(images @ v**2 / there - centre**2, 0.0) * (weight > 0)
    width = np.sqrt(variance)

    def mean(x: Floats, part: slice = slice(None)) -> Floats:
        return (x * weight)[:, part].sum(axis=1) / np.maximum(weight[:, part].sum(axis=1), 1e-12)

    parts = np.linspace(0, len(lon), 4).round().astype(int)
    thirds = {
        f"line width, {name}": mean(width, slice(low, high))
        for name, low, high in zip(("low l", "middle", "high l"), parts, parts[1:], strict=False)
    }
    off_l = lon - (weight @ lon / total)[:, None]
    off_v = centre - mean(centre)[:, None]
    slope = mean(off_l * off_v) / np.maximum(mean(off_l**2), 1e-12)
    scatter = np.sqrt(mean((off_v - slope[:, None] * off_l) ** 2))
    spread = np.sqrt(mean(off_l**2) * (mean(off_v**2) + mean(variance)))
    smooth = uniform_filter1d(images, 3, axis=2, mode="constant")
    inner = smooth[:, :, 1:-1]
    peaks = (inner > smooth[:, :, :-2]) & (inner >= smooth[:, :, 2:])
    peaks &= inner > COMPONENT * smooth.max(axis=2, keepdims=True)
    return {
        "line width": mean(width),
        **thirds,
        "velocity gradient": slope,
        "velocity scatter": scatter,
        "l-v correlation": mean(off_l * off_v) / np.maximum(spread, 1e-12),
        "components": mean(peaks.sum(axis=2).astype(float)),
    }


def _texture(images: Floats, lon_step: float, v_step: float) -> dict[str, Floats]:
    rms = np.sqrt(np.maximum((images**2).mean(axis=(1, 2)), 1e-12))
    fine = images - uniform_filter(images, (0, 3, 3), mode="nearest")
    return {
        "spectral slope, l": spectral_slope(images.swapaxes(1, 2)),
        "spectral slope, v": spectral_slope(images),
        "autocorrelation, l": half_width(images.swapaxes(1, 2)) * lon_step,
        "autocorrelation, v": half_width(images) * v_step,
        "fine structure": np.sqrt((fine**2).mean(axis=(1, 2))) / rms,
    }


def spectral_slope(images: Floats) -> Floats:
    """(n, m, N) -> (n,) slope of ln(power) against ln(k) along the last axis; power is the mean over m, with a Hann
    window.
    """
    pixels = images.shape[2]
    power = (np.abs(np.fft.rfft(images * np.hanning(pixels + 2)[1:-1], axis=2)) ** 2).mean(axis=1)
    k = np.fft.rfftfreq(pixels)
    band = (k >= min(1.0 / (LONGEST * pixels), 0.25)) & (k <= 1.0 / SHORTEST_PIXELS)
    x = np.log(k[band]) - np.log(k[band]).mean()
    return np.log(np.maximum(power[:, band], 1e-12)) @ x / max(float(x @ x), 1e-12)


def half_width(images: Floats) -> Floats:
    """(n, m, N) -> (n,) pixels by which images are shifted along the last axis when the autocorrelation is one half."""
    pixels = images.shape[2]
    power = (np.abs(np.fft.rfft(images, 2 * pixels, axis=2)) ** 2).sum(axis=1)
    correlation = np.fft.irfft(power, axis=1)[:, :pixels]
    correlation /= np.maximum(correlation[:, :1], 1e-12)
    below = correlation < 0.5
    first = np.where(below.any(axis=1), below.argmax(axis=1), pixels - 1)
    rows = np.arange(len(images))
    high, low = correlation[rows, np.maximum(first - 1, 0)], correlation[rows, first]
    return np.maximum(first - 1, 0) + np.clip((high - 0.5) / np.maximum(high - low, 1e-12), 0.0, 1.0)


def _structures(images: Floats) -> dict[str, Floats]:
    number, largest = np.zeros(len(images)), np.zeros(len(images))
    for i, image in enumerate(images):
        ordered = np.sort(image, axis=None)[::-1]
        sums = np.cumsum(ordered)
        regions, number[i] = label((image >= ordered[np.searchsorted(sums, 0.5 * sums[-1])]) & (image > 0))
        emission = np.bincount(regions.ravel(), image.ravel())[1:]
        largest[i] = emission.max(initial=0.0) / max(float(emission.sum()), 1e-12)
    return {"structures": number, "largest structure": largest}
