"""Trained networks in Python: l-v images in; maps, samples of maps, distances and tests out.

from iris_cli import load_run, read_cube
run = load_run("RUN")
image = read_cube("cube.fits", run)
run.predict(image)        # (R', L) M_sun / pc^3
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from iris_cli.config.cube import CubeConfig
from iris_cli.config.grid import Grid, grid_preset
from iris_cli.config.toml import from_dict, to_dict
from iris_cli.config.train import TrainConfig, read_path
from iris_cli.console import log
from iris_cli.errors import DataError, UsageError
from iris_cli.evaluation.ensemble import SAMPLES, Ensemble
from iris_cli.evaluation.report import RunReport
from iris_cli.evaluation.trivial import PRIOR
from iris_cli.plugins import trust as trust_module
from iris_cli.reverter.distances import Distances
from iris_cli.reverter.reverter import Reverter
from iris_cli.standard.top_down_plane import pixel_volume_pc3
from iris_cli.telescope.lv_image import LvImage, load_lv
from iris_cli.telescope.near_far import NearFar, near_far
from iris_cli.telescope.regrid import regrid
from iris_cli.training.model_file import packaged
from iris_cli.training.test import inputs_of, test_run
from iris_cli.training.trained_run import TrainedRun, ensemble_for, open_members
from iris_cli.units import INNER

Floats = NDArray[np.float32]
Image = ArrayLike | LvImage


@dataclass(frozen=True)
class LoadedRun:
    """The networks of a run, an ensemble, or a file of `iris export`.

    An image is an array (L, V), (channel, L, V) or (N, channel, L, V), or the result of `read_cube`. Longitudes and
    velocities ascend, on the axes `grid.longitude` and `grid.velocity`; values are in K for a network that reads a
    "temperature", in M_sun pc^-2 (km/s)^-1 for a "v_density"; pixels that were not observed are 0. A map (R', L) is
    the density of H2 in M_sun/pc^3: rows of distance from the Sun, ascending, and columns of longitude, ascending. Maps
    of N images are (N, R', L).
    """

    members: tuple[TrainedRun, ...]

    @property
    def grid(self) -> Grid:
        """The axes of images and maps: longitude in deg, velocity in km/s, distance in pc."""
        return self.members[0].checkpoint.data.grid

    @property
    def quantity(self) -> str:
        """What the images measure: "temperature" (K) or "v_density" (M_sun pc^-2 (km/s)^-1)."""
        return self.members[0].checkpoint.data.quantity

    @property
    def latitude(self) -> str:
        """How images are made of cubes: "mean", "max" or "moments" over the latitudes of the grid."""
        return self.members[0].checkpoint.data.latitude

    @property
    def lines(self) -> dict[str, float]:
        """Name -> GHz of the spectral lines in the images of the training, where they are known."""
        return self.members[0].checkpoint.data.lines

    @property
    def pixel_volume_pc3(self) -> NDArray[np.float64]:
        """(R', 1) pc^3: a map times this are the masses of its pixels in M_sun, over all latitudes of the grid."""
        return pixel_volume_pc3(self.grid)

    @cached_property
    def _networks(self) -> Ensemble:
        return ensemble_for(self.members)

    @cached_property
    def _with_samplers(self) -> Ensemble:
        return ensemble_for(self.members, samples=1)

    @cached_property
    def distance_networks(self) -> list[tuple[Distances, str]]:
        """Those of the members, and their validation in words; none unless each member has one."""
        found = [network for member in self.members if (network := member.distances())]
        return found if len(found) == len(self.members) else []

    @property
    def can_sample(self) -> bool:
        """Whether all members have a sampler (`iris train --samples`)."""
        return bool(self._with_samplers.samplers)

    def predict(self, image: Image) -> Floats:
        """The map (R', L) or (N, R', L), M_sun/pc^3: the mean of those of the networks. DataError as of `maps`."""
        return self.maps(image).mean(axis=0)

    def maps(self, image: Image) -> Floats:
        """(K, R', L) or (K, N, R', L) M_sun/pc^3: the map of each of the K networks.

        DataError for an image of another shape, and for one with values that are not finite.
        """
        images, single = self._images(image)
        with torch.no_grad():
            networks = (cast(Reverter, one) for one in self._networks.members)
            maps = np.stack([one.multi_unit_call(images, INNER, INNER)[:, 0].float().numpy() for one in networks])
        return maps[:, 0] if single else maps

    def samples(self, image: Image, count: int = 64) -> Floats:
        """(K, R', L) or (K, N, R', L) M_sun/pc^3: maps that fit the image, `count` of each member.

        The same image gives the same samples. DataError where a member has no sampler, and as of `maps`.
        """
        if not self.can_sample:
            raise DataError(f"{self.members[0].path} has no sampler", "train one: `iris train … --samples`")
        images, single = self._images(image)
        self._with_samplers.count = count
        keys = [blake2b(one.numpy().tobytes(), digest_size=16).hexdigest() for one in images]
        with torch.no_grad():
            drawn = self._with_samplers.predict(images, keys)[SAMPLES][:, :, 0].numpy()
        return drawn[:, 0] if single else drawn

    def distances(self, image: Image) -> NearFar:
        """Where along the line of sight the gas at each (l, v) of one image is.

        `.p_near` (L, V) is the probability that it is nearer than Sgr A*, `.prior_p_near` that of all training
        galaxies, `.shares` (K, bins, L, V) the shares of the gas between `.edges_pc`, pc from the Sun. DataError where
        a member has no distance network, for several images, and as of `maps`.
        """
        if not self.distance_networks:
            raise DataError(f"{self.members[0].path} has no distance network", "train one: `iris train … --distances`")
        images, single = self._images(image)
        if not single:
            raise DataError(f"{len(images)} images were given; distances are those of one", "call it for each")
        networks, held_out = [network for network, _ in self.distance_networks], self.distance_networks[0][1]
        if len(networks) > 1 and held_out:
            held_out = f"{held_out} (the first of {len(networks)} networks)"
        return near_far(networks, images, self.grid, held_out)

    def test(
        self, *pairs: str | Path, split: str | None = None, samples: int = 32, quiet: bool = True, **changes: Any
    ) -> RunReport:
        """Test on every pair of these shard folders once, as `iris test` does.

        `split` is by default test, else validation, else all pairs; `samples` maps are drawn of each pair by each
        sampler; `changes` are fields of `TrainConfig` that differ from the training: `noise=Noise(sigma_K=1.0)`,
        `litter=""`, `overlap="allow"`. `report.headline()` has the numbers, `report.normal` the statistics of all.
        DataError for pairs that do not fit, and for galaxies of the training.
        """
        trained = self.members[0].checkpoint.config
        here = {"observer": "", "overlap": "refuse", "data": [read_path(str(folder)) for folder in pairs]}
        given = {
            name: to_dict(value) if hasattr(value, "__dataclass_fields__") else value for name, value in changes.items()
        }
        config = from_dict(TrainConfig, {**trained, **here, **given}, str(self.members[0].path))
        inputs = inputs_of(config, split, members=self.members)
        return test_run(self.members, config, inputs, samples=samples, quiet=quiet)

    def _images(self, image: Image) -> tuple[torch.Tensor, bool]:
        """(N, channel, L, V), and whether it was a single image."""
        array = np.asarray(image.channels if isinstance(image, LvImage) else image, dtype=np.float32)
        full = array.reshape((1,) * max(0, 4 - array.ndim) + array.shape)
        channels, wanted = self._networks.channels, self.grid.observation_shape[1:]
        if full.ndim != 4 or full.shape[2:] != wanted or full.shape[1] < channels:
            what = f"the image is of shape {array.shape}; the network takes {channels} x {wanted[0]} x {wanted[1]}"
            raise DataError(what, "axes are (channel, longitude, velocity), on the grid of the run")
        if not np.isfinite(full).all():
            raise DataError("the image has values that are not finite", "pixels that were not observed are 0")
        return torch.from_numpy(np.ascontiguousarray(full)), array.ndim < 4


def load_run(*runs: str | Path, trust: Sequence[str] = ()) -> LoadedRun:
    """Runs, ensembles, checkpoints or files of `iris export`, opened; without any, the network of the package.

    `trust` are modules outside of IRIS that may be imported where a run names a network or a loss in them. DataError
    when there is no run, or it is damaged.

        run = load_run("RUN")
        density = run.predict(image)                  # (R', L) M_sun/pc^3 of an image (L, V) in K
    """
    for module in trust:
        trust_module(module)
    members = members_of(runs)
    if not runs:
        log_packaged(members[0])
    return LoadedRun(tuple(members))


def members_of(runs: Sequence[Path | str]) -> list[TrainedRun]:
    """Those of the runs; the network of the package where there are none, which `log_packaged` describes."""
    return open_members(*(map(Path, runs) if runs else (packaged(),)))


def log_packaged(member: TrainedRun) -> None:
    data, found = member.checkpoint.data, member.tested().get("predictors", {})
    lines = ", ".join(f"{name} at {GHz:.4f} GHz" for name, GHz in data.lines.items())
    said = f"note: no run was named: the network of the package is used ({packaged()}). It was trained on "
    said += f"mock galaxies in {lines}, {data.grid.lon_steps} x {data.grid.v_steps} pixels"
    if SAMPLES in found:
        scores = [f"{found[name]['crps']:.3f}" for name in (SAMPLES, PRIOR)]
        said += f"; on held-out ones the CRPS of its samples is {scores[0]}, that of other galaxies' maps {scores[1]}"
    log(said)


def read_cube(
    cubes: str | Path | Sequence[str | Path],
    like: LoadedRun | Grid | str,
    latitude: str = "mean",
    config: CubeConfig | None = None,
    *,
    quiet: bool = True,
) -> LvImage:
    """The l-v image of FITS cubes, or that of a file of `iris cube`, on the grid of a run, a grid, or a preset.

    `.image` (L, V) is the brightness temperature in K, 0 where nothing was observed, `.coverage` (L, V) the share of
    each pixel that was. `latitude` is that of the run, else "mean", "max" or "moments". `config` has the options of
    `iris cube`. DataError for a cube that cannot be read or does not overlap the grid.
    """
    paths = [Path(cube) for cube in ([cubes] if isinstance(cubes, str | Path) else cubes)]
    if isinstance(like, LoadedRun):
        return observed_image(paths, like.grid, like.latitude, config or CubeConfig(), quiet)
    grid = grid_preset(like) if isinstance(like, str) else like
    return observed_image(paths, grid, latitude, config or CubeConfig(), quiet)


def observed_image(cubes: list[Path], grid: Grid, latitude: str, config: CubeConfig, quiet: bool) -> LvImage:
    """The l-v image of the cubes, or the image that `iris cube` has already made."""
    lv = load_lv(cubes[0]) if len(cubes) == 1 and cubes[0].is_file() else None
    if lv is None:
        return regrid(cubes, grid, latitude, config, quiet=quiet)
    for name, here, there in (("latitude reduction", lv.latitude, latitude), ("grid", lv.grid, grid)):
        if here != there:
            raise DataError(f"{cubes[0]} and the run differ in their {name}", "make it again: iris cube … --run RUN")
    if config != CubeConfig():
        raise UsageError(f"{cubes[0]} is regridded already", "give such flags to `iris cube`")
    return lv
