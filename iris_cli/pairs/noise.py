"""Noise of an observed image, drawn by counter: it depends on the key of the stream and the position alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from iris_cli.config.grid import Coverage, Grid
from iris_cli.config.survey import survey
from iris_cli.config.train import MASS_PER_K_KM_S, Noise
from iris_cli.errors import UsageError
from iris_cli.observers.coverage import covered
from iris_cli.units import INNER
from shards.order import stream_key

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))

#: Inner units of an observation per kelvin, for quantities where this does not depend on the line's frequency.
OBSERVED_PER_K = {"temperature": INNER.temperature_per_SI, "v_density": MASS_PER_K_KM_S}


def pixel_sigma(sigma: float, latitudes: float, reduction: str) -> float:
    """Sigma of an l-v pixel, given that of a voxel: a mean over independent latitudes divides it by their square root.

    The maximum over latitude of a bright line has the noise of one voxel.
    """
    return sigma / math.sqrt(latitudes) if reduction == "mean" else sigma


def independent_latitudes(observed: NDArray, beam_sigma_cells: float) -> float:
    """The number of independent values in the mean over latitudes whose noise a Gaussian beam has correlated.

    A beam of sigma s gives neighbours d cells apart the correlation exp(-d^2 / (4 s^2)). `observed` (B,) is the share
    of each latitude that was observed: dark ones make the mean less noisy.
    """
    return len(observed) ** 2 / float(observed @ latitude_correlation(len(observed), beam_sigma_cells) @ observed)


def latitude_correlation(steps: int, beam_sigma_cells: float) -> NDArray[np.float64]:
    """(steps, steps) correlation of the noise of neighbouring latitudes."""
    if beam_sigma_cells <= 0:
        return np.eye(steps)
    cells = np.arange(steps)
    return np.exp(-((cells[:, None] - cells) ** 2) / (4.0 * beam_sigma_cells**2))


@dataclass(frozen=True)
class ImageNoise:
    """Gaussian noise of an l-v image: `sigma` and `mean` of a pixel in its own unit, correlated along longitude.

    With `fade`, each sample's noise is multiplied by one factor drawn from U(0, 1). The images of a line have the
    common noise of one cube: `mixing` (channel, channel) makes their noise from independent noise of unit variance,
    in units of `sigma`; a channel's mean is `mean` times its value in `means`.
    """

    sigma: float
    mean: float = 0.0
    fade: bool = True
    beam_sigma_cells: float = 0.0
    mixing: tuple[tuple[float, ...], ...] = ((1.0,),)
    means: tuple[float, ...] = (1.0,)

    @classmethod
    def of(
        cls, config: Noise, quantity: str, grid: Grid, reduction: str, coverage: Coverage | None = None
    ) -> "ImageNoise":
        """The noise of an image, given a configuration in kelvin, where its longitude and velocity were observed.

        UsageError where a kelvin cannot be converted.
        """
        per_K = config.observed_per_K or OBSERVED_PER_K.get(quantity)
        if per_K is None:
            what = f"noise is given in kelvin, but the observation is an {quantity}"
            raise UsageError(what, "give the value of a kelvin in its unit: --noise-observed-per-k")
        sigma_K, beam_arcsec = config.sigma_K, config.beam_fwhm_arcsec
        if config.survey:
            sigma_K, beam_arcsec = survey(config.survey).voxel_noise_K(grid), survey(config.survey).beam_arcsec
        beam_deg = beam_arcsec / 3600.0 / FWHM_PER_SIGMA
        lon_sigma, lat_sigma = beam_deg / grid.longitude.step, beam_deg / grid.latitude.step
        voxel, mean = sigma_K * per_K, config.mean_K * per_K
        seen = covered(grid.latitude, coverage.lat_deg if coverage else None)
        if reduction == "moments":
            weights = grid.latitude_weights() * seen
            covariance = weights @ latitude_correlation(grid.lat_steps, lat_sigma) @ weights.T
            mixing = np.linalg.cholesky(covariance + 1e-12 * covariance[0, 0] * np.eye(3))  # two latitudes: singular
            means = tuple(weights.sum(axis=1).tolist())
            return cls(voxel, mean, config.fade, lon_sigma, tuple(map(tuple, mixing.tolist())), means)
        mean *= float(seen.mean()) if reduction == "mean" else 1.0
        sigma = pixel_sigma(voxel, independent_latitudes(seen, lat_sigma), reduction)
        return cls(sigma, mean, config.fade, lon_sigma)

    def draw(self, shape: Sequence[int], key: int, position: int) -> NDArray[np.float32]:
        """(channel, L, V) the noise of the sample at `position` of the stream `key` (64 bits)."""
        generator = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, position]))
        fade = generator.random() if self.fade else 1.0
        image = generator.standard_normal(shape, dtype=np.float32)
        if self.beam_sigma_cells > 0:
            image = _correlate(image, self.beam_sigma_cells)
        lines = image.reshape(-1, len(self.means), *image.shape[1:])
        mixing, means = (np.asarray(values, np.float64) for values in (self.mixing, self.means))
        mixed = np.einsum("ij,njlv->nilv", (self.sigma * fade * mixing).astype(np.float32), lines)
        mixed += (self.mean * fade * means).astype(np.float32)[:, None, None]
        return mixed.reshape(image.shape)


def _correlate(image: NDArray[np.float32], sigma_cells: float) -> NDArray[np.float32]:
    """Smooth along longitude, then rescale to unit variance."""
    smooth = gaussian_filter1d(image, sigma_cells, axis=-2, mode="wrap")
    impulse = np.zeros(image.shape[-2])
    impulse[0] = 1.0
    gain = gaussian_filter1d(impulse, sigma_cells, mode="wrap")
    return smooth / np.float32(np.sqrt((gain**2).sum()))


def noise_key(seed: int, stream: str, epoch: int) -> int:
    """64 bits for the noise of one epoch of one stream ("train", "validation", "test")."""
    return stream_key("noise", stream, seed, epoch)
