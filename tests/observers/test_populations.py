"""Level populations against known limits, and tables against direct solutions."""

import time

import numpy as np
import pytest
import torch

from iris_cli.observers import level_table as lt
from iris_cli.observers.builtin_molecules import builtin_molecule
from iris_cli.observers.level_balance import balanced
from iris_cli.observers.molecules import load_molecule
from iris_cli.observers.populations import (
    LTE,
    LargeVelocityGradient,
    State,
    ThinEquilibrium,
    background_occupation,
    boltzmann,
    collision_rates,
)

MOLECULE = builtin_molecule("13co")
LINE = MOLECULE.line("2-1")


def state(n_H_cm3, T_K, x_H2=0.5, column=1e10):
    return State(*(np.array([value]) for value in (n_H_cm3, x_H2, T_K, column)))


def excitation_K(fractions):
    ratio = fractions[0, LINE.lower] * LINE.upper_weight / (fractions[0, LINE.upper] * LINE.lower_weight)
    return (MOLECULE.energies_K[LINE.upper] - MOLECULE.energies_K[LINE.lower]) / np.log(ratio)


def test_dense_gas_is_in_lte():
    thin = ThinEquilibrium().fractions(MOLECULE, state(1e12, 40.0))
    assert thin[0, :8] == pytest.approx(boltzmann(MOLECULE, np.array([40.0]))[0, :8], rel=1e-4)


def test_the_excitation_without_collisions_is_that_of_the_background_and_in_warm_dense_gas_suprathermal():
    assert excitation_K(ThinEquilibrium(2.73).fractions(MOLECULE, state(1e-6, 100.0))) == pytest.approx(2.73, rel=1e-3)
    assert excitation_K(ThinEquilibrium(2.725).fractions(MOLECULE, state(1e5, 200.0))) == pytest.approx(543.0, abs=3.0)


def test_without_pumping_the_upper_level_is_proportional_to_the_density():
    one, ten = (ThinEquilibrium(None).fractions(MOLECULE, state(n, 30.0))[0, LINE.upper] for n in (1e-3, 1e-2))
    assert ten == pytest.approx(10 * one, rel=1e-3)


def test_the_elimination_agrees_with_a_general_solver_and_keeps_tiny_populations():
    up, low = MOLECULE.line_upper, MOLECULE.line_lower
    photons, g = background_occupation(MOLECULE, 2.73), MOLECULE.weights
    down, lifted = MOLECULE.einstein_a_s * [1.0 + photons, photons * g[up] / g[low]]
    collisions = np.stack([n * collision_rates(MOLECULE, "p-H2", 10.0) for n in (1e2, 1e4)])
    which = np.array([1, 0, 1])  # the matrix of each point
    found = balanced(collisions, which, up, low, *(np.tile(rate, (3, 1)) for rate in (down, lifted)))
    for point, rates in zip(found, collisions[which], strict=True):
        rates[up, low] += down
        rates[low, up] += lifted
        system = (rates - np.diag(rates.sum(axis=1))).T
        system[0] = 1.0
        assert point[:8] == pytest.approx(np.linalg.solve(system, np.eye(len(g))[0])[:8], rel=1e-9)
        leaving = point[1:] * rates[1:].sum(axis=1)
        assert leaving == pytest.approx((point @ rates)[1:], rel=1e-9)  # in every level, down to 1e-100
        assert (point > 0).all()


def test_trapped_photons_change_the_populations_from_thin_to_lte():
    lvg = LargeVelocityGradient()
    thin = excitation_K(ThinEquilibrium().fractions(MOLECULE, state(300.0, 40.0)))
    states = (state(300.0, 40.0, column=column) for column in (1e10, 1e16, 1e17, 1e20))
    temperatures = [excitation_K(lvg.fractions(MOLECULE, s)) for s in states]
    assert temperatures[0] == pytest.approx(thin, rel=1e-4)
    assert temperatures == sorted(temperatures)
    assert temperatures[-1] == pytest.approx(40.0, rel=0.02)


def errors_of_table(molecule, line, populations):
    """At 2 000 points in n_H 1 … 1e7 /cm^3, x_H2 0 … 0.5, T 5 … 1 000 K, other points than those that refine it."""
    start = time.process_time()
    table = lt.build(molecule, line, populations)
    assert time.process_time() - start < 200  # 20 s on two idle cores; an hour would be an error
    assert table.worst_error < 0.01
    return lt.errors(molecule, populations, table, lt.probes(2000, seed=2))


THIN = [LTE(), ThinEquilibrium(), pytest.param(ThinEquilibrium(None), marks=pytest.mark.slow)]


@pytest.mark.parametrize("populations", THIN)
def test_a_table_is_within_one_percent_of_direct_solutions(populations):
    assert errors_of_table(MOLECULE, LINE, populations).max() < 0.01


@pytest.mark.slow  # the LAMDA file has 41 levels and rates with H: its tables take 15 s
@pytest.mark.parametrize("populations", THIN)
def test_a_table_of_a_lamda_file_is_within_one_percent(populations, lamda_13co):
    molecule = load_molecule(lamda_13co)
    assert errors_of_table(molecule, molecule.line("2-1"), populations).max() < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("line_name", "background_K"), [("2-1", 2.73), ("1-0", 2.73), ("2-1", None)])
def test_a_table_with_trapped_photons_is_within_one_percent_of_direct_solutions(line_name, background_K):
    """Columns of 1e12 … 1e19 /cm^2 per km/s; solved with every level of the molecule.

    Without a background, thin gas changes from dark to trapped within a factor of two in column.
    """
    populations, line = LargeVelocityGradient(background_K), MOLECULE.line(line_name)
    lt.errors(MOLECULE, populations, lt.build(MOLECULE, line, LTE()), lt.probes(2, seed=0))  # compiles the kernel
    errors = errors_of_table(MOLECULE, line, populations)
    assert errors.max() < 0.01
    assert np.median(errors) < 1e-3


def test_a_table_with_trapped_photons_is_written_and_read(tmp_path, coarse_lvg):
    populations = LargeVelocityGradient()
    table = lt.build(MOLECULE, LINE, populations)
    points = State(*(np.full(3, v) for v in (300.0, 0.5, 40.0)), np.array([1e12, 1e16, 1e17]))
    assert lt.errors(MOLECULE, populations, table, points).max() < 0.1
    lt._write(tmp_path / "table.npz", table)
    found = lt._read(tmp_path / "table.npz", LINE)
    assert found is not None and np.array_equal(found.beta, table.beta) and found.axes == table.axes


def test_a_table_with_large_errors_causes_a_warning(cache, monkeypatch, capsys):
    monkeypatch.setattr(lt, "_ROUNDS", 1)
    monkeypatch.setattr(lt, "_DENSITY", lt.Range(-4.0, ((9.0, 0.5),), 1.0))
    lt.level_table(MOLECULE, LINE, ThinEquilibrium())
    assert "from direct solutions" in capsys.readouterr().err


def test_a_table_is_accurate_where_a_line_inverts():
    """1-0 inverts in warm gas: beta changes sign."""
    line = MOLECULE.line("1-0")
    table = lt.build(MOLECULE, line, ThinEquilibrium())
    warm = State(np.geomspace(1e2, 1e6, 30), *(np.full(30, v) for v in (0.5, 200.0, 1e10)))
    _, true = lt.line_pair(MOLECULE, line, ThinEquilibrium(), warm)
    _, beta = table.lookup(*(torch.as_tensor(a) for a in (warm.n_H_cm3, warm.x_H2, warm.T_K)))
    assert true.min() < 0 < true.max()
    assert beta.numpy() == pytest.approx(true, abs=5e-3)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IRIS_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "levels"


def test_a_cached_table_is_computed_once_for_each_setting(cache, monkeypatch):
    built = lt.level_table(MOLECULE, LINE, LTE())
    monkeypatch.setattr(lt, "build", lambda *_: pytest.fail("it was computed again"))
    found = lt.level_table(MOLECULE, LINE, LTE())
    assert np.array_equal(found.log_upper, built.log_upper) and found.worst_error == built.worst_error
    assert [path.suffix for path in cache.iterdir()] == [".npz"]
    monkeypatch.setattr(lt, "build", lambda *_: built)  # each setting has a table of its own
    for populations in (LTE(), ThinEquilibrium(2.73), ThinEquilibrium(2.725)):
        lt.level_table(MOLECULE, LINE, populations)
    lt.level_table(MOLECULE, MOLECULE.line("1-0"), LTE())
    assert len(list(cache.iterdir())) == 4


def test_a_damaged_table_is_computed_again(cache):
    built = lt.level_table(MOLECULE, LINE, LTE())
    (path,) = cache.iterdir()
    for damage in (b"", b"not a table", path.read_bytes()[:2000]):
        path.write_bytes(damage)
        assert np.array_equal(lt.level_table(MOLECULE, LINE, LTE()).beta, built.beta)


def test_a_cache_that_others_can_write_to_is_not_used(cache):
    cache.mkdir(parents=True)
    cache.chmod(0o777)
    lt.level_table(MOLECULE, LINE, LTE())
    assert not list(cache.iterdir())
