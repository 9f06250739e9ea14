"""The torch backend: each cell is evaluated only at the samples that its line reaches. Any device, any precision,
differentiable.

Rays that need similar numbers of samples are bundled. In a bundle, the windows of several rows of cells are evaluated
at once. The effect of a row on the spectra, D <- D x transmission + added inside the window, is a scan with its own
backward pass: autograd would keep a copy of every whole spectrum for every row.

On a GPU, in float32 and without gradients, one kernel computes a bundle in the thick regime: `triton_kernel`.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from iris_cli.console import warn
from iris_cli.errors import IrisError
from iris_cli.observers.backends.backend import Backend, Spectra
from iris_cli.observers.device import choose_device, working_memory_GiB
from iris_cli.observers.emission import Cells, LineSetup, Matter, cells, rayleigh_jeans_K
from iris_cli.observers.line_profile import GUARD, Midpoints, effective_width_km_s, profile_at, share_below
from iris_cli.observers.sampling import Accuracy, rays_per_bundle, samples_per_ray
from iris_cli.observers.transfer import Regime, Selective, Thick, Thin, continuum_behind, transmission_in_front

#: A window ends where the profile has fallen to e^-12.5 of 1/max(1, tau): 1e-6 of a line's flux.
WINDOW = 12.5
#: Rows of cells are evaluated together up to this many samples.
_SAMPLES_AT_ONCE = {"cpu": 1 << 20, "cuda": 1 << 26}
#: Rays of a bundle: enough for long vectors, few enough that one wide line does not widen too many windows. A GPU
#: needs more at a time, because each row of cells starts several kernels.
_MOST_RAYS = {"cpu": 512, "cuda": 1 << 16}
#: Numbers that exist per cell and sample of a window while gradients are recorded.
_ARRAYS_ALIVE = 24
#: The same for the Triton kernel: a guess. Each cell has its own window, so only the samples of the finest ray count.
_MOST_RAYS_OF_KERNEL = 1 << 14
#: Spectra of a bundle that exist at one time with that kernel, and numbers per cell.
_SPECTRA_OF_KERNEL, _NUMBERS_OF_KERNEL = 4, 48
#: Other processes may use the GPU's memory too: the number of attempts, each with pieces of half the size.
_ATTEMPTS = 5
#: Per cell during the look-up of its levels: fields, corners of the table with their weights and 64-bit indices.
_NUMBERS_PER_CELL = 64


class TorchBackend(Backend):
    """Works in the precision of the matter, and on its device unless another one is chosen."""

    name = "torch"
    regimes = (Thick, Selective, Thin)

    def _spectra(
        self, matter: Matter, setup: LineSetup, regime: Regime, dr_m: float, edges_km_s: Tensor, accuracy: Accuracy
    ) -> Spectra:
        home = matter.rho_kg_m3
        device = choose_device(accuracy.device) if accuracy.device else home.device
        for halvings in range(_ATTEMPTS):
            allowed_GiB = working_memory_GiB(device, accuracy.memory_GiB) / 2**halvings
            within = replace(accuracy, memory_GiB=0.5 * allowed_GiB)  # half for the cells, half for the windows
            try:
                return _in_pieces(matter, device, setup, regime, dr_m, edges_km_s, within)
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
        what = f"the memory of {device} is full, even for pieces of {allowed_GiB:.3g} GiB"
        raise IrisError(what, "other processes use it too: fewer workers, or --backend compiled")


def _in_pieces(
    matter: Matter, device: torch.device, setup: LineSetup, regime: Regime, dr_m: float, edges: Tensor, within: Accuracy
) -> Spectra:
    """Observes as many rays at a time as fit into the memory of `within`."""
    home = matter.rho_kg_m3
    fit = rays_per_bundle(home, home.shape[0] * _NUMBERS_PER_CELL, within.memory_GiB)
    parts = []
    for which in torch.arange(home.shape[1]).split(fit):
        here = matter.rays(which).to(device, home.dtype)
        seen = _observe(here, setup, regime, dr_m, edges.to(here.v_km_s), within)
        parts.append([column.to(home.device) for column in seen])
    return Spectra(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _observe(
    matter: Matter, setup: LineSetup, regime: Regime, dr_m: float, edges: Tensor, accuracy: Accuracy
) -> list[Tensor]:
    """Returns [(ray, V) line, (ray,) continuum] on the device of the matter."""
    these = cells(matter, setup, dr_m)
    background = rayleigh_jeans_K(torch.as_tensor(setup.background_K).to(edges), setup.quantum_K)
    needed = samples_per_ray(these, edges, Accuracy(subsamples=1) if regime.linear else accuracy)
    order = torch.argsort(needed)
    parts = [
        _bundle(these.rays(which), regime, edges, int(needed[which].max()), background)
        for which in _bundles(order, these, regime, needed, edges, accuracy)
    ]
    back = torch.argsort(order)
    return [torch.cat(column)[back] for column in zip(*parts, strict=True)]


@lru_cache
def triton_kernel_works(device: torch.device) -> bool:
    """Whether Triton is installed and its kernel passes its check on this GPU. Logs the reason if it fails."""
    error = triton_kernel_error(device)
    if error:
        warn(f"the observer's Triton kernel cannot be used; torch operations replace it, more slowly: {error}")
    return error is None


@lru_cache
def triton_kernel_error(device: torch.device) -> str | None:
    """None if the kernel passes its check, else the reason in one line ("" where Triton is not installed)."""
    if find_spec("triton") is None:
        return ""
    try:
        from iris_cli.observers.backends import triton_kernel

        triton_kernel.check(device)
    except Exception as error:  # an unsupported GPU, no C compiler, wrong spectra: torch operations replace the kernel
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return None


def triton_kernel_applies(these: Cells, regime: Regime) -> bool:
    """Whether the Triton kernel can compute these cells: thick, float32 on a GPU, no gradients."""
    v = these.v_km_s
    differentiated = torch.is_grad_enabled() and any(f.requires_grad for f in these.fields())
    suits = isinstance(regime, Thick) and v.device.type == "cuda" and v.dtype == torch.float32 and not differentiated
    return suits and triton_kernel_works(v.device)


def _bundles(
    order: Tensor, these: Cells, regime: Regime, needed: Tensor, edges: Tensor, accuracy: Accuracy
) -> Iterator[Tensor]:
    if triton_kernel_applies(these, regime):
        samples = float(needed.max()) * (len(edges) - 1)
        numbers = int(samples) * _SPECTRA_OF_KERNEL + len(these.v_km_s) * _NUMBERS_OF_KERNEL
        count = rays_per_bundle(these.v_km_s, numbers, accuracy.memory_GiB)
        return iter(order.split(min(count, _MOST_RAYS_OF_KERNEL)))
    reach = _reach_km_s(these).detach().amax(dim=0)
    width = (2.0 * reach * needed / edges.diff().mean()).ceil() + 2.0
    widest = int(width.amax().clamp(max=float(needed.max()) * (len(edges) - 1)))
    numbers = widest * len(these.v_km_s) * _ARRAYS_ALIVE
    count = min(rays_per_bundle(these.v_km_s, numbers, accuracy.memory_GiB), _MOST_RAYS[edges.device.type])
    return iter(order.split(count))


def _reach_km_s(these: Cells) -> Tensor:
    """Half the window of each cell."""
    width = effective_width_km_s(these.width_km_s, these.spread_km_s)
    peak = these.depth_km_s.abs() / torch.maximum(width, these.spread_km_s)
    return width * torch.sqrt(WINDOW + torch.log1p(peak)) + 0.5 * these.spread_km_s


def _bundle(these: Cells, regime: Regime, edges: Tensor, samples: int, background: Tensor) -> tuple[Tensor, Tensor]:
    """Returns ((ray, V) line, (ray,) continuum)."""
    behind, reached = continuum_behind(these, background)
    front = transmission_in_front(these.dust_depth) if regime.dusty else torch.ones_like(these.dust_depth)
    if regime.linear:
        return _sum(these, regime, edges, behind, front), reached
    grid = Midpoints(edges, samples)
    if triton_kernel_applies(these, regime):
        from iris_cli.observers.backends import triton_kernel

        return grid.reduce(triton_kernel.spectra(these, grid, _reach_km_s(these), behind, front)), reached
    return grid.reduce(_scan(these, regime, grid, behind, front)), reached


def _scan(these: Cells, regime: Regime, grid: Midpoints, behind: Tensor, front: Tensor) -> Tensor:
    """(ray, sample) line minus continuum."""
    edges = grid.edges
    transmissions: list[Tensor] = []
    additions: list[Tensor] = []
    starts: list[Tensor] = []
    for rows, low, k in _windows(these, edges[0] - GUARD * grid.step_km_s, grid.step_km_s, grid.total):
        v = edges[0] + (low[..., None] + k - GUARD + 0.5) * grid.step_km_s
        here = these.at(rows)
        profile = profile_at(v, here.v_km_s, here.width_km_s, here.spread_km_s)
        transmission, added = regime.step(profile, here, behind[rows][..., None])
        transmissions += transmission.unbind(0)
        additions += (added * front[rows][..., None]).unbind(0)
        starts += low.unbind(0)
    return _Scan.apply(starts, grid.total, *transmissions, *additions)


def _sum(these: Cells, regime: Regime, edges: Tensor, behind: Tensor, front: Tensor) -> Tensor:
    """(ray, V): exact channel means of a sum of profiles."""
    channel, channels = edges.diff().mean().item(), len(edges) - 1
    total = torch.zeros(these.v_km_s.shape[1], channels, dtype=edges.dtype, device=edges.device)
    for rows, low, k in _windows(these, edges[0], channel, channels, margin=0.5 * channel):
        here, ends = these.at(rows), edges[0] + (low[..., None] + torch.cat([k, k[-1:] + 1])) * channel
        below = share_below(ends, here.v_km_s, here.width_km_s, here.spread_km_s)
        added = regime.step(below.diff(dim=-1) / channel, here, behind[rows][..., None])[1] * front[rows][..., None]
        at = (low[..., None] + k).clamp(max=channels - 1).expand_as(added)
        added = torch.where(low[..., None] + k < channels, added, torch.zeros_like(added))
        total = total.scatter_add(1, at.transpose(0, 1).flatten(1), added.transpose(0, 1).flatten(1))
    return total


def _windows(
    these: Cells, origin: Tensor, step: float, total: int, margin: float = 0.0
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yields (rows of cells, (row, ray) first sample, (sample,) 0, 1, 2 …); the windows hold all lines of the rows.

    A sample belongs to a line when its centre lies within the line's reach and the margin.
    """
    v, reach = these.v_km_s.detach(), _reach_km_s(these).detach() + margin
    first = ((v - reach - origin) / step - 0.5).ceil().clamp(0, total).long()
    last = ((v + reach - origin) / step - 0.5).floor().clamp(-1, total - 1).long() + 1
    lengths = (last - first).amax(dim=1).clamp(min=1) + 1
    row = 0
    while row < len(v):
        longest = lengths[row : row + 64].cummax(0).values
        samples = torch.arange(1, len(longest) + 1, device=v.device) * longest * v.shape[1]
        fit = samples <= _SAMPLES_AT_ONCE[v.device.type]
        rows = slice(row, row + max(int(fit.sum()), 1))
        yield rows, first[rows], torch.arange(int(lengths[rows].max()), device=v.device)
        row = rows.stop


class _Scan(torch.autograd.Function):
    """spectrum[start : start + K] <- spectrum x transmission + addition, from last to first row, all rays at once."""

    @staticmethod
    def forward(ctx: Any, starts: list[Tensor], total: int, *rows: Tensor) -> Tensor:
        transmissions, additions = rows[: len(starts)], rows[len(starts) :]
        longest = max(t.shape[-1] for t in transmissions)
        spectrum = additions[0].new_zeros(len(starts[0]), total + longest)
        keep, before = any(ctx.needs_input_grad), []
        for start, transmission, addition in zip(starts[::-1], transmissions[::-1], additions[::-1], strict=True):
            at = start[:, None] + torch.arange(transmission.shape[-1], device=start.device)
            window = spectrum.gather(1, at)
            spectrum.scatter_(1, at, torch.addcmul(addition, window, transmission))
            before += [window] if keep else []
        ctx.starts, ctx.width = starts, spectrum.shape[1]
        ctx.save_for_backward(*transmissions, *before[::-1])
        return spectrum[:, :total]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        transmissions, before = ctx.saved_tensors[: len(ctx.starts)], ctx.saved_tensors[len(ctx.starts) :]
        (gradient,) = gradients
        gradient = torch.nn.functional.pad(gradient, (0, ctx.width - gradient.shape[1]))
        to_transmission, to_addition = [], []
        for start, transmission, window in zip(ctx.starts, transmissions, before, strict=True):
            at = start[:, None] + torch.arange(transmission.shape[-1], device=start.device)
            here = gradient.gather(1, at)
            to_addition.append(here)
            to_transmission.append(here * window)
            gradient.scatter_(1, at, here * transmission)
        return None, None, *to_transmission, *to_addition
