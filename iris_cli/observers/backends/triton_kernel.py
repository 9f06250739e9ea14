"""The transfer in the thick regime on a GPU, in Triton: each program follows a block of samples of one ray from the
farthest cell to the nearest and keeps it in registers.

Needs Triton, so `torch_windows` imports this file only when it uses the kernel. Formulas: `line_profile`, `transfer`
(`Thick`), in float32. The position of a cell among the samples is computed in float64, since float32 would misplace a
narrow line far from the first edge.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-decorators

from dataclasses import replace

import torch
import triton
import triton.language as tl
from torch import Tensor

from iris_cli.observers.emission import Cells
from iris_cli.observers.line_profile import GUARD, NARROW, Midpoints, effective_width_km_s
from iris_cli.observers.transfer import Thick, continuum_behind, mean_escape, transmission_in_front
from iris_cli.observers.transfer import march as reference_march

#: Samples per program and its warps: guesses, not tuned on a GPU yet.
BLOCK = 256
WARPS = 4
#: Of the peak: a kernel with a larger error in its check is not used; float32 rounds to some 1e-6.
TOLERANCE = 1e-4

#: A cell's record: first and last sample of its window, the first one's distance from the line's middle (in samples),
#: widths b per sample, half the range of velocities (in b; 0: a plain Gaussian), the profile's factor, …
FIRST, LAST, OFFSET, PER_WIDTH, HALF, SCALE = (tl.constexpr(place) for place in range(6))
#: … depths of line and dust, and contributions, reduced by the dust in front: line emission per profile, dust emission,
#: continuum to absorb, and dust emission without the line.
DEPTH, DUST, LINE, DUST_ADDS, ABSORBED, DUST_ALONE = (tl.constexpr(place) for place in range(6, 12))
FIELDS = tl.constexpr(12)
#: Below this depth five terms of a series are exact in float32.
SHALLOW = tl.constexpr(0.1)


@triton.jit
def escape_share(t):
    """(1 - e^-t)/t, for either sign of t."""
    small = tl.abs(t) < SHALLOW
    series = 1.0 - t * (0.5 - t * (1 / 6 - t * (1 / 24 - t * (1 / 120))))
    return tl.where(small, series, (1.0 - tl.exp(-t)) / tl.where(small, 1.0, t))


@triton.jit
def profile(at, sample):
    """The profile per km/s of the cell whose record starts at `at`."""
    middle = sample - tl.load(at + FIRST).to(tl.int32)
    x = (middle.to(tl.float32) + tl.load(at + OFFSET)) * tl.load(at + PER_WIDTH)
    half = tl.load(at + HALF)
    if half > 0.0:  # noqa: SIM108
        shape = tl.erf(x + half) - tl.erf(x - half)
    else:
        shape = tl.exp(-x * x)
    return tl.load(at + SCALE) * shape


@triton.jit
def march(records, spectrum, cells, total, BLOCK: tl.constexpr):
    """Records (ray, cell, FIELDS) -> spectrum (ray, total), line minus continuum in K."""
    ray = tl.program_id(0).to(tl.int64)
    start = tl.program_id(1) * BLOCK
    sample = start + tl.arange(0, BLOCK)
    seen = tl.zeros((BLOCK,), tl.float32)
    for step in range(cells):
        at = records + (ray * cells + cells - 1 - step) * FIELDS
        if (tl.load(at + LAST) >= start) & (tl.load(at + FIRST) < start + BLOCK):
            phi = profile(at, sample)
            y = tl.load(at + DEPTH) * phi
            lost = y * escape_share(y)
            emitted = tl.load(at + LINE) * phi + tl.load(at + DUST_ADDS)
            added = emitted * escape_share(y + tl.load(at + DUST)) - tl.load(at + DUST_ALONE)
            seen += added - (tl.load(at + ABSORBED) + seen) * lost
    tl.store(spectrum + ray * total + sample, seen, mask=sample < total)


def spectra(these: Cells, grid: Midpoints, reach_km_s: Tensor, behind: Tensor, front: Tensor) -> Tensor:
    """(ray, sample): line minus continuum, on the device of the cells. `reach_km_s`, the continuum `behind` each cell
    and the transmission in `front` of it are (R, ray).
    """
    packed = records(these, grid, reach_km_s, behind, front)
    rays, cells = packed.shape[:2]
    seen = torch.empty(rays, grid.total, dtype=torch.float32, device=packed.device)
    with torch.cuda.device_of(packed):
        march[(rays, triton.cdiv(grid.total, BLOCK))](packed, seen, cells, grid.total, BLOCK=BLOCK, num_warps=WARPS)
    return seen


class WrongSpectra(RuntimeError):
    """The kernel failed its check. `error` is the largest difference, relative to the peak."""

    def __init__(self, error: float) -> None:
        super().__init__(f"its spectra are wrong by {error:.1e} of their peak (rounding is below {TOLERANCE:.0e})")
        self.error = error


def check(device: torch.device) -> float:
    """Compiles the kernel and compares it with `transfer.march` on a few rays. Returns the error, relative to the peak.

    Raises WrongSpectra when the error exceeds TOLERANCE; errors of Triton and of the GPU pass through.
    """
    these, background = _check_cells(), torch.tensor(0.3, dtype=torch.float64)
    grid = Midpoints(torch.linspace(-10.0, 10.0, 41, dtype=torch.float64), 7)
    truth = reference_march(these, Thick(), grid, background, lambda k: these.dust_K[k][:, None])
    there = these.to(device, torch.float32)
    behind, _ = continuum_behind(there, background.to(there.v_km_s))
    reach = 5.0 * there.width_km_s + 0.5 * there.spread_km_s
    finer = replace(grid, edges=grid.edges.to(there.v_km_s))
    seen = spectra(there, finer, reach, behind, transmission_in_front(there.dust_depth))
    error = float((grid.reduce(seen.double().cpu()) - truth).abs().amax() / truth.abs().amax())
    if not error < TOLERANCE:
        raise WrongSpectra(error)
    return error


def _check_cells() -> Cells:
    """Four rays of six cells: single velocities and ranges, empty cells, a maser, dust in two of three."""
    k = torch.arange(24, dtype=torch.float64).reshape(6, 4)
    amount = (k + k // 4) % 4
    return Cells(
        v_km_s=8.0 * torch.sin(1.7 * k),
        spread_km_s=torch.where(k % 3 == 0, 3.0, 0.0),
        width_km_s=0.4 + 0.1 * (k % 5),
        line_K_km_s=5.0 * amount,
        depth_km_s=torch.where(k == 14, -0.2, 0.5) * amount,
        dust_depth=0.05 * (k % 3),
        dust_K=10.0 + k,
    )


def records(these: Cells, grid: Midpoints, reach_km_s: Tensor, behind: Tensor, front: Tensor) -> Tensor:
    """(ray, R, FIELDS) float32: the records of the cells for `march`."""
    step = grid.step_km_s
    middle = (these.v_km_s.double() - grid.edges[0].double()) / step + (GUARD - 0.5)
    reach = reach_km_s.double() / step
    first = (middle - reach).ceil().clamp(0, grid.total)
    last = (middle + reach).floor().clamp(-1, grid.total - 1)
    last = torch.where((these.line_K_km_s == 0) & (these.depth_km_s == 0), -1.0, last)
    width = effective_width_km_s(these.width_km_s, these.spread_km_s)
    wide = these.spread_km_s >= NARROW * these.width_km_s
    half = torch.where(wide, 0.5 * these.spread_km_s / width, 0.0)
    scale = torch.where(wide, 0.25 / half, torch.pi**-0.5) / width
    dust = front * these.dust_K * these.dust_depth
    absorbed = front * behind * torch.exp(-these.dust_depth)
    fields = (
        first,
        last,
        first - middle,
        step / width,
        half,
        scale,
        these.depth_km_s,
        these.dust_depth,
        front * these.line_K_km_s,
        dust,
        absorbed,
        dust * mean_escape(these.dust_depth),
    )
    return torch.stack([field.transpose(0, 1).float() for field in fields], dim=-1)
