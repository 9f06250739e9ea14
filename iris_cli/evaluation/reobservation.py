"""Consistency of a map with its observation: the map observed again as the training galaxies were, and its texture.

A map has no velocities. Which l-v image belongs to a map is learned from the true maps and the images of the training
set: a ridge regression from the pooled map to the pooled image, both stretched by asinh. Its penalty is the one with
the smallest leave-one-out error. What the regression leaves of the images, leave-one-out, has a covariance, as have the
images themselves, so that both the probability of an image given a map, and that without a map, are those of a normal
distribution. Two numbers describe a map:

- `nats`, the logarithm of the ratio of these probabilities: by how much the map makes its image more probable. It is
  ranked among the true maps of galaxies that were not trained on.
- `fine_structure`, the contrast between neighbouring pixels, as a multiple of that of true maps. A map that is a mean
  over many possible ones (as those of deterministic networks are) is smoother than a true map; one that is rougher than
  nearly all true maps was not made by their kind of galaxy.

docs/benchmarks/consistency.md has the values for trained networks, random weights and others.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from iris_cli.evaluation.image_statistics import in_blocks

POOLED = 16
#: Penalties to choose from, in units of the mean squared singular value of the training maps.
PENALTIES = np.geomspace(1e-4, 1e4, 25)
#: Blocks of the image with a smaller share of observed pixels are left out.
LEAST_COVERED = 0.5
#: Smaller contrasts of a map, and variances of an image relative to its mean square, count as these.
SMALLEST = 1e-6

Floats = NDArray[np.float64]


def pooled(images: NDArray) -> Floats:
    """(n, A, B) -> (n, P P) means over blocks."""
    return np.asarray(in_blocks(images, POOLED), np.float64).reshape(len(images), -1)


def contrast(maps: NDArray) -> Floats:
    """(n, R', L) densities -> (n,) rms difference of sqrt(density) from its mean over 3 x 3 pixels, per rms value."""
    roots = np.sqrt(np.maximum(maps, 0.0), dtype=np.float64)
    fine = roots - uniform_filter(roots, (0, 3, 3), mode="nearest")
    rms, whole = (np.sqrt(np.square(part).mean(axis=(1, 2))) for part in (fine, roots))
    return np.divide(rms, whole, out=np.zeros_like(rms), where=whole > 0)


@dataclass(frozen=True)
class Seen:
    """Pooled maps (n, a), pooled images (n, b) and the contrasts (n,) of maps: all that is kept of pairs."""

    maps: Floats
    images: Floats
    contrasts: Floats

    @classmethod
    def of(cls, maps: NDArray, images: NDArray) -> "Seen":
        """(n, R', L) and (n, L, V)"""
        return cls(pooled(maps), pooled(images), contrast(maps))

    @classmethod
    def joined(cls, parts: "list[Seen]") -> "Seen":
        return cls(*(np.concatenate([vars(part)[name] for part in parts]) for name in ("maps", "images", "contrasts")))


@dataclass(frozen=True)
class Consistency:
    """Agreement of a map with its image; see the module. Of several maps (samples), medians.

    `percentile`: true maps with fewer nats, in percent; `true_maps_5_50_95` are quantiles of the nats of true maps of
    held-out galaxies, `uniform` are those of a uniform map of the same mean density. `unlike`: nearly all true maps
    have more nats, or are smoother.
    """

    nats: float
    fine_structure: float
    percentile: float
    true_maps: int
    true_maps_5_50_95: tuple[float, float, float]
    uniform: float
    unlike: bool

    def __str__(self) -> str:
        low, _, high = self.true_maps_5_50_95
        return (
            f"observed again, the map makes the input {self.nats:.0f} nats more probable (true maps of galaxies like "
            f"the training set: {low:.0f} to {high:.0f}; a uniform map: {self.uniform:.0f}); it has "
            f"{self.fine_structure:.2f} times the fine structure of true maps"
        )


@dataclass(frozen=True)
class Reobservation:
    """The regression from maps to images, and what it leaves of the images of held-out galaxies, given true maps.

    `covariance_left` and `covariance` (b, b) are those of the blocks of training images about the re-observed map and
    about the mean image; `left` and `about_mean` (m, b) are these deviations of m held-out images, `contrasts` (m,) are
    those of their maps. `usual_contrast` is the median of the training maps.
    """

    map_scale: float
    image_scale: float
    map_mean: Floats
    image_mean: Floats
    weights: Floats
    covariance_left: Floats
    covariance: Floats
    usual_contrast: float
    left: Floats
    about_mean: Floats
    contrasts: Floats

    @classmethod
    def fit(cls, training: Seen, held_out: Seen) -> "Reobservation":
        scales = [float(np.sqrt(np.mean(np.square(part)))) or 1.0 for part in (training.maps, training.images)]
        x, y = (np.arcsinh(part / scale) for part, scale in zip((training.maps, training.images), scales, strict=True))
        found: dict[str, Any] = {"map_scale": scales[0], "image_scale": scales[1]}
        found |= {"map_mean": x.mean(axis=0), "image_mean": y.mean(axis=0)}
        found["weights"], left = ridge(x - found["map_mean"], y - found["image_mean"])
        found |= {"covariance_left": covariance(left), "covariance": covariance(y - found["image_mean"])}
        found["usual_contrast"] = float(np.median(training.contrasts))
        empty = np.zeros((0, y.shape[1]))
        left, about_mean = cls(**found, left=empty, about_mean=empty, contrasts=empty).deviations(held_out)
        return cls(**found, left=left, about_mean=about_mean, contrasts=held_out.contrasts)

    def deviations(self, seen: Seen) -> tuple[Floats, Floats]:
        """(n, b) twice: the images minus the re-observed maps, and minus the mean image."""
        images = np.arcsinh(seen.images / self.image_scale) - self.image_mean
        again = (np.arcsinh(seen.maps / self.map_scale) - self.map_mean) @ self.weights
        return images - again, images

    def check(self, maps: NDArray, image: NDArray, coverage: NDArray, rare: float) -> Consistency | None:
        """The consistency of maps (K, R', L) with an image (L, V), where this was observed; None where nothing was.

        Those of held-out true maps are computed on the same part of the image. `unlike`: a smaller share of them than
        `rare` has so few nats, or is so rough.
        """
        blocks = pooled(coverage[None])[0] >= LEAST_COVERED
        if not blocks.any():
            return None
        others = np.sort(self._nats(self.left, self.about_mean, blocks))
        uniform = np.full_like(maps[:1], maps.mean())
        seen = Seen.of(np.concatenate([maps, uniform]), np.repeat(image[None], len(maps) + 1, axis=0))
        *nats, of_uniform = self._nats(*self.deviations(seen), blocks).tolist()
        found, rough = float(np.median(nats)), float(np.median(seen.contrasts[:-1]))
        return Consistency(
            nats=found,
            fine_structure=rough / max(self.usual_contrast, SMALLEST),
            percentile=100.0 * float(np.mean(others < found)),
            true_maps=len(others),
            true_maps_5_50_95=tuple(np.percentile(others, [5, 50, 95]).tolist()),
            uniform=of_uniform,
            unlike=bool(min(np.mean(others <= found), np.mean(self.contrasts >= rough)) < rare),
        )

    def _nats(self, left: Floats, about_mean: Floats, blocks: NDArray[np.bool_]) -> Floats:
        """(n, b) twice -> (n,) ln of the probability of the `blocks` of an image given its map, minus that without."""
        both = ((left, self.covariance_left), (about_mean, self.covariance))
        given, without = (log_density(part[:, blocks], c[np.ix_(blocks, blocks)]) for part, c in both)
        return given - without


def covariance(deviations: Floats) -> Floats:
    """(n, b) with mean 0 -> (b, b); with few n it is shrunk towards a multiple of the identity."""
    n, b = deviations.shape
    found, shrinkage = deviations.T @ deviations / n, b / (b + n)
    return (1.0 - shrinkage) * found + (shrinkage * np.trace(found) / b + SMALLEST) * np.eye(b)


def log_density(deviations: Floats, covariance: Floats) -> Floats:
    """(n, b) -> (n,) of the normal distribution about 0, without its constant."""
    lower = np.linalg.cholesky(covariance)
    scaled = np.linalg.solve(lower, deviations.T)
    return -0.5 * (scaled**2).sum(axis=0) - np.log(np.diag(lower)).sum()


def ridge(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """(n, a) and (n, b), both with mean 0 -> the weights (a, b) of the penalty with the least leave-one-out error, and
    these errors (n, b).
    """
    u, s, directions = np.linalg.svd(x, full_matrices=False)
    along = u.T @ y

    def left_out(penalty: float) -> Floats:
        kept = s**2 / (s**2 + penalty)
        leverage = np.minimum(1.0 / len(x) + (u**2 * kept).sum(axis=1), 1.0 - 1e-6)
        return np.asarray((y - u @ (kept[:, None] * along)) / (1.0 - leverage)[:, None], np.float64)

    unit = max(float(np.mean(s**2)), 1e-30)
    penalty = min(PENALTIES * unit, key=lambda p: float(np.square(left_out(p)).sum()))
    weights = np.asarray(directions.T @ ((s / (s**2 + penalty))[:, None] * along), np.float64)
    return weights, left_out(penalty)
