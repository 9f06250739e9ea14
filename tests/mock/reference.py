"""The formulas of mock galaxies in plain NumPy and float64, with which those of the compiled kernels are compared."""

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from iris_cli.config.grid import Grid
from iris_cli.mock.clouds import REACH
from iris_cli.mock.galaxy import LEAST_N_H_CM3, RIGID_PC, Envelope, MockGalaxy
from iris_cli.mock.lanes import BEGIN_PC, Lane
from iris_cli.mock.streams import END_RAD, Stream
from iris_cli.mock.streams import REACH as WIDTHS
from iris_cli.standard.density_relations import DENSITY_PER_N_H_CM3
from iris_cli.standard.grid import Cells, cells
from iris_cli.standard.orbit import Orbit

Gas = tuple[NDArray, tuple[NDArray, NDArray, NDArray]]


def tensor(galaxy: MockGalaxy, grid: Grid, view_deg: float) -> NDArray:
    """(6, R, L, B)"""
    where = cells(grid, view_deg)
    x, y, z = (np.broadcast_to(q, grid.tensor_shape[1:]) / galaxy.scale for q in (where.x, where.y, where.z))
    n_H, v = gas(galaxy, *(q - centre for q, centre in zip((x, y, z), galaxy.centre_pc, strict=True)))
    flux = n_H * galaxy.scale * (v[0] * where.nx + v[1] * where.ny + v[2] * where.nz)
    add_clouds(galaxy, grid, where, view_deg, n_H, flux)
    t = galaxy.turbulence
    log, v_x, v_y, v_z, heat = (sample(field, t.cell_pc, x, y, z) for field in t.fields)
    v_los = flux / n_H + t.sigma_km_s * galaxy.scale * (v_x * where.nx + v_y * where.ny + v_z * where.nz)
    n_H = n_H * np.exp(t.contrast * log - 0.5 * t.contrast**2)
    T_gas = (30.0 + 120.0 / (1.0 + (n_H / 300.0) ** 0.6)) * np.exp(t.gas_scatter * heat)
    T_dust = (15.0 + 15.0 / (1.0 + (n_H / 1e3) ** 0.5)) * np.exp(t.dust_scatter * heat)
    x_H2, x_CO = 0.5 / (1.0 + (30.0 / n_H) ** 1.5), 4.25e-5 / (1.0 + (200.0 / n_H) ** 2)
    return np.stack([v_los, n_H * DENSITY_PER_N_H_CM3, T_gas, x_H2, x_CO, T_dust])


def gas(galaxy: MockGalaxy, x: NDArray, y: NDArray, z: NDArray) -> Gas:
    parts = [envelope(galaxy.envelope, x, y, z), *(lane(each, x, y, z) for each in galaxy.lanes)]
    parts += [stream(each, x, y, z) for each in galaxy.streams]
    n_H = sum(n for n, _ in parts)
    v_x, v_y, v_z = (sum(n * v[k] for n, v in parts) / n_H for k in range(3))
    return n_H, (v_x, v_y, v_z)


def envelope(e: Envelope, x: NDArray, y: NDArray, z: NDArray) -> Gas:
    radius = np.hypot(x, y)
    soft = np.maximum(radius, RIGID_PC)
    side = (e.lopsided[0] * x + e.lopsided[1] * y) / soft
    n_H = e.n_H_cm3 * np.exp(side - radius / e.radius_pc - 0.5 * (z / e.height_pc) ** 2)
    v_x, v_y = (y * e.v_km_s - x * e.drift_km_s) / soft, (-x * e.v_km_s - y * e.drift_km_s) / soft
    return n_H + LEAST_N_H_CM3, (v_x, v_y, 0.0 * z)


def lane(each: Lane, x: NDArray, y: NDArray, z: NDArray) -> Gas:
    (x0, y0), (u, v) = each.start_pc, each.outwards
    along, across = (x - x0) * u + (y - y0) * v, (y - y0) * u - (x - x0) * v
    n_H = each.n_H_cm3 * np.exp(-0.5 * (across**2 + z**2) / each.width_pc**2) / (1.0 + np.exp(-along / BEGIN_PC))
    return n_H, (0.0 * n_H - u * each.speed_km_s, 0.0 * n_H - v * each.speed_km_s, 0.0 * n_H)


def stream(each: Stream, x: NDArray, y: NDArray, z: NDArray) -> Gas:
    p, q = each.orbit.plane(x, y)
    if (opening := each.opening) is None:
        return tube(each, x, y, z, p, q)
    total, flux = np.zeros_like(z), np.zeros((3, *z.shape))
    end = opening.start_rad + opening.length_rad
    for turn in range(-3, 4):
        if (
            2.0 * turn * np.pi + np.pi < opening.start_rad - 4.0 * END_RAD
            or 2.0 * turn * np.pi - np.pi > end + 4.0 * END_RAD
        ):
            continue
        azimuth = np.arctan2(q, p) + 2.0 * np.pi * turn
        begun, left = azimuth - opening.start_rad, end - azimuth
        turned = opening.precession * azimuth
        n_H, v = tube(each, x, y, z, np.hypot(p, q) * np.cos(turned), np.hypot(p, q) * np.sin(turned), azimuth - turned)
        n_H = n_H / (1.0 + np.exp(-begun / END_RAD)) / (1.0 + np.exp(-left / END_RAD))
        total, flux = total + n_H, flux + n_H * np.stack(v)
    v_x, v_y, v_z = flux / np.maximum(total, 1e-30)
    return total, (v_x, v_y, v_z)


def tube(each: Stream, x: NDArray, y: NDArray, z: NDArray, p: NDArray, q: NDArray, ahead: NDArray | None = None) -> Gas:
    """The gas around an ellipse with positions (p, q) in its own axes, of which that of an open stream is ahead."""
    orbit, phi, across = each.orbit, each.orbit.phase(p, q), across_pc(each.orbit, p, q)
    side = (each.lopsided[0] * x + each.lopsided[1] * y) / np.hypot(x, y)
    ripple = sum(c * np.cos(m * phi) + s * np.sin(m * phi) for m, (c, s) in enumerate(each.ripples, 1))
    exponent = ripple + side - 0.5 * (across**2 + (z - orbit.height(phi)) ** 2) / each.width_pc**2
    n_H = (
        each.n_H_cm3 * np.exp(exponent) / np.hypot(np.sin(phi), orbit.semi_minor_pc / orbit.semi_major_pc * np.cos(phi))
    )
    reach = WIDTHS * each.width_pc
    n_H = np.where((np.abs(across) < reach) & (np.abs(z) < reach + orbit.height_pc), n_H, 0.0)
    v_p, v_q, v_z = orbit.velocity(phi)
    if each.opening is not None:  # radial velocities are slower by the precession; the angular momentum is the same
        radius, v_z = np.hypot(p, q), each.opening.precession * v_z
        outwards = each.opening.precession * (v_p * p + v_q * q) / radius
        around = orbit.v0_km_s * orbit.semi_minor_pc / radius
        azimuth = np.arctan2(q, p) + ahead
        v_p, v_q = (
            outwards * np.cos(azimuth) - around * np.sin(azimuth),
            outwards * np.sin(azimuth) + around * np.cos(azimuth),
        )
    return n_H, (*orbit.galactocentric(v_p, v_q), v_z)


def across_pc(orbit: Orbit, p: NDArray, q: NDArray) -> NDArray:
    """Distance in the plane from the ellipse, to first order; positive outside."""
    u = np.hypot(p / orbit.semi_major_pc, q / orbit.semi_minor_pc)
    return (u - 1.0) * u / np.hypot(p / orbit.semi_major_pc**2, q / orbit.semi_minor_pc**2)


def add_clouds(galaxy: MockGalaxy, grid: Grid, where: Cells, view_deg: float, n_H: NDArray, flux: NDArray) -> None:
    """Products of the means of Gaussians along distance, longitude and latitude, with the directions of each cloud."""
    c, scale, turn = galaxy.clouds, galaxy.scale, math.radians(view_deg)
    cos, sin = math.cos(turn), math.sin(turn)
    toward, left, up = np.array([[-cos, -sin, 0.0], [sin, -cos, 0.0], [0.0, 0.0, 1.0]])
    lon, lat = (np.deg2rad(axis.centres()) for axis in (grid.longitude, grid.latitude))
    for k in range(len(c)):
        seen = scale * (c.position_pc[k] + galaxy.centre_pc) + grid.observer_distance_pc * toward
        distance, flat = np.linalg.norm(seen), np.linalg.norm(seen[:2])
        l0, b0 = math.atan2(seen @ left, seen @ toward), math.asin(seen @ up / distance)
        out, east = seen / distance, math.cos(l0) * left - math.sin(l0) * toward
        north = math.cos(b0) * up - math.sin(b0) * (math.cos(l0) * toward + math.sin(l0) * left)
        offsets = (grid.distance.centres() - distance, (lon - l0) * flat, (lat - b0) * distance)
        steps = math.radians(grid.longitude.step) * flat, math.radians(grid.latitude.step) * distance
        sides = (grid.distance.step, *steps)
        means = [mean(offset, side, scale * c.radius_pc[k]) for offset, side in zip(offsets, sides, strict=True)]
        n = c.n_H_cm3[k] * means[0][:, None, None] * means[1][:, None] * means[2]
        per_pc = out @ c.gradient_km_s_pc[k]
        v = scale * out @ c.velocity_km_s[k] + (per_pc @ out * offsets[0])[:, None, None]
        v = v + (per_pc @ east * offsets[1])[:, None] + per_pc @ north * offsets[2]
        n_H += n
        flux += n * v


def mean(offset_pc: NDArray, side_pc: float, radius_pc: float) -> NDArray:
    low, high = (erf((offset_pc + half * side_pc) / (math.sqrt(2.0) * radius_pc)) for half in (-0.5, 0.5))
    inside = np.abs(offset_pc) < REACH * radius_pc + 0.5 * side_pc
    return np.where(inside, (high - low) * math.sqrt(0.5 * math.pi) * radius_pc / side_pc, 0.0)


def sample(field: NDArray, cell_pc: float, x: NDArray, y: NDArray, z: NDArray) -> NDArray:
    """Trilinear values of a periodic lattice field (nx, ny, nz)."""
    places = [q / cell_pc for q in (x, y, z)]
    total = np.zeros(x.shape)
    for corner in product((0, 1), repeat=3):
        index = tuple((np.floor(q).astype(int) + up) % n for q, up, n in zip(places, corner, field.shape, strict=True))
        shares = [q - np.floor(q) if up else 1.0 - (q - np.floor(q)) for q, up in zip(places, corner, strict=True)]
        total += field[index] * np.prod(shares, axis=0)
    return total
