"""One cloud by hand: from its column, width and temperature to the optical depth and brightness of a line.

In LTE, N = 3 h / (8 pi^3 S mu^2) Q / g_u e^(E_u/kT) / (e^(h nu/kT) - 1) times the integral of tau over velocity (Mangum
& Shirley 2015, PASP 127, 266, eq. 29 with R_i = 1); S = J/(2J+1) and Q = kT/hB + 1/3 of a linear molecule. All of it in
cgs units, with published constants, and without the code under test.
"""

import numpy as np
import pytest

from iris_cli.observers.builtin_molecules import builtin_molecule
from tests.observers.gas import see, uniform

H, K, C, PC = 6.62607015e-27, 1.380649e-16, 2.99792458e10, 3.0856776e18


def optical_depth_by_hand(N_cm2, T_K, b_cm_s, nu_Hz, B_Hz, dipole_D, J):
    """At the centre of a Gaussian line of Doppler width b."""
    S, g = J / (2 * J + 1), 2 * J + 1
    E_u, Q = H * B_Hz * J * (J + 1), K * T_K / (H * B_Hz) + 1.0 / 3.0
    per_tau = 3 * H / (8 * np.pi**3 * S * (dipole_D * 1e-18) ** 2) * Q / g
    per_tau *= np.exp(E_u / (K * T_K)) / np.expm1(H * nu_Hz / (K * T_K))
    return N_cm2 / per_tau / (b_cm_s * np.sqrt(np.pi))


#: Molecule, transition, GHz, B in GHz, dipole moment in D, upper J, n(molecule)/n(CO).
LINES = [
    ("13co", "1-0", 110.201354, 55.101011, 0.11046, 1, 0.04),
    ("13co", "2-1", 220.398684, 55.101011, 0.11046, 2, 0.04),
    ("c18o", "2-1", 219.560354, 54.891420, 0.11079, 2, 0.004),
    ("hcn", "1-0", 88.631602, 44.315975, 2.9852, 1, 1e-4),
    ("cs", "5-4", 244.935557, 24.495562, 1.958, 5, 4e-5),
]


@pytest.mark.parametrize(("molecule", "transition", "GHz", "B_GHz", "dipole_D", "J", "per_CO"), LINES)
def test_a_cloud_is_as_deep_and_as_bright_as_by_hand(molecule, transition, GHz, B_GHz, dipole_D, J, per_CO):
    """A cloud like the Brick: n(H2) = 1e4 per cm^3 over 3 pc, 60 K, b = 10 km/s: N(H2) = 9.3e22 per cm^2."""
    T_K, b_km_s, depth_pc = 60.0, 10.0, 3.0
    seen = see(
        uniform(1, n_H_cm3=2e4, T_K=T_K),
        dr_m=depth_pc * PC / 100.0,
        v_edges_m_s=np.linspace(-30.05e3, 30.05e3, 602),
        molecule=molecule,
        transition=transition,
        tracer_per_CO=per_CO,
        turbulence_m_s=b_km_s * 1e3,
        backend_name="reference",
    )
    N_cm2 = 1e4 * depth_pc * PC * 2.8e-4 * per_CO
    tau = optical_depth_by_hand(N_cm2, T_K, b_km_s * 1e5, GHz * 1e9, B_GHz * 1e9, dipole_D, J)

    def rayleigh_jeans(T):
        return H * GHz * 1e9 / K / np.expm1(H * GHz * 1e9 / (K * T))

    peak = (rayleigh_jeans(T_K) - rayleigh_jeans(2.73)) * -np.expm1(-tau)
    assert 0.02 < tau < 3.0
    assert seen.max() == pytest.approx(peak, rel=0.01)


#: log10 of the partition functions of CDMS (entries 27501 without the 14N spin, 44501, 43511) and of JPL (17002).
PARTITION = {
    "hcn": {75.0: 2.0286 - np.log10(3.0), 18.75: 1.4389 - np.log10(3.0)},
    "cs": {75.0: 1.8072, 18.75: 1.2119},
    "hnco": {75.0: 2.5211, 37.5: 2.0693, 18.75: 1.6317, 9.375: 1.2660},
    "nh3": {150.0: 2.3179, 75.0: 1.8759, 37.5: 1.4477, 18.75: 1.0644},
}


@pytest.mark.parametrize("name", PARTITION)
def test_partition_functions_are_those_of_the_databases(name):
    molecule = builtin_molecule(name)
    for T_K, log_Q in PARTITION[name].items():
        Q = (molecule.weights * np.exp(-molecule.energies_K / T_K)).sum()
        assert np.log10(Q) == pytest.approx(log_Q, abs=2e-4)


@pytest.mark.parametrize(
    ("name", "transition", "GHz", "A_s", "upper_K"),
    [
        ("12co", "1-0", 115.2712018, 7.203e-8, 5.53),
        ("12co", "2-1", 230.538, 6.910e-7, 16.60),
        ("13co", "2-1", 220.3986841, 6.038e-7, 15.87),
        ("c18o", "2-1", 219.5603541, 6.012e-7, 15.81),
        ("hcn", "3-2", 265.886434, 8.356e-4, 25.52),
        ("cs", "3-2", 146.969029, 6.071e-5, 14.1),
        ("hnco", "4_0_4-3_0_3", 87.925237, 9.02e-6, 10.55),
        ("hnco", "10_0_10-9_0_9", 219.798274, 1.51e-4, 58.0),
        ("hnco", "10_1_9-9_1_8", 220.584751, 1.51e-4, 101.5),
        ("nh3", "1_1_a-1_1_s", 23.694496, 1.68e-7, 23.3),
        ("nh3", "3_3_a-3_3_s", 23.870129, 2.57e-7, 123.5),
    ],
)
def test_lines_of_rotors_and_tops_are_those_of_the_databases(name, transition, GHz, A_s, upper_K):
    line = builtin_molecule(name).line(transition)
    assert line.frequency_Hz == pytest.approx(GHz * 1e9, abs=6e3)
    assert line.einstein_a_s == pytest.approx(A_s, rel=0.01)
    assert builtin_molecule(name).energies_K[line.upper] == pytest.approx(upper_K, abs=0.1)
