"""The view from above: mean H2 density over latitude, the image that a reverter predicts."""

from torch import Tensor

from iris_cli import units
from iris_cli.axes import RHO, X_H2
from iris_cli.config.grid import Grid


def top_down_density(tensor: Tensor, grid: Grid) -> Tensor:
    """(…, 6, R, L, B) -> (…, 1, R', L): rho x_H2 m_H2 / (m_H + y_He m_He), M_sun/pc^3, distance cropped.

    `x_H2` is n(H2)/n_H, 0 to 0.5.
    """
    return h2_density(tensor[..., grid.r_crop_min : grid.r_crop_max, :, :]).mean(dim=-1).unsqueeze(-3)


def h2_density(tensor: Tensor) -> Tensor:
    """(…, 6, R, L, B) -> (…, R, L, B) mass density of H2, M_sun/pc^3."""
    return tensor[..., RHO, :, :, :] * tensor[..., X_H2, :, :, :] * units.H2_MASS_SHARE
