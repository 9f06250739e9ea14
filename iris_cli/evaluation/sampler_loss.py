"""The loss of a sampler: a sum of proper scores of a few samples of each map, a number without units.

The expectation of a proper score is least for samples of the posterior. A score of single pixels alone would let
neighbours be independent; so it is taken at several scales, of masses, of the balance of near and far, and of patches
(Gneiting & Raftery 2007, doi:10.1198/016214506000001437; trained so for weather: Lang et al. 2024, arXiv:2412.15832).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

#: Pixels across over which densities are averaged before they are scored; those that fit into the map.
SCALES = (1, 2, 4, 8, 16)
#: A patch is so many averages across, at each scale.
PATCH = 4
#: Masses count as at least this density in every pixel, as a share of the loss's normalization.
FLOOR = 1e-3


def fair_score(distance: Tensor, between: Tensor) -> Tensor:
    """The fair score of M samples: their mean distance from the truth, less half their mean distance from one another.

    `distance` (n, M, …) and `between` (n, pairs, …) -> (n,), the mean over everything else (Ferro 2014).
    """
    return distance.flatten(1).mean(dim=1) - 0.5 * between.flatten(1).mean(dim=1)


def fair_crps(samples: Tensor, true: Tensor) -> Tensor:
    """(n, M, …) and (n, 1, …) -> (n,): the continuous ranked probability score, mean over the last axes."""
    i, j = torch.triu_indices(samples.shape[1], samples.shape[1], offset=1, device=samples.device)
    return fair_score((samples - true).abs(), (samples[:, i] - samples[:, j]).abs())


def fair_energy_score(samples: Tensor, true: Tensor) -> Tensor:
    """The same of vectors (n, M, places, d): distances are Euclidean, divided by sqrt(d)."""
    i, j = torch.triu_indices(samples.shape[1], samples.shape[1], offset=1, device=samples.device)

    def norm(x: Tensor) -> Tensor:
        return (x.square().mean(dim=-1) + 1e-12).sqrt()

    return fair_score(norm(samples - true), norm(samples[:, i] - samples[:, j]))


def scores(samples: Tensor, true: Tensor, normalization: Tensor, volume: Tensor) -> dict[str, Tensor]:
    """The scores (n,) by name of samples (n, M, R', L) of the true densities (n, 1, R', L).

    `volume` (R', 1) is that of a pixel.
    """
    both = torch.cat([samples, true], dim=1).float() / normalization.float()
    found: dict[str, Tensor] = {}

    def score(name: str, x: Tensor, how=fair_crps) -> None:  # type: ignore[no-untyped-def]
        found[name] = how(x[:, :-1], x[:, -1:])

    for size in (s for s in SCALES if s <= both.shape[-1]):
        means = torch.asinh(F.avg_pool2d(both, size))
        score(f"crps_{size}", means)
        if means.shape[-1] >= PATCH:
            patches = F.unfold(means.flatten(0, 1)[:, None], PATCH, stride=PATCH).transpose(1, 2)
            score(f"patches_{size}", patches.unflatten(0, both.shape[:2]), fair_energy_score)
    masses = both * volume
    columns, half = masses.mean(dim=2), masses.shape[2] // 2
    near, far = masses[:, :, :half].mean(dim=2), masses[:, :, -half:].mean(dim=2)
    score("ln_columns", (columns + FLOOR).log())
    score("ln_mass", (columns.mean(dim=2) + FLOOR).log())
    score("near", near.mean(dim=2) / (near + far).mean(dim=2).clamp(min=FLOOR))
    score("near_columns", (near - far) / (columns[:, -1:].mean(dim=2, keepdim=True) + FLOOR))
    return found


#: Of each score in the loss. The scores of masses become small when they are learned: with weights of 0.1 and 0.3 the
#: samples' total masses were still spread three times too widely after 600 steps.
WEIGHTS = {f"{score}_{size}": 1.0 for score in ("crps", "patches") for size in SCALES}
WEIGHTS |= {"ln_columns": 1.0, "ln_mass": 3.0, "near": 2.0, "near_columns": 0.2}
