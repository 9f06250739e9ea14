"""The compiled backend: blocks of rays for the kernels of `compiled_kernel`, on as many threads as there are cores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iris_cli.observers.backends import compiled_kernel as ck
from iris_cli.observers.backends.backend import Accuracy, Spectra
from iris_cli.observers.emission import CM3_PER_M3, LineSetup, Matter, rayleigh_jeans_K
from iris_cli.observers.level_table import LevelTable
from iris_cli.observers.transfer import Regime
from iris_cli.units import MASS_PER_H_KG

#: Cells of a block of rays, 32 bytes each, stay in a core's second cache.
_CELLS_PER_BLOCK = 32_768


@dataclass(frozen=True)
class Backend:
    """float32, not differentiable."""

    def spectra(
        self, matter: Matter, setup: LineSetup, regime: Regime, dr_m: float, edges_km_s: Tensor, accuracy: Accuracy
    ) -> Spectra:
        fields = [_float32(f) for f in matter.__dict__.values()]
        cells, rays = fields[0].shape
        channels = len(edges_km_s) - 1
        line, continuum = np.empty((rays, channels), np.float32), np.empty(rays, np.float32)
        table, axes = packed_table(setup.table)
        first_edge, channel = edges_km_s[0].item(), (edges_km_s[-1] - edges_km_s[0]).item() / channels
        shared = (
            *fields,
            table,
            axes,
            constants(setup, dr_m),
            setup.in_cell_gradient,
            np.float32(first_edge),
            np.float32(channel),
        )

        def observe(first: int) -> None:
            last = min(first + block, rays)
            if regime.linear:
                ck.linear_block(first, last, *shared, regime.dusty, line, continuum)
            else:
                ck.thick_block(
                    first, last, *shared, accuracy.subsamples, np.float32(accuracy.step_per_width), line, continuum
                )

        block = max(1, min(64, _CELLS_PER_BLOCK // cells))
        with ThreadPoolExecutor(threads(accuracy)) as pool:
            list(pool.map(observe, range(0, rays, block)))
        return Spectra(torch.from_numpy(line), torch.from_numpy(continuum))


def threads(accuracy: Accuracy) -> int:
    """As many as torch uses: all cores, or one in a worker process that shares them."""
    return accuracy.threads or torch.get_num_threads()


def _float32(field: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(field.detach().cpu().numpy(), dtype=np.float32)


@lru_cache(maxsize=4)
def packed_table(table: LevelTable) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """((mixture, column, density, temperature, 2), (4, 3) first, 1/step, count): neighbours in use are neighbours
    in memory.
    """
    both = np.stack([table.log_upper, table.beta], axis=-1).transpose(1, 2, 0, 3, 4)
    if both.shape[2] == 1:
        both = np.repeat(both, 2, axis=2)
    rows = [[a.first, 1.0 / a.step if a.step else 0.0, max(a.count, 2)] for a in table.axes]
    return np.ascontiguousarray(both, np.float32), np.array(rows, np.float32)


def constants(setup: LineSetup, dr_m: float) -> NDArray[np.float32]:
    """The numbers of `compiled_kernel`, multiplied in float64 so that none leaves the range of float32."""
    k = np.zeros(ck.CONSTANTS)
    column_m2_per_cm3 = setup.tracer_per_CO * dr_m / CM3_PER_M3
    k[ck.PER_CM3] = CM3_PER_M3 / MASS_PER_H_KG
    k[ck.EMISSION] = setup.emission_K_km_s * column_m2_per_cm3
    k[ck.ABSORPTION] = setup.absorption_km_s * column_m2_per_cm3
    k[ck.QUANTUM_K] = setup.quantum_K
    k[ck.THERMAL] = setup.thermal_km2_s2_K
    k[ck.TURBULENCE2] = setup.turbulence_km_s**2
    k[ck.CEILING_K] = setup.temperature_ceiling_K
    k[ck.DUST_PER_RHO] = setup.dust_opacity_m2_kg * dr_m
    k[ck.SHARE_0], k[ck.SHARE_1] = setup.table.shares
    k[ck.GRADIENT] = setup.tracer_per_CO / setup.gradient_km_s_cm if setup.gradient_km_s_cm else 0.0
    k[ck.CLIP] = setup.clip_masers
    k[ck.BACKGROUND_K] = rayleigh_jeans_K(torch.tensor(setup.background_K, dtype=torch.float64), setup.quantum_K)
    return k.astype(np.float32)
