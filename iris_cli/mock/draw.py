"""Random draws of mock galaxies: a configuration, a seed and a number in, the ingredients of a galaxy out.

Angles `..._deg` in the plane count from positive longitude towards the far side, the direction of rotation.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from iris_cli.config.mock import LATTICE_BOX_PC, MockConfig
from iris_cli.config.setting import setting_of
from iris_cli.mock.clouds import Cloud
from iris_cli.mock.galaxy import Envelope, MockGalaxy
from iris_cli.mock.lanes import Lane
from iris_cli.mock.streams import Opening, Stream, Track, track
from iris_cli.mock.turbulence import Turbulence, random_field
from iris_cli.standard.density_relations import DENSITY_PER_N_H_CM3
from iris_cli.standard.orbit import Orbit

#: pc km/s per year: the flow through a lane of 1 M_sun/pc at 1 km/s is this in M_sun/yr.
PC_YR_PER_KM_S = 1.022_712e-6
#: Standard deviation of the velocities of clouds in the envelope, which lie on no common orbit, in each direction.
ENVELOPE_SCATTER_KM_S = 20.0
#: Standard deviation of the heights of complexes.
COMPLEX_HEIGHT_PC = 8.0
#: The radius to which `cloud_km_s` belongs.
LARSON_PC = 3.0
#: Standard deviation of the direction of lopsidedness.
LOPSIDED_SCATTER_DEG = 25.0
#: Share of the v0 of the orbits with which the envelope rotates.
ENVELOPE_ROTATION = 0.8


def draw_galaxy(config: MockConfig, seed: int, number: int) -> MockGalaxy:
    """Galaxy `number` of a seed; it does not depend on other galaxies."""
    rng = np.random.default_rng([seed, number])
    u = {each.name: rng.uniform(*getattr(config, each.name)) for each in fields(config) if setting_of(each).interval}
    turn_deg, room = _orientation(config, u, rng)
    u["tilt_deg"], volume = u["tilt_deg"] + turn_deg, u["scale"] ** 3
    side = u["lopsidedness"] * _direction(turn_deg + rng.normal(0.0, LOPSIDED_SCATTER_DEG))
    streams = _streams(config, u, side, volume, rng)
    envelope = _envelope(u, side, volume)
    complexes = _complexes(config, u, turn_deg, volume, rng)
    clouds = _clouds(config, u, streams, envelope, complexes, volume, rng)
    offset = u["centre_offset_pc"] * _direction(rng.uniform(0.0, 360.0))
    return MockGalaxy(
        u["scale"],
        streams,
        envelope,
        _lanes(u, streams, turn_deg, volume),
        (*complexes, *clouds),
        _turbulence(config, u, rng),
        (float(offset[0]), float(offset[1]), u["centre_height_pc"]),
        room,
    )


def _orientation(
    config: MockConfig, u: dict[str, float], rng: np.random.Generator
) -> tuple[float, tuple[float, float]]:
    """(the angle by which the galaxy is turned, how far an observer may move from view 0), degrees.

    Another view changes the bar angle and the tilts by the same angle.
    """
    if config.view == "any":
        return rng.uniform(0.0, 360.0), (0.0, 360.0)
    limits = {name: getattr(config, name) for name in ("bar_angle_deg", "tilt_deg")}
    low = max(limit[0] - u[name] for name, limit in limits.items())
    high = min(limit[1] - u[name] for name, limit in limits.items())
    return 0.0, (min(low, 0.0), max(high, 0.0))


def _direction(angle_deg: float) -> NDArray[np.float64]:
    """The unit vector (x, y) at an angle from positive longitude towards the far side, for view 0."""
    return np.array([-math.sin(math.radians(angle_deg)), -math.cos(math.radians(angle_deg))])


def _streams(
    config: MockConfig, u: dict[str, float], side: NDArray, volume: float, rng: np.random.Generator
) -> tuple[Stream, ...]:
    closed, opened = (rng.integers(low, high + 1) for low, high in (config.streams, config.open_streams))
    streams = [_stream(config, u, side, None, rng) for _ in range(closed)]
    streams += [_stream(config, u, side, _opening(config, rng), rng) for _ in range(opened)]
    shares = rng.uniform(0.4, 1.0, len(streams)) * [stream.orbit.semi_major_pc for stream in streams]
    shares /= max(shares.sum(), 1e-30)
    return tuple(
        replace(stream, n_H_cm3=_peak_n_H(share * u["stream_mass_Msun"] / volume, 2.0, stream.width_pc, track(stream)))
        for stream, share in zip(streams, shares, strict=True)
    )


def _peak_n_H(mass_Msun: float, dimensions: float, width_pc: float, along: Track) -> float:
    """n_H in the middle of a tube of Gaussian cross-section."""
    return (
        float(mass_Msun / ((2.0 * math.pi) ** (dimensions / 2.0) * width_pc**2 * along.length_pc)) / DENSITY_PER_N_H_CM3
    )


def _stream(
    config: MockConfig, u: dict[str, float], side: NDArray, opening: Opening | None, rng: np.random.Generator
) -> Stream:
    """A stream of its own size, form, height and phase; tilt and speed are those of the galaxy, with some scatter."""

    def draw(name: str) -> float:
        return rng.uniform(*getattr(config, name))

    a = draw("semi_major_pc")
    ellipse = (a, a * draw("axis_ratio"), draw("height_pc"), draw("height_phase_rad"))
    tilt = u["tilt_deg"] + rng.normal(0.0, config.tilt_scatter_deg)
    orbit = Orbit(*ellipse, tilt, u["v0_km_s"] * rng.uniform(0.95, 1.05), u["drift_km_s"])
    ripples = _ripples(draw("stream_contrast"), rng)
    return Stream(orbit, 0.0, draw("stream_width_pc"), ripples, (float(side[0]), float(side[1])), opening)


def _opening(config: MockConfig, rng: np.random.Generator) -> Opening:
    precession = 180.0 / (180.0 + rng.uniform(*config.open_precession_deg))
    length = 2.0 * math.pi * rng.uniform(*config.open_length_turns)
    return Opening(rng.uniform(0.0, 2.0 * math.pi), length, precession)


def _ripples(contrast: float, rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """Six harmonics of ln(density) along a stream, standard deviation `contrast` in all; long waves dominate."""
    amplitudes = rng.standard_normal((6, 2)) / np.arange(1, 7)[:, None]
    amplitudes *= contrast * np.sqrt(2.0 / np.sum(amplitudes**2))
    return tuple((float(c), float(s)) for c, s in amplitudes)


def _envelope(u: dict[str, float], side: NDArray, volume: float) -> Envelope:
    """Half as lopsided as the streams."""
    half = 0.5 * side
    size, height = u["envelope_radius_pc"], u["envelope_height_pc"]
    radius = (np.arange(800) + 0.5) * size / 80.0
    lopsided = np.i0(np.hypot(*half) * np.minimum(radius / 40.0, 1.0))
    area = 2.0 * math.pi * float((radius * np.exp(-radius / size) * lopsided).sum()) * size / 80.0
    n_H = u["envelope_mass_Msun"] / volume / (area * math.sqrt(2.0 * math.pi) * height) / DENSITY_PER_N_H_CM3
    speed = ENVELOPE_ROTATION * u["v0_km_s"]
    return Envelope(n_H, size, height, speed, u["drift_km_s"], (float(half[0]), float(half[1])))


def _lanes(u: dict[str, float], streams: tuple[Stream, ...], turn_deg: float, volume: float) -> tuple[Lane, ...]:
    """Along the bar from the tips of the largest orbit; the first is the near one, at positive longitude."""
    largest = max((s.orbit.semi_major_pc for s in streams), default=100.0)
    tip = largest * _direction(u["tilt_deg"])
    out = _direction(turn_deg - 90.0 + u["bar_angle_deg"])
    section = 2.0 * math.pi * u["lane_width_pc"] ** 2 * DENSITY_PER_N_H_CM3

    def lane(sign: float) -> Lane:
        mass_per_pc = (
            0.5 * u["lane_inflow_Msun_yr"] * (1.0 + sign * u["lane_imbalance"]) / PC_YR_PER_KM_S / u["lane_km_s"]
        )
        start, outwards = ((sign * float(x), sign * float(y)) for x, y in (tip, out))
        return Lane(start, outwards, mass_per_pc / volume / section, u["lane_width_pc"], u["lane_km_s"])

    return lane(1.0), lane(-1.0)


def _complexes(
    config: MockConfig, u: dict[str, float], turn_deg: float, volume: float, rng: np.random.Generator
) -> tuple[Cloud, ...]:
    """Diffuse gas of the complexes at both ends of the orbits, where gas that overshoots them collides."""

    def at_end(sign: float) -> Cloud:
        draw = {name: rng.uniform(*getattr(config, name)) for name in u if name.startswith("complex_")}
        place = sign * draw["complex_distance_pc"] * _direction(turn_deg + draw["complex_azimuth_deg"])
        away = sign * draw["complex_v_km_s"] * _direction(turn_deg + 90.0)
        mass = 0.5 * u["complex_mass_Msun"] * (1.0 + sign * u["complex_imbalance"]) / volume
        height = rng.normal(0.0, COMPLEX_HEIGHT_PC)
        sigma = draw["complex_km_s"]
        return _ball(mass, draw["complex_radius_pc"], np.append(place, height), np.append(away, 0.0), sigma, rng)

    return at_end(1.0), at_end(-1.0)


def _ball(
    mass_Msun: float, radius_pc: float, place: NDArray, velocity: NDArray, sigma_km_s: float, rng: np.random.Generator
) -> Cloud:
    """A Gaussian cloud; each component of its velocity has a gradient of random direction, of this dispersion."""
    n_H = mass_Msun / ((2.0 * math.pi) ** 1.5 * radius_pc**3 * DENSITY_PER_N_H_CM3)
    gradient = rng.standard_normal((3, 3))
    gradient *= sigma_km_s / radius_pc / np.linalg.norm(gradient, axis=1, keepdims=True)
    return Cloud(_three(place), _three(velocity), float(n_H), float(radius_pc), _three_rows(gradient))


def _three(vector: NDArray) -> tuple[float, float, float]:
    x, y, z = vector.tolist()
    return x, y, z


def _three_rows(matrix: NDArray) -> tuple[tuple[float, float, float], ...]:
    return tuple(_three(row) for row in matrix)


def _clouds(
    config: MockConfig,
    u: dict[str, float],
    streams: tuple[Stream, ...],
    envelope: Envelope,
    complexes: tuple[Cloud, ...],
    volume: float,
    rng: np.random.Generator,
) -> tuple[Cloud, ...]:
    """Most on streams, where these are dense; some in the envelope, some in the complexes."""
    count = int(rng.integers(config.clouds[0], config.clouds[1] + 1))
    masses = _power_law(config.cloud_mass_Msun, config.cloud_mass_slope, rng.uniform(size=count)) / volume
    n_H = _power_law(config.cloud_n_H_cm3, 1.0, rng.uniform(size=count))
    radii = (masses / ((2.0 * math.pi) ** 1.5 * n_H * DENSITY_PER_N_H_CM3)) ** (1.0 / 3.0)
    where, tracks = rng.uniform(size=count), [track(stream) for stream in streams]
    shares = np.array([s.n_H_cm3 * s.width_pc**2 * t.length_pc for s, t in zip(streams, tracks, strict=True)])
    off = u["cloud_off_streams"] if shares.sum() > 0 else 1.0 - u["cloud_in_complexes"]
    weights = np.array([c.n_H_cm3 for c in complexes])
    made = []
    for k in range(count):
        if where[k] < u["cloud_in_complexes"] and weights.sum() > 0:
            place, velocity = _in_complex(complexes[rng.choice(len(weights), p=weights / weights.sum())], u, rng)
        elif where[k] < u["cloud_in_complexes"] + off:
            place, velocity = _in_envelope(envelope, rng)
        else:
            chosen = rng.choice(len(shares), p=shares / shares.sum())
            place, velocity = _on_stream(streams[chosen], tracks[chosen], u["cloud_scatter_km_s"], rng)
        sigma = u["cloud_km_s"] * math.sqrt(radii[k] / LARSON_PC)
        made.append(_ball(masses[k], radii[k], place, velocity, sigma, rng))
    return tuple(made)


def _power_law(limits: tuple[float, float], slope: float, uniform: NDArray) -> NDArray:
    """Draws of dN/dM ~ M^-slope, from draws of a uniform distribution."""
    low, high = limits
    if abs(slope - 1.0) < 1e-9:
        return low * (high / low) ** uniform
    power = 1.0 - slope
    return low * (1.0 + uniform * ((high / low) ** power - 1.0)) ** (1.0 / power)


def _on_stream(stream: Stream, along: Track, scatter_km_s: float, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    point = rng.choice(len(along.share), p=along.share)
    place = along.position_pc[point] + rng.normal(0.0, 0.5 * stream.width_pc, 3)
    return place, along.velocity_km_s[point] + rng.normal(0.0, scatter_km_s, 3)


def _in_envelope(envelope: Envelope, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Like the gas there; rejected draws give the lopsidedness."""
    side, most = np.array(envelope.lopsided), math.hypot(*envelope.lopsided)
    while True:
        direction = _direction(rng.uniform(0.0, 360.0))
        if rng.uniform() <= math.exp(float(side @ direction) - most):
            break
    radius = rng.gamma(2.0, envelope.radius_pc)
    x, y = radius * direction
    place = np.array([x, y, rng.normal(0.0, envelope.height_pc)])
    velocity = envelope.v_km_s * np.array([direction[1], -direction[0], 0.0])
    return place, velocity + rng.normal(0.0, ENVELOPE_SCATTER_KM_S, 3)


def _in_complex(host: Cloud, u: dict[str, float], rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    place = np.array(host.position_pc) + rng.normal(0.0, 0.7 * host.radius_pc, 3)
    return place, np.array(host.velocity_km_s) + rng.normal(0.0, 0.7 * u["complex_km_s"], 3)


def _turbulence(config: MockConfig, u: dict[str, float], rng: np.random.Generator) -> Turbulence:
    cell = config.turbulence_cell_pc
    nx, ny, nz = (round(box / cell) for box in LATTICE_BOX_PC)
    slopes = (config.density_slope, *[config.velocity_slope] * 3, config.density_slope)
    fields_ = [random_field(rng, (nx, ny, nz), cell, slope, config.largest_eddy_pc) for slope in slopes]
    scatters = (u["gas_temperature_scatter"], u["dust_temperature_scatter"])
    return Turbulence(np.stack(fields_, axis=-1), cell, u["turbulence_contrast"], u["turbulence_km_s"], *scatters)
