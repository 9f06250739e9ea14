"""Consistency of a map with its observation: the map observed again as the training galaxies were, and its texture.

A map has no velocities. Which l-v image belongs to a map is learned from the true maps and the images of the training
set: a ridge regression from the pooled map to the pooled image, both stretched by asinh. Its penalty is the one with
the smallest leave-one-out error. Two numbers describe a map:

- `unexplained`, the share of the image's variation about the mean training image that the re-observed map leaves;
- `fine_structure`, the contrast between neighbouring pixels, as a multiple of that of true maps. A map that is a mean
  over many possible ones (as those of deterministic networks are) is smoother than a true map, and reproduces the image
  no worse: `unexplained` alone does not separate them.

`distance` is in factors of two: the root of the sum of squares of log2(unexplained / its median for true maps), if that
is positive, and log2(fine_structure). It is about 0.3 for a true map of a galaxy that was not trained on.
docs/benchmarks/consistency.md has the values for trained networks, random weights and others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from iris_cli.evaluation.image_statistics import in_blocks

POOLED = 16
#: Penalties to choose from, in units of the mean squared singular value of the training maps.
PENALTIES = np.geomspace(1e-4, 1e4, 25)
#: A fine structure beyond this factor counts as this factor, so that the distance of a uniform map is finite.
MOST_DIFFERENT = 16.0
#: Blocks of the image with a smaller share of observed pixels are left out.
LEAST_COVERED = 0.5

#: Smaller shares of an image and contrasts of a map count as these.
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
    def of(cls, maps: NDArray, images: NDArray) -> Seen:
        """(n, R', L) and (n, L, V)"""
        return cls(pooled(maps), pooled(images), contrast(maps))

    @classmethod
    def joined(cls, parts: list[Seen]) -> Seen:
        return cls(*(np.concatenate([vars(part)[name] for part in parts]) for name in ("maps", "images", "contrasts")))


@dataclass(frozen=True)
class Consistency:
    """Agreement of a map with its image; see the module. `percentile`: true maps with a smaller distance, in percent.

    `true_maps_5_50_95` are quantiles of the distance of true maps of held-out galaxies, `uniform` is the distance of a
    uniform map with the same mean density. `unlike`: nearly all true maps have a smaller distance.
    """

    unexplained: float
    fine_structure: float
    distance: float
    percentile: float
    true_maps: int
    true_maps_5_50_95: tuple[float, float, float]
    uniform: float
    unlike: bool

    def __str__(self) -> str:
        low, middle, high = self.true_maps_5_50_95
        return (
            f"consistency distance {self.distance:.2f} (true maps {middle:.2f}, 5-95 %: {low:.2f}-{high:.2f}; "
            f"a uniform map {self.uniform:.2f}): observed again, it leaves {self.unexplained:.0%} of the image "
            f"unexplained, and it has {self.fine_structure:.2f} times the fine structure of true maps"
        )


@dataclass(frozen=True)
class Reobservation:
    """The regression from maps to images, and what it leaves of the images of held-out galaxies, given true maps.

    `left` and `about_mean` (m, b) are squared residuals of their blocks, from the re-observed map and from the mean
    image; `contrasts` (m,) those of their maps, `usual_contrast` the median of the training maps.
    """

    map_scale: float
    image_scale: float
    map_mean: Floats
    image_mean: Floats
    weights: Floats
    usual_contrast: float
    left: Floats
    about_mean: Floats
    contrasts: Floats

    @classmethod
    def fit(cls, training: Seen, held_out: Seen) -> Reobservation:
        scales = [float(np.sqrt(np.mean(np.square(part)))) or 1.0 for part in (training.maps, training.images)]
        x, y = (np.arcsinh(part / scale) for part, scale in zip((training.maps, training.images), scales, strict=True))
        found: dict[str, Any] = {"map_scale": scales[0], "image_scale": scales[1]}
        found |= {"map_mean": x.mean(axis=0), "image_mean": y.mean(axis=0)}
        weights = ridge(x - found["map_mean"], y - found["image_mean"])
        usual = float(np.median(training.contrasts))
        empty = np.zeros((0, y.shape[1]))
        made = cls(**found, weights=weights, usual_contrast=usual, left=empty, about_mean=empty, contrasts=empty[:, 0])
        left, about_mean = made.residuals(held_out)
        return cls(**{**vars(made), "left": left, "about_mean": about_mean, "contrasts": held_out.contrasts})

    def residuals(self, seen: Seen) -> tuple[Floats, Floats]:
        """(n, b) twice: squared residuals of the images from re-observed maps, and from the mean image."""
        images = np.arcsinh(seen.images / self.image_scale) - self.image_mean
        again = (np.arcsinh(seen.maps / self.map_scale) - self.map_mean) @ self.weights
        return (images - again) ** 2, images**2

    def check(self, density: NDArray, image: NDArray, coverage: NDArray, rare: float) -> Consistency | None:
        """The consistency of a map (R', L) with an image (L, V), where this was observed; None where nothing was.

        Those of held-out true maps are computed on the same part of the image. `unlike`: a smaller share of them than
        `rare` has such a distance.
        """
        blocks = pooled(coverage[None])[0] >= LEAST_COVERED
        if not blocks.any():
            return None
        usual = float(np.median(_unexplained(self.left[:, blocks], self.about_mean[:, blocks])))
        others = np.sort(self._distances(self.left[:, blocks], self.about_mean[:, blocks], self.contrasts, usual))
        pair = np.stack([density, np.full_like(density, density.mean())])
        seen = Seen.of(pair, np.stack([image, image]))
        left, about_mean = (part[:, blocks] for part in self.residuals(seen))
        distance, uniform = self._distances(left, about_mean, seen.contrasts, usual).tolist()
        return Consistency(
            unexplained=float(_unexplained(left, about_mean)[0]),
            fine_structure=float(seen.contrasts[0] / max(self.usual_contrast, SMALLEST)),
            distance=distance,
            percentile=100.0 * float(np.mean(others < distance)),
            true_maps=len(others),
            true_maps_5_50_95=tuple(np.percentile(others, [5, 50, 95]).tolist()),
            uniform=uniform,
            unlike=bool(np.mean(others >= distance) < rare),
        )

    def _distances(self, left: Floats, about_mean: Floats, contrasts: Floats, usual: float) -> Floats:
        fine = np.clip(contrasts / max(self.usual_contrast, SMALLEST), 1.0 / MOST_DIFFERENT, MOST_DIFFERENT)
        worse = _unexplained(left, about_mean) / max(usual, SMALLEST)
        return np.hypot(np.log2(np.maximum(worse, 1.0)), np.log2(fine))


def _unexplained(left: Floats, about_mean: Floats) -> Floats:
    return left.sum(axis=1) / np.maximum(about_mean.sum(axis=1), 1e-30)


def ridge(x: Floats, y: Floats) -> Floats:
    """(n, a) and (n, b), both with mean 0 -> weights (a, b) of the penalty with the least leave-one-out error."""
    u, s, directions = np.linalg.svd(x, full_matrices=False)
    along = u.T @ y

    def left_out(penalty: float) -> float:
        kept = s**2 / (s**2 + penalty)
        leverage = np.minimum(1.0 / len(x) + (u**2 * kept).sum(axis=1), 1.0 - 1e-6)
        return float(np.square((y - u @ (kept[:, None] * along)) / (1.0 - leverage)[:, None]).sum())

    unit = max(float(np.mean(s**2)), 1e-30)
    penalty = min(PENALTIES * unit, key=left_out)
    return np.asarray(directions.T @ ((s / (s**2 + penalty))[:, None] * along), np.float64)
