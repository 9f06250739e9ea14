"""The synthetic observer: a galaxy as a radio telescope observes it in a spectral line, with dust and background.

Physical tensor -> level populations -> emission and absorption -> transfer along each ray -> beam -> brightness
temperature.
"""

from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from iris_cli import axes, units
from iris_cli.config.grid import Grid
from iris_cli.config.observer import CO_PER_H2, LineConfig, SyntheticConfig
from iris_cli.config.preobserve import PreobserveConfig
from iris_cli.observers.backends.backend import Spectra, backend
from iris_cli.observers.beam import beam_weights, convolve
from iris_cli.observers.brightness import UNITS, channel_frequencies_Hz
from iris_cli.observers.checks import check_matter, warn_if_atomic, warn_if_outside, warn_if_untrapped
from iris_cli.observers.device import resolve_backend
from iris_cli.observers.emission import LineSetup, Matter, line_setup
from iris_cli.observers.molecules import check_rates, load_molecule, tracer_abundance
from iris_cli.observers.observer import Observer
from iris_cli.observers.populations import populations_of
from iris_cli.observers.sampling import Accuracy
from iris_cli.observers.transfer import REGIMES

_UNIT = {"rayleigh-jeans": "K", "planck": "K (Planck)"}


class SyntheticObserver(Observer):
    """Brightness temperature of one or several lines, line minus continuum, channel means, K."""

    name = "synthetic"
    quantity = "temperature"

    def __init__(
        self, grid: Grid, latitude: str = "mean", smooth_velocity: bool = True, config: SyntheticConfig | None = None
    ) -> None:
        super().__init__(grid, latitude, smooth_velocity)
        config = config or SyntheticConfig()
        self.config = resolve_backend(config)  # raises if a GPU is asked for and missing
        #: Computes where gas records gradients: `auto` may otherwise be a backend without them.
        self._with_gradients = "torch" if config.backend == "auto" else self.config.backend
        self.lines = len(self.config.lines)

    @classmethod
    def _from_config(cls, grid: Grid, config: PreobserveConfig) -> "SyntheticObserver":
        observing = config.synthetic
        if config.tracer.per_H2 is not None:
            (line,) = observing.lines
            observing = replace(observing, lines=(replace(line, tracer_per_CO=config.tracer.per_H2 / CO_PER_H2),))
        if config.litter:
            observing = replace(observing, clump_km_s=0.0)  # gas of the disc is calm
        check_rates(observing)
        return cls(grid, config.latitude, config.smooth_velocity, observing)

    def cube(self, tensor: Tensor) -> Tensor:
        """(6, R, L, B) -> (lines, L, B, V). Raises DataError with the first impossible cell."""
        return self._cubes(self._matter(tensor, tensor[axes.V_LOS]), _UNIT[self.config.brightness])

    def cube_in(self, tensor: Tensor, unit: str) -> Tensor:
        """The same in one of `brightness.UNITS`, with velocities smoothed if `smooth_velocity` is set."""
        return self._cubes(self._matter(tensor, self.velocity(tensor)), unit)

    def observe(self, tensor: Tensor) -> Tensor:
        """(6, R, L, B) -> (channels, L, V).

        A mean of Rayleigh-Jeans temperatures needs no cube: the beam along latitude does not change it, and the beam
        along longitude may be applied after it.
        """
        matter = self._matter(tensor, self.velocity(tensor))
        if self.latitude != "mean" or self.config.brightness != "rayleigh-jeans" or not self.coverage.is_everything:
            return self.reduced(self._cubes(matter, _UNIT[self.config.brightness]))
        return torch.stack([self._mean_image(matter, line) for line in self.config.lines])

    def describe(self) -> dict[str, Any]:
        """All that the numbers depend on; a LAMDA file is described by its contents, not its path."""
        settings = asdict(self.config)
        for irrelevant in ("threads", "memory_GiB"):
            del settings[irrelevant]
        lines = [self._describe_line(line) for line in self.config.lines]
        return {"name": self.name, **settings, "lines": lines, **self._seen()}

    def _describe_line(self, line: LineConfig) -> dict[str, Any]:
        molecule = load_molecule(line.molecule)
        return {
            **asdict(line),
            "molecule": molecule.name,
            "molecule_fingerprint": molecule.fingerprint(),
            "tracer_per_CO": tracer_abundance(line.molecule, line.tracer_per_CO),
            "frequency_GHz": molecule.line(line.transition).frequency_Hz / 1e9,
        }

    def _matter(self, tensor: Tensor, v_km_s: Tensor) -> Matter:
        rho = tensor[axes.RHO] * units.convert("density", units.INNER, units.SI)
        others = (tensor[channel] for channel in (axes.T_GAS, axes.X_H2, axes.X_CO, axes.T_DUST))
        matter = Matter(*(field.flatten(1) for field in (v_km_s, rho, *others)))
        check_matter(matter, tuple(tensor.shape[2:]))
        warn_if_outside(matter, self._edges_km_s())
        return matter

    def _edges_km_s(self) -> Tensor:
        return torch.as_tensor(self.grid.velocity.edges())

    def _spectra(self, matter: Matter, line: LineConfig) -> Spectra:
        c = self.config
        accuracy = Accuracy(subsamples=c.subsamples, memory_GiB=c.memory_GiB, threads=c.threads, device=c.device)
        dr_m = self.grid.distance.step * units.M_PER_PC
        chosen = setup(line, c)
        warn_if_atomic(matter, chosen)
        warn_if_untrapped(matter, chosen, dr_m)
        name = self._with_gradients if matter.records_gradients else c.backend
        return backend(name).spectra(matter, chosen, REGIMES[c.regime], dr_m, self._edges_km_s(), accuracy)

    def _cubes(self, matter: Matter, unit: str) -> Tensor:
        return torch.stack([self._cube(matter, line, unit) for line in self.config.lines])

    def _cube(self, matter: Matter, line: LineConfig, unit: str) -> Tensor:
        """(L, B, V). The beam is applied to intensities, before their conversion to another unit."""
        spectra, sky = self._spectra(matter, line), (self.grid.lon_steps, self.grid.lat_steps)
        seen, continuum = spectra.line_K.view(*sky, -1), spectra.continuum_K.view(*sky)
        for axis, coordinate in enumerate((self.grid.longitude, self.grid.latitude)):
            weights = beam_weights(self.config.beam_fwhm_arcsec, coordinate.step)
            seen, continuum = convolve(seen, weights, axis), convolve(continuum, weights, axis)
        return self._converted(seen.flatten(0, 1), continuum.flatten(), line, unit).view(*sky, -1)

    def _mean_image(self, matter: Matter, line: LineConfig) -> Tensor:
        mean = self._spectra(matter, line).line_K.view(self.grid.lon_steps, self.grid.lat_steps, -1).mean(dim=1)
        weights = beam_weights(self.config.beam_fwhm_arcsec, self.grid.longitude.step)
        return self._converted(convolve(mean, weights, 0), mean.new_zeros(len(mean)), line, "K")

    def _converted(self, line_K: Tensor, continuum_K: Tensor, line: LineConfig, unit: str) -> Tensor:
        rest_Hz = load_molecule(line.molecule).line(line.transition).frequency_Hz
        frequency_Hz = channel_frequencies_Hz(rest_Hz, torch.as_tensor(self.grid.velocity.centres()))
        return UNITS[unit](line_K, continuum_K, rest_Hz, frequency_Hz)


@lru_cache(maxsize=16)
def setup(line: LineConfig, config: SyntheticConfig) -> LineSetup:
    """The line with its level table; cached, so that a process loads the table once for all tensors."""
    return line_setup(
        load_molecule(line.molecule),
        line.transition,
        populations_of(config),
        tracer_per_CO=tracer_abundance(line.molecule, line.tracer_per_CO),
        dust_opacity_m2_kg=line.dust_opacity_m2_kg,
        background_K=config.background_K,
        turbulence_km_s=config.turbulence_km_s,
        clump_n_H_cm3=config.clump_n_H_cm3,
        clump_km_s=config.clump_km_s,
        in_cell_gradient=config.in_cell_gradient,
        clip_masers=config.masers == "clip",
        temperature_ceiling_K=config.temperature_ceiling_K,
    )
