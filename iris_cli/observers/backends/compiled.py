"""The compiled backend: numba loops over the cells inside each line's window, one ray at a time, on all CPU cores.

For each block of rays, the cells are first turned into one record each, in the order in which they lie in memory.
Then each ray is followed from its far end, with its spectrum in the cache. float32, not differentiable. Formulas:
`emission`, `line_profile`, `transfer`.

Faint neighbours along a ray share one pass over the spectrum, a *run*. Of a cell with a small depth y at the peak, all
that matters is its amplitude A, in K km/s: its emission less the continuum that it absorbs, with the dust in and in
front of it (`_amplitude`). A run has the profiles sum A_i phi_i and sum tau_i phi_i. Each phi_i is a Gaussian of the
run's middle velocity and width times e^(2 a x + g x^2), where x is the distance from the middle in widths, a the cell's
own distance and g its excess of squared width; these factors are summed as series to x^4. Two errors remain:

- The series: in a run whose velocities cover 0.35 widths and whose squared widths differ by 3 %, at most 1.6e-4 of the
  peak of a cell, in the corners of this range.
- The order of the cells: cells of depths y1, y2 and source temperatures S1, S2 change places with an error of
  (S1 - S2) y1 y2 / 2, at most half the run's depth times its emission. The depth is below 2.5e-4: at most 1.3e-4.

Errors of runs add like the runs themselves, so that a spectrum is wrong by less than 3e-4 of the peak of what its cells
emit and absorb. A run of one cell has neither error and may have any depth y + d < 0.1, where d is that of the dust:
the amplitude times (1 - e^-y)/y is exact for d = 0. To second order in y it lacks (W - J tau) tau d phi^2 / 12, which
is added for each cell.
"""

# mypy: allow-untyped-defs

import math
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from iris_cli.compiled_math import erf32, erf_integral32, exp32, kernel
from iris_cli.observers.backends.backend import Backend, Spectra
from iris_cli.observers.emission import CM3_PER_M3, LineSetup, Matter, rayleigh_jeans_K
from iris_cli.observers.level_table import LevelTable
from iris_cli.observers.line_profile import GUARD, MOST_SAMPLES, NARROW
from iris_cli.observers.sampling import FINE_CHANNELS, Accuracy
from iris_cli.observers.transfer import Regime, Selective, Thick, Thin
from iris_cli.units import MASS_PER_H_KG

#: Cells of a block of rays, 32 bytes each, stay in a core's second-level cache.
_CELLS_PER_BLOCK = 32_768
#: Fields of a cell's record.
V, SPREAD, WIDTH, LINE, DEPTH, DUST, DUST_K, FRONT = range(8)
#: Places in the vector of constants.
PER_CM3, EMISSION, ABSORPTION, QUANTUM_K, THERMAL, TURBULENCE2, CEILING_K, DUST_PER_RHO = range(8)
SHARE_0, SHARE_1, GRADIENT, CLIP, BACKGROUND_K, CLUMP_N_H, CLUMP2 = range(8, 15)
CONSTANTS = 15
#: Samples are processed in groups of a vector register's size.
LANES = 8

_F0, _F1, _HALF = np.float32(0.0), np.float32(1.0), np.float32(0.5)
_PER_SQRT_PI = np.float32(1.0 / math.sqrt(math.pi))
_NARROW = np.float32(NARROW)
_FINE_CHANNELS = np.float32(FINE_CHANNELS)
#: A window ends where the profile has fallen to e^-12.5 of 1/max(1, tau): 1e-6 of a line's flux.
_WINDOW = np.float32(12.5)
#: Below this depth four terms of a series are exact in float32.
_SHALLOW = np.float32(0.1)
#: Most of a run's depth at the peak, range of its velocities in widths, ratio of its squared widths: see above.
_RUN_DEPTH, _RUN_RANGE, _RUN_WIDTHS = np.float32(2.5e-4), np.float32(0.35), np.float32(1.03)
#: Half the window of a run, in widths.
_RUN_REACH = np.float32(math.sqrt(12.5) + 0.2)


class CompiledBackend(Backend):
    name = "compiled"
    differentiable = False
    regimes = (Thick, Selective, Thin)

    def _spectra(
        self, matter: Matter, setup: LineSetup, regime: Regime, dr_m: float, edges_km_s: Tensor, accuracy: Accuracy
    ) -> Spectra:
        fields = tuple(np.ascontiguousarray(field.detach().cpu().numpy(), np.float32) for field in matter.fields())
        cells, rays = fields[0].shape
        channels = len(edges_km_s) - 1
        line, continuum = np.empty((rays, channels), np.float32), np.empty(rays, np.float32)
        table, axes = packed_table(setup.table)
        first_edge, channel = edges_km_s[0].item(), (edges_km_s[-1] - edges_km_s[0]).item() / channels
        grid = (np.float32(first_edge), np.float32(channel))
        shared = (fields, table, axes, constants(setup, dr_m), setup.in_cell_gradient, grid)
        block = max(1, min(64, _CELLS_PER_BLOCK // cells))

        def observe(first: int) -> None:
            last = min(first + block, rays)
            if isinstance(regime, Thick):
                coarsest = np.float32(accuracy.step_per_width)
                thick_block(first, last, *shared, accuracy.subsamples, coarsest, line, continuum)
            else:
                linear_block(first, last, *shared, regime.dusty, line, continuum)

        with ThreadPoolExecutor(accuracy.threads or torch.get_num_threads()) as pool:
            list(pool.map(observe, range(0, rays, block)))
        return Spectra(torch.from_numpy(line), torch.from_numpy(continuum))


@lru_cache(maxsize=4)
def packed_table(table: LevelTable) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The table as (mixture, column, density, temperature, 2), and its axes as (4, 3): first, 1/step, count."""
    both = np.stack([table.log_upper, table.beta], axis=-1).transpose(1, 2, 0, 3, 4)
    if both.shape[2] == 1:
        both = np.repeat(both, 2, axis=2)
    rows = [[a.first, 1.0 / a.step if a.step else 0.0, max(a.count, 2)] for a in table.axes]
    return np.ascontiguousarray(both, np.float32), np.array(rows, np.float32)


def constants(setup: LineSetup, dr_m: float) -> NDArray[np.float32]:
    """The numbers that the kernels need, multiplied in float64 so that no product leaves the range of float32."""
    k = np.zeros(CONSTANTS)
    column_m2_per_cm3 = setup.tracer_per_CO * dr_m / CM3_PER_M3
    k[PER_CM3] = CM3_PER_M3 / MASS_PER_H_KG
    k[EMISSION] = setup.emission_K_km_s * column_m2_per_cm3
    k[ABSORPTION] = setup.absorption_km_s * column_m2_per_cm3
    k[QUANTUM_K] = setup.quantum_K
    k[THERMAL] = setup.thermal_km2_s2_K
    k[TURBULENCE2] = setup.turbulence_km_s**2
    k[CLUMP_N_H], k[CLUMP2] = setup.clump_n_H_cm3, setup.clump_km_s**2
    k[CEILING_K] = setup.temperature_ceiling_K
    k[DUST_PER_RHO] = setup.dust_opacity_m2_kg * dr_m
    k[SHARE_0], k[SHARE_1] = setup.table.shares
    k[GRADIENT] = setup.tracer_per_CO / setup.gradient_km_s_cm if setup.gradient_km_s_cm else 0.0
    k[CLIP] = setup.clip_masers
    k[BACKGROUND_K] = rayleigh_jeans_K(torch.tensor(setup.background_K, dtype=torch.float64), setup.quantum_K)
    return k.astype(np.float32)


# --- kernels ----------------------------------------------------------------------------------------------------------


@njit(inline="always")
def _place(value, axis):
    """(node below, share of the node above) on an axis (first, 1/step, count)."""
    last = axis[2] - _F1
    at = min(max((value - axis[0]) * axis[1], _F0), last)
    low = min(int(at), int(last) - 1)
    return low, np.float32(at - low)


@njit(inline="always")
def _plane(table, x, c, d, ds, t, ts):
    """ln n_u and beta, bilinear in density and temperature."""
    w00, w01, w10, w11 = (_F1 - ds) * (_F1 - ts), (_F1 - ds) * ts, ds * (_F1 - ts), ds * ts
    low, high = table[x, c, d], table[x, c, d + 1]
    upper = w00 * low[t, 0] + w01 * low[t + 1, 0] + w10 * high[t, 0] + w11 * high[t + 1, 0]
    beta = w00 * low[t, 1] + w01 * low[t + 1, 1] + w10 * high[t, 1] + w11 * high[t + 1, 1]
    return upper, beta


@njit(inline="always")
def _levels(table, axes, log_density, x_H2, log_column, log_T):
    d, ds = _place(log_density, axes[0])
    t, ts = _place(log_T, axes[3])
    if table.shape[0] == 1 and table.shape[1] == 1:
        return _plane(table, 0, 0, d, ds, t, ts)
    x, xs, c, cs = 0, _F0, 0, _F0
    if table.shape[0] > 1:
        x, xs = _place(x_H2, axes[1])
    if table.shape[1] > 1:
        c, cs = _place(log_column, axes[2])
    upper, beta = _F0, _F0
    for i in range(2 if table.shape[0] > 1 else 1):
        for j in range(2 if table.shape[1] > 1 else 1):
            w = (xs if i else _F1 - xs) * (cs if j else _F1 - cs)
            u, b = _plane(table, x + i, c + j, d, ds, t, ts)
            upper, beta = upper + w * u, beta + w * b
    return upper, beta


@njit(inline="always")
def _records(first, last, fields, table, axes, k, gradient, cell):
    """Fill the records of the cells of rays `first` to `last`: cell[ray, R, :]."""
    v, rho, T, x_H2, x_CO, T_dust = fields
    far = rho.shape[0] - 1
    for r in range(far + 1):
        for p in range(first, last):
            at = cell[p - first, r]
            at[V], at[SPREAD] = v[r, p], _F0
            if gradient and far > 0:
                near_face = _HALF * (v[r, p] + v[r - 1, p]) if r > 0 else _F0
                far_face = _HALF * (v[r, p] + v[r + 1, p]) if r < far else np.float32(2) * v[r, p] - near_face
                if r == 0:
                    near_face = np.float32(2) * v[r, p] - far_face
                at[V], at[SPREAD] = _HALF * (near_face + far_face), abs(far_face - near_face)
            at[DUST] = k[DUST_PER_RHO] * rho[r, p]
            at[DUST_K] = k[QUANTUM_K] / (
                exp32(min(k[QUANTUM_K] / max(T_dust[r, p], np.float32(1e-3)), np.float32(80))) - _F1
            )
            at[LINE], at[DEPTH], at[WIDTH] = _F0, _F0, _F1
            n_H = k[PER_CM3] * rho[r, p]
            tracer, clump = n_H * x_CO[r, p], n_H + k[CLUMP_N_H]
            if tracer > _F0 and T[r, p] <= k[CEILING_K]:
                colliders = clump * (k[SHARE_0] + k[SHARE_1] * x_H2[r, p])
                log_column = _F0
                if k[GRADIENT] > _F0:
                    log_column = np.float32(math.log10(clump * x_CO[r, p] * k[GRADIENT]))
                log_density = np.float32(math.log10(max(colliders, np.float32(1e-30))))
                log_T = np.float32(math.log(T[r, p]))
                upper, beta = _levels(table, axes, log_density, x_H2[r, p], log_column, log_T)
                u = exp32(upper) * tracer
                at[LINE] = k[EMISSION] * u
                at[DEPTH] = k[ABSORPTION] * u * np.float32(math.expm1(beta))
                if k[CLIP] > _F0:
                    at[DEPTH] = max(at[DEPTH], _F0)
                between = k[CLUMP_N_H] / clump
                at[WIDTH] = np.float32(math.sqrt(k[THERMAL] * T[r, p] + k[TURBULENCE2] + between * k[CLUMP2]))


@njit(inline="always")
def _fill_front(cell):
    """Dust transmission between each cell and the observer."""
    front = _F1
    for r in range(cell.shape[0]):
        cell[r, FRONT] = front
        front *= exp32(-cell[r, DUST])


@njit(inline="always")
def _width2(at):
    """Squared width of a line that contains a narrow range of velocities."""
    return at[WIDTH] * at[WIDTH] + at[SPREAD] * at[SPREAD] / np.float32(6)


@njit(inline="always")
def _shape(at):
    """(effective width, half the velocity range in widths, 0 if narrow)"""
    if at[SPREAD] < _NARROW * at[WIDTH]:
        return np.float32(math.sqrt(_width2(at))), _F0
    return at[WIDTH], _HALF * at[SPREAD] / at[WIDTH]


@njit(inline="always")
def _reach(at, width, half):
    """Half the window, km/s."""
    peak = abs(at[DEPTH]) / max(width, at[SPREAD])
    return width * (np.float32(math.sqrt(_WINDOW + math.log(_F1 + peak))) + half)


@njit(inline="always")
def _samples_needed(cell, channel, coarsest, most):
    """Samples per channel that the narrowest significant line of a ray needs; more for steep, opaque lines."""
    line, depth, cells = _F0, _F0, cell.shape[0]
    opaque = _F0
    for r in range(cells):
        line += cell[r, LINE]
        depth += abs(cell[r, DEPTH])
        opaque += abs(cell[r, DEPTH]) / max(cell[r, WIDTH], cell[r, SPREAD]) * _PER_SQRT_PI
    least = np.float32(1e-3) / cells
    width = np.float32(1e30)
    for r in range(cells):
        if cell[r, LINE] > least * line or abs(cell[r, DEPTH]) > least * depth:
            width = min(width, cell[r, WIDTH])
    step = coarsest * width
    if opaque > _F1:
        step = min(step, np.float32(1.2) * coarsest * width / np.float32(math.sqrt(math.log(opaque) + 1e-6)))
    return int(max(math.ceil(min(channel / step, most)), 1 if channel <= _FINE_CHANNELS * step else 2))


@njit(inline="always")
def _fill_profile(profile, groups, start, step, width, half):
    """Profile per km/s at even samples that begin `start` widths from the centre, `step` widths apart."""
    if half == _F0:
        scale = _PER_SQRT_PI / width
        for i in range(groups * LANES):
            x = start + np.float32(i) * step
            profile[i] = scale * exp32(-x * x)
    else:
        scale = _F1 / (np.float32(4) * half * width)
        for i in range(groups * LANES):
            x = start + np.float32(i) * step
            profile[i] = scale * (erf32(x + half) - erf32(x - half))


@njit(inline="always")
def _escape_series(t):
    return _F1 - t * (_HALF - t * (np.float32(1 / 6) - t * np.float32(1 / 24)))


@njit(inline="always")
def _escape(t, loss):
    """(1 - e^-t)/t, given 1 - e^-t."""
    small = abs(t) < _SHALLOW
    return _escape_series(t) if small else loss / (_F1 if small else t)


@njit(inline="always")
def _amplitude(at, behind, dusty):
    """K km/s that a cell adds where the line does not absorb itself."""
    if not dusty:
        return at[LINE]
    through = exp32(-at[DUST])
    escape = _escape(at[DUST], _F1 - through)
    seen = at[DUST_K] * escape + (behind - at[DUST_K]) * through
    return at[FRONT] * (at[LINE] * escape - at[DEPTH] * seen)


@njit(inline="always")
def _pass_cell(spectrum, profile, groups, at, behind):
    """Apply one cell to the window of a spectrum. `behind` is the continuum behind the cell."""
    line, depth, d, front = at[LINE], at[DEPTH], at[DUST], at[FRONT]
    dust, through = at[DUST_K] * d, exp32(-d)
    alone = dust * _escape(d, _F1 - through)
    peak = _F0
    for i in range(groups * LANES):
        peak = max(peak, profile[i])
    if abs(depth) * peak + d < _SHALLOW:
        for i in range(groups * LANES):
            y = depth * profile[i]
            lost = y * _escape_series(y)
            added = (line * profile[i] + dust) * _escape_series(y + d) - alone - behind * through * lost
            spectrum[i] += front * added - spectrum[i] * lost
        return
    for i in range(groups * LANES):
        y = depth * profile[i]
        lost = _F1 - exp32(-y)
        if abs(y) < _SHALLOW:
            lost = y * _escape_series(y)
        escape = _escape(y + d, _F1 - through * (_F1 - lost))
        added = (line * profile[i] + dust) * escape - alone - behind * through * lost
        spectrum[i] += front * added - spectrum[i] * lost


@njit(inline="always")
def _faint(at):
    """Whether a cell has a line of a narrow range of velocities, and is shallow."""
    faint = abs(at[DEPTH]) * _PER_SQRT_PI + at[DUST] * at[WIDTH] < _SHALLOW * at[WIDTH]
    return faint and at[SPREAD] < _NARROW * at[WIDTH] and at[LINE] != _F0


@njit(inline="always")
def _run(cell, far):
    """The run of faint cells that begins at `far`, one at least: its nearest cell, its middle and its width."""
    near, peak = far, abs(cell[far, DEPTH]) * _PER_SQRT_PI
    low, high = cell[far, V], cell[far, V]
    narrowest, widest = _width2(cell[far]), _width2(cell[far])
    for r in range(far - 1, -1, -1):
        at = cell[r]
        if at[LINE] != _F0:
            peak += abs(at[DEPTH]) * _PER_SQRT_PI
            lowest, highest = min(low, at[V]), max(high, at[V])
            least, most = min(narrowest, _width2(at)), max(widest, _width2(at))
            limit = _RUN_RANGE * _RUN_RANGE * least
            if not _faint(at) or most > _RUN_WIDTHS * least or (highest - lowest) * (highest - lowest) > limit:
                break
            if peak * peak > _RUN_DEPTH * _RUN_DEPTH * least:
                break
            near, low, high, narrowest, widest = r, lowest, highest, least, most
    return near, _HALF * (low + high), np.float32(math.sqrt(_HALF * (narrowest + widest)))


@njit(inline="always")
def _add_to_run(run, at, behind, middle, width):
    """Add a cell's amplitude and depth, as series in the distance x from the middle of the run in widths."""
    ratio = width * width / _width2(at)
    away = (at[V] - middle) / width
    a, g = away * ratio, _F1 - ratio
    share = np.float32(math.sqrt(ratio)) * exp32(-a * away)
    c2, c3 = np.float32(2) * a * a + g, a * (np.float32(4 / 3) * a * a + np.float32(2) * g)
    c4 = np.float32(2 / 3) * a * a * a * a + np.float32(2) * a * a * g + _HALF * g * g
    run[2, 0] += at[FRONT] * (at[LINE] - at[DUST_K] * at[DEPTH]) * at[DEPTH] * at[DUST] * np.float32(1 / 12)
    for which in range(2):
        amount = share * (at[DEPTH] if which else _amplitude(at, behind, True))
        run[which, 0] += amount
        run[which, 1] += amount * np.float32(2) * a
        run[which, 2] += amount * c2
        run[which, 3] += amount * c3
        run[which, 4] += amount * c4


@njit(inline="always")
def _pass_run(spectrum, run, groups, start, step, width):
    """Apply a run to the window of a spectrum whose samples begin `start` widths from its middle."""
    scale = _PER_SQRT_PI / width
    a0, a1, a2, a3, a4 = run[0, 0], run[0, 1], run[0, 2], run[0, 3], run[0, 4]
    t0, t1, t2, t3, t4 = run[1, 0], run[1, 1], run[1, 2], run[1, 3], run[1, 4]
    second = run[2, 0]
    for i in range(groups * LANES):
        x = start + np.float32(i) * step
        gauss = scale * exp32(-x * x)
        y = gauss * ((((t4 * x + t3) * x + t2) * x + t1) * x + t0)
        added = gauss * ((((a4 * x + a3) * x + a2) * x + a1) * x + a0 + second * gauss)
        spectrum[i] += (added - spectrum[i] * y) * _escape_series(y)


@njit(inline="always")
def _window(v, reach, first_edge, step, total):
    """(first sample, groups of samples, distance of the first one from the velocity in km/s)"""
    middle = (v - first_edge) / step + np.float32(GUARD) - _HALF
    low = max(math.ceil(middle - reach / step), 0)
    high = min(math.floor(middle + reach / step), total - 1)
    groups = int(high - low) // LANES + 1 if high >= low else 0
    return int(low), groups, (np.float32(low) - middle) * step


@njit(inline="always")
def _march_thick(cell, first_edge, channel, samples, spectrum, profile, run, background):
    """Fill `spectrum` (sample,) of one ray. Returns the continuum at the observer."""
    total = spectrum.size - LANES
    step = channel / np.float32(samples)
    continuum, far = background, cell.shape[0] - 1
    while far >= 0:
        at, near = cell[far], far
        if _faint(at):
            near, middle, width = _run(cell, far)
            run[:] = _F0
            for r in range(far, near - 1, -1):
                if cell[r, LINE] != _F0:
                    _add_to_run(run, cell[r], continuum, middle, width)
                continuum = _next_continuum(cell[r], continuum)
            low, groups, start = _window(middle, width * _RUN_REACH, first_edge, step, total)
            _pass_run(spectrum[low:], run, groups, start / width, step / width, width)
        else:
            if at[LINE] != _F0:
                width, half = _shape(at)
                low, groups, start = _window(at[V], _reach(at, width, half), first_edge, step, total)
                if groups > 0:
                    _fill_profile(profile, groups, start / width, step / width, width, half)
                    _pass_cell(spectrum[low:], profile, groups, at, continuum)
            continuum = _next_continuum(at, continuum)
        far = near - 1
    return continuum


@njit(inline="always")
def _next_continuum(at, continuum):
    """The continuum in front of a cell, given that behind it."""
    through = exp32(-at[DUST])
    return continuum * through + at[DUST_K] * (_F1 - through)


@njit(inline="always")
def _edge(spectrum, at):
    """Euler-Maclaurin term at the edge before sample `at`."""
    a, b, c, d = spectrum[at - 2], spectrum[at - 1], spectrum[at], spectrum[at + 1]
    return (c - b) / np.float32(24) - (d - np.float32(3) * (c - b) - a) * np.float32(17 / 5760)


@njit(inline="always")
def _to_channels(spectrum, samples, out):
    before = _edge(spectrum, GUARD)
    for c in range(out.size):
        start = GUARD + c * samples
        total = _F0
        for i in range(start, start + samples):
            total += spectrum[i]
        after = _edge(spectrum, start + samples)
        out[c] = (total + after - before) / np.float32(samples)
        before = after


@kernel
def thick_block(first, last, fields, table, axes, k, gradient, grid, samples, coarsest, out, continuum):
    """Observe rays `first` to `last` of fields (R, ray): fill out (ray, V) and continuum (ray,).

    `samples` per channel; with 0, each ray gets as many as it needs.
    """
    cell = np.empty((last - first, fields[0].shape[0], 8), np.float32)
    _records(first, last, fields, table, axes, k, gradient, cell)
    (first_edge, channel), channels = grid, out.shape[1]
    needed = np.full(last - first, samples)
    if samples == 0:
        for p in range(last - first):
            needed[p] = _samples_needed(cell[p], channel, coarsest, np.float32(MOST_SAMPLES // channels))
    buffer = np.empty(channels * needed.max() + 2 * GUARD + LANES, np.float32)
    profile, run = np.empty(buffer.size, np.float32), np.empty((3, 5), np.float32)
    for p in range(first, last):
        ray, n = cell[p - first], needed[p - first]
        _fill_front(ray)
        spectrum = buffer[: channels * n + 2 * GUARD + LANES]
        spectrum[:] = _F0
        continuum[p] = _march_thick(ray, first_edge, channel, n, spectrum, profile, run, k[BACKGROUND_K])
        _to_channels(spectrum, n, out[p])


@njit(inline="always")
def _fill_below(below, count, start, step, half):
    """Half the share of a line between -infinity and each of `count` even edges, less 1/2."""
    if half == _F0:
        for i in range(count):
            below[i] = _HALF * erf32(start + np.float32(i) * step)
    else:
        scale = _F1 / (np.float32(4) * half)
        for i in range(count):
            x = start + np.float32(i) * step
            below[i] = scale * (erf_integral32(x + half) - erf_integral32(x - half))


@kernel
def linear_block(first, last, fields, table, axes, k, gradient, grid, dusty, out, continuum):
    """The same for regimes in which spectra are sums of profiles: exact channel means, no samples."""
    cell = np.empty((last - first, fields[0].shape[0], 8), np.float32)
    _records(first, last, fields, table, axes, k, gradient, cell)
    (first_edge, channel), channels = grid, out.shape[1]
    below = np.empty(channels + 1, np.float32)
    for p in range(first, last):
        ray = cell[p - first]
        _fill_front(ray)
        out[p, :] = _F0
        behind = k[BACKGROUND_K]
        for r in range(ray.shape[0] - 1, -1, -1):
            at = ray[r]
            if at[LINE] != _F0:
                width, half = _shape(at)
                reach = _reach(at, width, half)
                low = int(max(math.floor((at[V] - reach - first_edge) / channel), 0))
                high = int(min(math.ceil((at[V] + reach - first_edge) / channel), channels))
                if high > low:
                    start = first_edge + np.float32(low) * channel - at[V]
                    _fill_below(below, high - low + 1, start / width, channel / width, half)
                    scale = _amplitude(at, behind, dusty) / channel
                    for i in range(high - low):
                        out[p, low + i] += scale * (below[i + 1] - below[i])
            behind = _next_continuum(at, behind)
        continuum[p] = behind
