"""Speed of the synthetic observer: `python -m tests.benchmarks.observer [--paper] [--device cuda]`.

The compared forms run in turn, three times each, on the same rays; the lowest processor time of each counts, because
wall time depends on other processes. The dense form is the plain tensor formulation in float32: every cell at every
sample, with as many midpoints per channel as the fast forms use, in bundles of rays that fit into the cache. Results:
docs/benchmarks/observer.md.
"""

import math
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest import mock

import torch
import typer
from torch import Tensor

from iris_cli import axes
from iris_cli.config.grid import GRID_PRESETS, Grid
from iris_cli.config.mock import MockConfig
from iris_cli.config.observer import LineConfig, SyntheticConfig
from iris_cli.mock.draw import draw_galaxy
from iris_cli.observers.backends import torch_windows
from iris_cli.observers.backends.backend import Spectra, backend
from iris_cli.observers.beam import beam_weights, convolve
from iris_cli.observers.device import choose_device
from iris_cli.observers.emission import Matter, cells, rayleigh_jeans_K
from iris_cli.observers.line_profile import GUARD, Midpoints
from iris_cli.observers.sampling import Accuracy, samples_per_ray
from iris_cli.observers.synthetic import SyntheticObserver, setup
from iris_cli.observers.top_down import top_down_density
from iris_cli.observers.transfer import REGIMES
from iris_cli.observers.velocity_smoothing import smooth
from iris_cli.units import M_PER_PC

#: The best of 2^14 … 2^19 for the dense form.
_CACHED_SAMPLES = 1 << 18


@dataclass(frozen=True)
class Took:
    wall_s: float
    processor_s: float


def timed(work: Callable[[], object]) -> Took:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - wall, time.process_time() - processor)


def interleaved(works: dict[str, Callable[[], object]], rounds: int = 3) -> dict[str, Took]:
    """The run with the lowest processor time of each form; the forms run in turn."""
    runs: dict[str, list[Took]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            runs[name].append(timed(work))
    return {name: min(took, key=lambda t: t.processor_s) for name, took in runs.items()}


def dense(matter: Matter, config: SyntheticConfig, dr_m: float, edges: Tensor, samples: int) -> Tensor:
    """(ray, V) float32: transfer of line and continuum on all samples, then their difference."""
    chosen = setup(config.lines[0], config)
    grid = Midpoints(edges.float(), samples)
    v = grid.velocities_km_s()[GUARD:-GUARD]
    background = rayleigh_jeans_K(torch.tensor(config.background_K), chosen.quantum_K)
    bundle = max(1, _CACHED_SAMPLES // len(v))
    spectra = []
    for which in torch.arange(matter.v_km_s.shape[1]).split(bundle):
        these = cells(matter.rays(which).to(torch.float32), chosen, dr_m)
        line = continuum = background.expand(len(which), 1)
        for k in range(len(these.v_km_s) - 1, -1, -1):
            b, dust, dust_K = (f[k][:, None] for f in (these.width_km_s, these.dust_depth, these.dust_K))
            profile = torch.exp(-(((v - these.v_km_s[k][:, None]) / b) ** 2)) / (b * math.sqrt(math.pi))
            depth = these.depth_km_s[k][:, None] * profile + dust
            through = torch.exp(-depth)
            source = (these.line_K_km_s[k][:, None] * profile + dust_K * dust) / depth
            line = line * through + source * (1.0 - through)
            continuum = continuum * torch.exp(-dust) + dust_K * (1.0 - torch.exp(-dust))
        spectra.append((line - continuum).unflatten(-1, (-1, samples)).mean(dim=-1))
    return torch.cat(spectra)


def galaxy(grid: Grid) -> Tensor:
    """A mock galaxy; at paper size a small one interpolated, with turbulence from cell to cell added."""
    small = GRID_PRESETS["small"]
    tensor = torch.from_numpy(draw_galaxy(MockConfig(), 0, 0).tensor(small, 25.0))
    if grid != small:
        tensor = torch.nn.functional.interpolate(tensor[None], size=grid.tensor_shape[1:], mode="trilinear")[0]
        noise = torch.Generator().manual_seed(0)
        tensor[axes.V_LOS] += 1.5 * torch.randn(grid.tensor_shape[1:], generator=noise)
    return tensor


def rms_difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).double().pow(2).mean().sqrt() / other.double().pow(2).mean().sqrt())


def compare_forms(grid: Grid, device: str = "", every: int = 61) -> None:
    """The dense form on every 61st ray, scaled up: its cost is the same for every ray. The others on all of them."""
    tensor = galaxy(grid)
    config = SyntheticConfig(in_cell_gradient=False)
    observer = SyntheticObserver(grid, config=config)
    matter = observer._matter(tensor, smooth(tensor[axes.V_LOS]))
    few = matter.rays(slice(None, None, every))
    dr_m, edges = grid.distance.step * M_PER_PC, torch.as_tensor(grid.velocity.edges())
    chosen, thick = setup(LineConfig(), config), REGIMES["thick"]
    needed = samples_per_ray(cells(few, chosen, dr_m), edges, Accuracy()).double()
    samples = int(needed.mean())
    print(f"samples per channel that rays need: mean {needed.mean():.0f}, most {needed.max():.0f}")

    def fast(name: str, gas: Matter, gradient: bool = False, device: str = "") -> Spectra:
        changed = replace(chosen, in_cell_gradient=gradient)
        return backend(name).spectra(gas, changed, thick, dr_m, edges, Accuracy(device=device))

    truth = fast("reference", few).line_K
    print("rms difference from the float64 reference:")
    for name, spectra in {
        f"dense float32, {samples} samples": dense(few, config, dr_m, edges, samples),
        "torch windows": fast("torch", few).line_K,
        "compiled": fast("compiled", few).line_K,
    }.items():
        print(f"  {name:28s} {rms_difference(spectra, truth):.1e}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # waiting threads use processor time
    with torch.no_grad():
        forms: dict[str, Callable[[], object]] = {"dense": lambda: dense(few, config, dr_m, edges, samples)}
        forms |= {name: partial(fast, name, matter) for name in ("torch", "compiled")}
        took = interleaved(forms | {"compiled, in-cell gradient": lambda: fast("compiled", matter, gradient=True)})
    torch.set_num_threads(threads)
    took["dense"] = Took(took["dense"].wall_s * every, took["dense"].processor_s * every)
    number = matter.v_km_s.numel()
    for name, t in took.items():
        per_cell_ns, gain = t.processor_s / number * 1e9, took["dense"].processor_s / t.processor_s
        print(f"  {name:28s} {t.processor_s:8.2f} s on one core, {per_cell_ns:7.0f} ns per cell, {gain:6.1f} x")
    if device:
        compare_on(device, lambda gas: fast("torch", gas, device=device).line_K, matter, few, truth)


def compare_on(device: str, observe: Callable[[Matter], Tensor], matter: Matter, few: Matter, truth: Tensor) -> None:
    """Torch operations and the Triton kernel on a device. The spectra are copied to the CPU, which waits for them."""
    number, walls = matter.v_km_s.numel(), {}
    for name, runs in {"torch operations": lambda _: False, "kernel": torch_windows.triton_kernel_works}.items():
        with mock.patch.object(torch_windows, "triton_kernel_works", runs), torch.no_grad():
            against = rms_difference(observe(few), truth)  # also compiles and starts everything
            walls[name] = min(timed(lambda: observe(matter)).wall_s for _ in range(3))
        per_cell_ns = walls[name] / number * 1e9
        print(f"  {device}, {name:20s} {walls[name]:8.3f} s wall, {per_cell_ns:7.1f} ns per cell; rms {against:.1e}")
    if choose_device(device).type == "cuda" and torch_windows.triton_kernel_works(choose_device(device)):
        ratio = walls["torch operations"] / walls["kernel"]
        print(f"  the kernel is {ratio:.1f} x as fast as torch operations")
    else:
        print("  no kernel here: both are torch operations")


def whole_observation(grid: Grid) -> None:
    """The parts of the work of `preobserve` on one tensor."""
    tensor = galaxy(grid)
    observer = SyntheticObserver(grid, config=SyntheticConfig(backend="compiled"))
    line = observer.config.lines[0]
    matter = observer._matter(tensor, tensor[axes.V_LOS])
    cube = observer._spectra(matter, line).line_K.view(grid.lon_steps, grid.lat_steps, -1)
    weights = beam_weights(30.0, grid.longitude.step)
    parts = {
        "smoothing of the velocities": lambda: smooth(tensor[axes.V_LOS]),
        "conversion and checks": lambda: observer._matter(tensor, tensor[axes.V_LOS]),
        "levels and transfer": lambda: observer._spectra(matter, line),
        "latitude mean and beam": lambda: convolve(cube.mean(dim=1), weights, 0),
        "density image": lambda: top_down_density(tensor, grid),
        "whole observation": lambda: observer.observe(tensor),
        "cube with its beam": lambda: observer.cube(tensor),
    }
    for name, t in interleaved(parts, rounds=2).items():
        print(f"  {name:28s} {t.processor_s:8.2f} s processor, {t.wall_s:7.2f} s wall")


def clumps_and_even_cells(grid: Grid) -> None:
    """Whole observations: lines of clumpy gas are 30 km/s wide, so that most cells reach half of the channels."""
    tensor, even = galaxy(grid), {"clump_km_s": 0.0, "clump_n_H_cm3": 0.0}
    changes: dict[str, dict[str, Any]] = {
        "even cells": even,
        "clumps": {},
        "even cells, 7 km/s": {**even, "turbulence_km_s": 7.0},
        "clumps, 7 km/s": {"turbulence_km_s": 7.0},
        "clumps, one velocity": {"in_cell_gradient": False},
    }
    observers = {
        name: SyntheticObserver(grid, config=SyntheticConfig(backend="compiled", **changed))
        for name, changed in changes.items()
    }
    for name, t in interleaved({name: partial(of.observe, tensor) for name, of in observers.items()}, rounds=2).items():
        print(f"  {name:28s} {t.processor_s:8.2f} s processor, {t.wall_s:7.2f} s wall")


def main(paper: bool = False, device: str = "") -> None:
    """`paper`: also 512 x 512 x 128 x 512, 6 GiB. `device`: also the torch backend there, twice."""
    print(f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("128 x 128 x 32 x 128, transfer alone:")
    compare_forms(GRID_PRESETS["small"], device)
    print("128 x 128 x 32 x 128, one observation:")
    whole_observation(GRID_PRESETS["small"])
    if paper:
        print("512 x 512 x 128 x 512, one observation:")
        whole_observation(GRID_PRESETS["paper"])
        clumps_and_even_cells(GRID_PRESETS["paper"])


if __name__ == "__main__":
    main.__doc__ = __doc__
    typer.run(main)
