"""The CMZ orbit: an ellipse with vertical oscillation and constant angular momentum."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Orbit:
    """p = a cos(phi) along the major axis, q = b sin(phi), z = z0 sin(alpha - 2 phi); v_phi = v0 b / R.

    Gas moves towards increasing phi, clockwise seen from north, and may drift towards the centre. `tilt_deg` is the
    angle of the major axis, from the plane of the sky at positive longitude towards the far side, for the observer of
    view 0. Source of the equations and numbers: Walker et al. 2025; Lipman et al. 2026, arXiv:2603.23327. (Their theta
    = 25 deg has the opposite sign: tilt_deg = -25.)
    """

    semi_major_pc: float
    semi_minor_pc: float
    height_pc: float
    height_phase_rad: float
    tilt_deg: float
    v0_km_s: float
    drift_km_s: float = 0.0

    def plane(self, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
        """Galactocentric (x, y) -> (p, q) along the major and the minor axis."""
        cos, sin = math.cos(math.radians(self.tilt_deg)), math.sin(math.radians(self.tilt_deg))
        left, far = -y, -x
        return cos * left + sin * far, cos * far - sin * left

    def galactocentric(self, p: NDArray, q: NDArray) -> tuple[NDArray, NDArray]:
        """(p, q), position or velocity, -> (x, y)."""
        cos, sin = math.cos(math.radians(self.tilt_deg)), math.sin(math.radians(self.tilt_deg))
        left, far = cos * p - sin * q, sin * p + cos * q
        return -far, -left

    def phase(self, p: NDArray, q: NDArray) -> NDArray:
        return np.arctan2(q / self.semi_minor_pc, p / self.semi_major_pc)

    def height(self, phi: NDArray) -> NDArray:
        return self.height_pc * np.sin(self.height_phase_rad - 2.0 * phi)

    def velocity(self, phi: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """(v_p, v_q, v_z) in km/s. With v_phi R = v0 b on an ellipse, phi increases at the constant rate v0 / a."""
        v_z = -2.0 * self.height_pc * np.cos(self.height_phase_rad - 2.0 * phi) * self.v0_km_s / self.semi_major_pc
        p, q = np.cos(phi), self.semi_minor_pc / self.semi_major_pc * np.sin(phi)
        inwards = self.drift_km_s / np.hypot(p, q)
        v_q = self.v0_km_s * self.semi_minor_pc / self.semi_major_pc * np.cos(phi)
        return -self.v0_km_s * np.sin(phi) - inwards * p, v_q - inwards * q, v_z

    def track(self, points: int = 720) -> NDArray[np.float64]:
        """(points, 6): x, y, z in pc and velocities in km/s along the orbit, from phi = 0."""
        phi = np.linspace(0.0, 2.0 * np.pi, points, endpoint=False)
        x, y = self.galactocentric(self.semi_major_pc * np.cos(phi), self.semi_minor_pc * np.sin(phi))
        v_p, v_q, v_z = self.velocity(phi)
        v_x, v_y = self.galactocentric(v_p, v_q)
        return np.stack([x, y, self.height(phi), v_x, v_y, v_z], axis=1)


WALKER_2025 = Orbit(90.0, 55.0, 12.5, 0.4, -25.0, 130.0)
LIPMAN_2026 = Orbit(83.0, 34.0, 14.0, 0.12, -16.6, 129.6)
