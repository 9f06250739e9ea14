"""Power spectra of predicted and true maps, and their cross-correlation: accuracy by size of structure."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iris_cli.config.grid import Grid
from iris_cli.standard.top_down_plane import Plane

#: Bins a decade of wavenumber.
BINS_PER_DECADE = 8


@dataclass(frozen=True)
class Powers:
    """(n, bins) each: auto spectra of prediction and truth, and the real part of their cross spectrum."""

    pred: Tensor
    true: Tensor
    cross: Tensor

    @property
    def ratio(self) -> Tensor:
        """P_pred / P_true: 1 where structure of a size has the right strength; NaN where the truth has none."""
        return torch.where(self.true > 0, self.pred / self.true, torch.nan)

    @property
    def correlation(self) -> Tensor:
        """P_cross / sqrt(P_pred P_true), -1 to 1: 1 where structure is at the right position; 0 without any."""
        scale = (self.pred * self.true).sqrt()
        value = torch.where(scale > 0, self.cross / scale.clamp(min=torch.finfo(scale.dtype).tiny), 0.0)
        return torch.where(self.true > 0, value, torch.nan)


@dataclass(frozen=True)
class Wavenumbers:
    """Bins of k = 1/wavelength, pc^-1, even in log k, from one wave across the map to the coarser axis' Nyquist limit.

    Maps are treated as flat, with the pixel sizes at Sgr A*. The mean is subtracted and the edges are tapered by a
    Hann window, because a map is not periodic.
    """

    #: (bins,) geometric mean of the wavenumbers in each bin.
    k_per_pc: NDArray[np.float64]
    #: (R', L // 2 + 1) the bin of each mode; the number of bins for those outside all.
    bin: Tensor
    #: (R', L // 2 + 1) how many modes of the whole plane it represents, those of the half that rfft omits included.
    weight: Tensor
    #: (R', L)
    window: Tensor

    @classmethod
    def of(cls, grid: Grid) -> "Wavenumbers":
        rows, columns = grid.density_shape[1:]
        dr, dl = Plane.of(grid).step_pc
        k = np.hypot(np.fft.fftfreq(rows, dr)[:, None], np.fft.rfftfreq(columns, dl)[None, :])
        lowest, highest = 1.0 / min(rows * dr, columns * dl), 0.5 / max(dr, dl)
        edges = np.geomspace(lowest, highest, max(2, round(BINS_PER_DECADE * np.log10(highest / lowest))) + 1)
        edges[[0, -1]] *= (1.0 - 1e-9, 1.0 + 1e-9)
        found = np.digitize(k, edges) - 1
        inside = (found >= 0) & (found < len(edges) - 1)
        weight = np.where((np.arange(k.shape[1]) == 0) | (2 * np.arange(k.shape[1]) == columns), 1.0, 2.0)
        weight = np.where(inside, weight, 0.0)
        used = np.unique(found[inside])
        bins = np.where(inside, np.searchsorted(used, found), len(used))
        mean_log = [np.average(np.log(k[bins == i]), weights=weight[bins == i]) for i in range(len(used))]
        hann = [np.hanning(n + 2)[1:-1] for n in (rows, columns)]
        return cls(np.exp(mean_log), *map(torch.from_numpy, (bins, weight, np.outer(*hann))))

    def __len__(self) -> int:
        return len(self.k_per_pc)

    def powers(self, pred: Tensor, true: Tensor) -> Powers:
        """Of maps (n, 1, R', L) in any unit; mean |transform|^2 of the modes in each bin."""
        p, t = self._modes(pred), self._modes(true)
        return Powers(self._mean(p.abs().square()), self._mean(t.abs().square()), self._mean((p * t.conj()).real))

    def _modes(self, image: Tensor) -> Tensor:
        mean = (image * self.window).sum(dim=(-2, -1), keepdim=True) / self.window.sum()
        return torch.fft.rfft2((image - mean) * self.window)

    def _mean(self, power: Tensor) -> Tensor:
        total = power.new_zeros(len(power), len(self) + 1)
        total.index_add_(1, self.bin.flatten(), (power * self.weight).flatten(1))
        modes = self.weight.new_zeros(len(self) + 1).index_add_(0, self.bin.flatten(), self.weight.flatten())
        return (total / modes)[:, :-1]
