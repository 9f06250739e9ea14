"""Facts about the transfer of radiation through gas, checked for every backend."""

import math
from functools import partial

import numpy as np
import pytest

from iris_cli.errors import UsageError
from iris_cli.observers.transfer import REGIMES, Thick
from iris_cli.units import BOLTZMANN_J_K, M_PER_PC, MASS_PER_H_KG
from tests.observers.gas import BACKENDS, CHANNEL_KM_S, EDGES_M_S, flux, rayleigh_jeans, see, stacked, uniform

FAST = pytest.mark.parametrize("seen", ["compiled", "torch"], indirect=True)


@pytest.fixture(params=BACKENDS)
def seen(request):
    """`see` with each backend."""
    return partial(see, backend_name=request.param)


def finely(seen):
    """The reference needs as many nodes for very narrow lines."""
    return {"subsamples": 64} if seen.keywords["backend_name"] == "reference" else {}


def opacity(gas, depth):
    """The dust opacity that gives the ray of `gas` this depth."""
    return depth / (gas["rho_kg_m3"][0, 0, 0] * len(gas["rho_kg_m3"]) * M_PER_PC)


def test_a_cold_screen_in_front_of_a_hot_slab_absorbs_and_behind_it_does_not(seen):
    hot, cold = uniform(4, n_H_cm3=1e4, T_K=100.0), uniform(4, n_H_cm3=1e4, T_K=8.0)
    alone, screened = seen(hot).max(), seen(stacked(cold, hot))
    assert screened[len(screened) // 2] < 0.5 * alone
    assert seen(stacked(hot, cold)).max() == pytest.approx(alone, rel=0.02)


@pytest.mark.parametrize("v_km_s", [12.0, -12.0])
def test_receding_gas_appears_at_positive_velocity(seen, v_km_s):
    spectrum = seen(uniform(v_km_s=v_km_s))
    centres = 0.5 * (EDGES_M_S[1:] + EDGES_M_S[:-1]) / 1e3
    assert (spectrum * centres).sum() / spectrum.sum() == pytest.approx(v_km_s, abs=0.5 * CHANNEL_KM_S)


def test_an_opaque_isothermal_ray_shows_its_temperature_less_the_background(seen):
    spectrum = seen(uniform(8, n_H_cm3=1e5, T_K=50.0), turbulence_m_s=1500.0, background_K=2.73)
    assert spectrum.max() == pytest.approx(rayleigh_jeans(50.0) - rayleigh_jeans(2.73), rel=1e-4)


@pytest.mark.parametrize("populations", ["lte", "non-lte", "lvg"])
def test_clumps_shine_as_a_thinner_layer_of_their_density_with_wider_lines(seen, populations):
    """A mean of 300 per cm^3 in clumps of 1000 is 0.3 of the cell; 0.7 of it lies between clumps that move."""
    clumpy = seen(uniform(2, n_H_cm3=300.0), populations=populations, clump_n_H_cm3=700.0, clump_m_s=4e3)
    full = uniform(2, n_H_cm3=1000.0), {"dr_m": 0.3 * M_PER_PC, "turbulence_m_s": np.sqrt(0.7) * 4e3}
    layer = seen(full[0], populations=populations, **full[1])
    assert clumpy == pytest.approx(layer, rel=2e-3, abs=1e-4 * layer.max())
    even = seen(uniform(2, n_H_cm3=300.0), populations=populations, turbulence_m_s=np.sqrt(0.7) * 4e3)
    assert (clumpy.max() > 1.5 * even.max()) == (populations != "lte")  # Boltzmann's law knows no density


def test_thick_and_selective_and_thin_agree_where_nothing_is_opaque(seen):
    thick, *others = (flux(seen(uniform(x_CO=1.4e-10), regime=regime, background_K=0.0)) for regime in REGIMES)
    assert others == pytest.approx([thick] * 2, rel=2e-4)


def test_dust_without_a_line_is_zero_after_continuum_subtraction(seen):
    assert not seen(uniform(x_CO=0.0, n_H_cm3=1e6), dust_opacity_m2_kg=1e-2).any()


def test_opaque_dust_in_front_hides_the_line_of_an_opaque_cell(seen):
    line = uniform(2, n_H_cm3=1e4, T_K=60.0)
    screen = uniform(2, n_H_cm3=1e4, T_K=60.0, x_CO=0.0, T_dust_K=15.0)
    free, hidden = (seen(g, dust_opacity_m2_kg=opacity(screen, 3.0)) for g in (line, stacked(screen, line)))
    assert hidden.max() == pytest.approx(free.max() * np.exp(-3.0), rel=1e-3)


def test_a_line_in_front_of_warm_dust_absorbs_its_continuum(seen):
    """Opaque cold gas before opaque warm dust: the line shows J(T_gas), the continuum a slightly dimmed J(T_dust)."""
    gas = uniform(1, n_H_cm3=1e4, T_K=10.0, T_dust_K=0.0)
    dust = uniform(1, n_H_cm3=1e4, x_CO=0.0, T_dust_K=40.0)
    gas["rho_kg_m3"] *= 1e-3  # almost no dust
    gas["x_CO"] *= 1e3
    spectrum = seen(stacked(gas, dust), dust_opacity_m2_kg=opacity(dust, 40.0), turbulence_m_s=1500.0)
    assert spectrum.min() == pytest.approx(rayleigh_jeans(10.0) - rayleigh_jeans(40.0) * np.exp(-40e-3), rel=0.02)


def test_a_narrow_line_follows_the_curve_of_growth(seen):
    """W = J(T) b int(1 - exp(-tau exp(-x^2))) dx, from transparent to opaque, where b is 0.08 km/s."""
    b_km_s = 1e-3 * np.sqrt(2 * BOLTZMANN_J_K * 10.0 / (29.0 * 1.66054e-27))
    x = np.linspace(-6.0, 6.0, 4001)

    def width(x_CO):
        line = seen(uniform(1, T_K=10.0, x_CO=x_CO), background_K=0.0, **finely(seen))
        return flux(line) / (rayleigh_jeans(10.0) * b_km_s)

    tau_per_x_CO = width(1e-12) / np.sqrt(np.pi) / 1e-12
    for tau in (0.03, 0.3, 1.0, 3.0, 30.0):
        grown = (1.0 - np.exp(-tau * np.exp(-(x**2)))).sum() * (x[1] - x[0])
        assert width(tau / tau_per_x_CO) == pytest.approx(grown, rel=5e-3)


@pytest.mark.parametrize("regime", ["thick", "thin"])
@pytest.mark.parametrize("T_K", [10.0, 60.0, 200.0])
@pytest.mark.parametrize("v_km_s", [0.2, -19.9, 20.1])
def test_each_channel_has_its_share_of_a_transparent_line(seen, regime, T_K, v_km_s):
    """Half of erf at its two edges, for any number of samples; also where the last edge cuts the line."""
    spectrum = seen(uniform(1, T_K=T_K, x_CO=1e-10, v_km_s=v_km_s), regime=regime, background_K=0.0)
    b_m_s = np.sqrt(2 * BOLTZMANN_J_K * T_K / (29.0 * 1.66054e-27))
    share = np.diff([math.erf((edge - 1e3 * v_km_s) / b_m_s) for edge in EDGES_M_S])
    assert spectrum / spectrum.sum() == pytest.approx(share / share.sum(), abs=4e-4 * share.max() / share.sum())


@pytest.mark.parametrize(("regime", "x_CO"), [("thick", 1.4e-4), ("thick", 1.4e-8), ("selective", 1.4e-8)])
def test_dust_at_the_gas_temperature_only_dims_the_line(seen, regime, x_CO):
    """At one temperature, J (1 - e^-(tau + dust)) minus the continuum J (1 - e^-dust) is J e^-dust (1 - e^-tau)."""
    gas = uniform(4, n_H_cm3=1e3, T_K=20.0, T_dust_K=20.0, x_CO=x_CO)
    for depth in (0.01, 0.4):
        opacities = (0.0, opacity(gas, depth))
        bare, dusty = (seen(gas, dust_opacity_m2_kg=k, regime=regime, background_K=0.0) for k in opacities)
        assert dusty == pytest.approx(np.exp(-depth) * bare, abs=2e-3 * bare.max())


@pytest.mark.parametrize("x_CO", [1.4e-10, 1.4e-4, 1.4e-2])
def test_the_flux_of_a_cold_line_does_not_depend_on_its_position_in_a_channel(seen, x_CO):
    """Thin, opaque and very opaque, at 10 K and without turbulence: ten lines of sight across two channels."""
    velocities = np.linspace(-CHANNEL_KM_S, CHANNEL_KM_S, 9)
    fluxes = [flux(seen(uniform(1, T_K=10.0, v_km_s=v, x_CO=x_CO), **finely(seen))) for v in velocities]
    assert np.ptp(fluxes) < 5e-3 * np.mean(fluxes)


@pytest.mark.parametrize("x_CO", [1.4e-10, 1.4e-4], ids=["thin", "thick"])
@pytest.mark.parametrize("jump_km_s", [1.0, 2.0, 5.0])
@FAST
def test_a_smooth_gradient_in_coarse_cells_agrees_with_cells_twenty_times_finer(seen, jump_km_s, x_CO):
    gas, fine = (
        uniform(cells, v_los_m_s=(np.arange(cells) - 0.5 * (cells - 1)) * 6e3 * jump_km_s / cells, x_CO=x_CO)
        for cells in (6, 120)
    )
    coarse, spikes = seen(gas, in_cell_gradient=True), seen(gas)
    truth = see(fine, backend_name="reference", dr_m=M_PER_PC / 20)
    assert flux(coarse) == pytest.approx(flux(truth), rel=0.05)
    assert np.abs(coarse - truth).max() < 0.05 * truth.max()
    assert np.abs(spikes - truth).max() > 0.2 * truth.max()  # the same cells without the gradient


def test_gas_too_hot_to_hold_the_tracer_has_no_line(seen):
    assert not seen(uniform(T_K=np.inf)).any()
    mixed = seen(uniform(4, T_gas_K=np.array([20.0, np.inf, 20.0, np.inf])))
    assert np.isfinite(mixed).all() and mixed.max() > 0


def test_halving_the_cells_of_a_smooth_ray_changes_nothing(seen):
    gas = uniform(4, n_H_cm3=3e3, v_los_m_s=np.array([0.0, 300.0, 900.0, -500.0]), T_gas_K=np.array([20.0, 30, 40, 15]))
    halved = {name: np.repeat(field, 2, axis=0) for name, field in gas.items()}
    two = seen(halved, dust_opacity_m2_kg=1e-2, dr_m=0.5 * M_PER_PC)
    assert two == pytest.approx(seen(gas, dust_opacity_m2_kg=1e-2), rel=1e-5, abs=1e-5)


@FAST
@pytest.mark.parametrize("width_km_s", [2.0, 4.0, 12.0])
def test_one_sample_is_enough_in_channels_that_are_fine_for_the_line(seen, width_km_s):
    gas = uniform(4, n_H_cm3=3e4, v_los_m_s=np.array([0.0, 1e3, -2e3, 4e3]))
    options = {"turbulence_m_s": 1e3 * width_km_s, "in_cell_gradient": True}
    truth = see(gas, **options, backend_name="reference", subsamples=64)
    assert seen(gas, **options) == pytest.approx(truth, abs=5e-4 * truth.max())
    if width_km_s > 5.0:
        assert np.array_equal(seen(gas, **options), seen(gas, **options, subsamples=1))


@FAST
@pytest.mark.parametrize("regime", ["thick", "selective", "thin"])
def test_the_fast_backends_agree_with_the_reference_for_random_cells(seen, regime):
    rng, cells = np.random.default_rng(1), 24
    gas = uniform(
        cells,
        rho_kg_m3=10.0 ** rng.uniform(-19.5, -17, cells),
        T_gas_K=10.0 ** rng.uniform(1, 3, cells),
        x_H2=rng.uniform(0, 0.5, cells),
        T_dust_K=rng.uniform(10, 50, cells),
        v_los_m_s=rng.uniform(-25e3, 25e3, cells),
    )
    options = {"regime": regime, "in_cell_gradient": True, "populations": "non-lte", "dust_opacity_m2_kg": 1e-3}
    truth = see(gas, **options, backend_name="reference", subsamples=64)
    assert np.sqrt(((seen(gas, **options) - truth) ** 2).mean()) < 1e-3 * np.sqrt((truth**2).mean())


@FAST
@pytest.mark.parametrize("kind", ["walk", "dust", "reversals", "opaque", "absorbing"])
def test_faint_neighbours_of_any_order_agree_with_the_reference(seen, kind):
    """Broad lines of thin gas, of which the compiled backend merges up to 20 cells; wrong by 1e-5 of the peak."""
    rng, k = np.random.default_rng(3), np.arange(60)
    gas = {"n_H_cm3": 10.0 ** rng.uniform(-1.0, 0.5, 60), "v_km_s": np.cumsum(rng.normal(0.0, 1.2, 60))}
    gas |= {"T_gas_K": 10.0 ** rng.uniform(1.0, 2.5, 60), "x_CO": 1e-4}
    options = {"turbulence_m_s": 8e3}
    if kind == "walk":  # clumps fill 0.1 to 3 % of the cells, which makes lines of different widths
        gas |= {"n_H_cm3": 700.0 * 10.0 ** rng.uniform(-3.0, -1.5, 60), "x_CO": 3e-6}
        options = {"in_cell_gradient": True, "clump_n_H_cm3": 700.0, "clump_m_s": 8e3}
    elif kind == "dust":  # transmission from 1 to e^-3, warm before cold, every third cell without CO
        gas |= {"n_H_cm3": 0.05 / (1e6 * MASS_PER_H_KG * M_PER_PC), "x_CO": np.where(k % 3 == 0, 0.0, 1e-8)}
        gas["T_dust_K"], options["dust_opacity_m2_kg"] = np.where(k < 30, 30.0, 5.0), 1.0
    elif kind == "reversals":
        gas["v_km_s"] = np.where(k % 8 < 4, 9.0, -9.0) + rng.uniform(-1.0, 1.0, 60)
    elif kind == "opaque":
        gas["n_H_cm3"][::11] = 3e3
    elif kind == "absorbing":  # the near half absorbs the background
        gas["T_gas_K"] = np.where(k < 30, 2.0, 300.0)
    gas = uniform(60, **gas)
    truth = see(gas, **options, backend_name="reference", subsamples=8)
    assert seen(gas, **options) == pytest.approx(truth, abs=5e-5 * np.abs(truth).max(), rel=0.0)


@FAST
def test_a_shallow_line_of_cold_gas_absorbs_the_warm_dust_of_its_own_cell(seen):
    gas = uniform(1, T_K=4.0, T_dust_K=200.0, x_CO=1e-5)
    options = {"turbulence_m_s": 8e3, "dust_opacity_m2_kg": opacity(gas, 0.05), "background_K": 0.0}
    truth = see(gas, **options, backend_name="reference", subsamples=8)
    assert truth.min() < -0.05 and truth.max() < 0.0
    assert seen(gas, **options) == pytest.approx(truth, abs=3e-4 * np.abs(truth).max(), rel=0.0)


def test_trapped_photons_brighten_the_line_equally_in_every_backend(coarse_lvg):
    """Large velocity gradient against thin equilibrium, at a density far below the critical one."""
    gas = uniform(4, n_H_cm3=500.0, T_K=40.0)
    options = {"velocity_gradient_km_s_pc": 0.3, "turbulence_m_s": 500.0}
    thin = see(gas, populations="non-lte", **options)
    *trapped, truth = (see(gas, populations="lvg", backend_name=name, **options) for name in BACKENDS)
    assert trapped[0].max() > 1.1 * thin.max()
    for spectrum in trapped:
        assert spectrum == pytest.approx(truth, abs=1e-3 * truth.max())


class Thicker(Thick):
    name = "thicker"


@pytest.mark.parametrize("name", BACKENDS)
def test_a_regime_that_a_backend_does_not_compute_is_refused_by_name(name, monkeypatch):
    monkeypatch.setitem(REGIMES, "thicker", Thicker())
    with pytest.raises(UsageError, match=f"backend '{name}' does not compute the regime 'thicker'") as refused:
        see(uniform(), regime="thicker", backend_name=name)
    assert refused.value.hint == "did you mean 'thick'?"
