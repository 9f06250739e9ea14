"""`iris molecule` and `iris observe`."""

import json

import pytest
from astropy.io import fits
from astropy.units import Unit

from iris_cli.axes import RHO
from iris_cli.standard.dataset import StandardDataset
from tests.commands.errors import done


def test_molecule_prints_levels_lines_and_source(iris):
    printed = json.loads(iris("molecule", "13co", "--json").out)
    assert len(printed["levels"]) == 41 and printed["lines"][1]["frequency_GHz"] == pytest.approx(220.3986841)
    page = iris("molecule", "13co", "--rows", 3)
    assert page.code == 0 and "Yang et al. 2010" in page.out and "38" not in page.out.splitlines()[0]


def test_a_molecule_without_collisions_with_hydrogen_atoms_has_a_note(iris, shared_data):
    assert "no collision rates with atomic hydrogen" in iris("molecule", "13co").out
    assert json.loads(iris("molecule", "13co", "--json").out)["collides_with_H"] is False
    if (path := shared_data / "13co_lamda.dat").exists():
        assert "no collision rates with atomic hydrogen" not in iris("molecule", path).out


def test_observe_writes_a_cube_and_its_moments_for_each_line(iris, mocked, tmp_path):
    lines = ("--molecule", "13co", "--molecule", "c18o", "--transition", "2-1", "--transition", "1-0")
    lines += ("--populations", "lte")  # the tables of lvg take 20 s for each line
    words = ["observe", mocked, 0, "--out", tmp_path / "cube.fits", *lines, "--moments"]
    ran = done(iris(*words))
    assert len(ran.out.split()) == 8
    with fits.open(tmp_path / "cube.c18o-1-0.fits") as file:
        assert file[0].header["RESTFRQ"] == pytest.approx(109.782e9, rel=1e-5)
        assert file[0].data.shape == (64, 16, 64) and file[0].data.max() > 0
    again = iris(*words)
    assert again.code == 2 and "--overwrite" in again.err


def test_the_simple_observer_writes_all_gas_per_velocity(iris, mocked, tmp_path):
    """Its integral over velocity is the gas column of the tensor, at the same places of the sky."""
    out = tmp_path / "gas.fits"
    done(iris("observe", mocked, 0, "--observer", "simple", "--moments", "--out", out))
    cube, total = fits.open(out)[0], fits.open(tmp_path / "gas.mom0.fits")[0]
    assert Unit(cube.header["BUNIT"]) == Unit("Msun pc-2 km-1 s") and Unit(total.header["BUNIT"]) == Unit("Msun pc-2")
    assert not {"RESTFRQ", "BMAJ"} & set(cube.header), "no line, no telescope"
    data = StandardDataset.open(mocked)
    column = data[0][RHO].sum(axis=0) * data.grid.distance.step  # (L, B)
    seen = fits.getdata(tmp_path / "gas.mom0.fits")
    assert seen == pytest.approx(column.T[:, ::-1], rel=0.3, abs=0.01 * float(column.max()))  # some gas is too fast
    assert 0.95 * column.sum() < seen.sum() <= 1.0001 * column.sum()
    for kind in ("lv", "lb"):
        assert iris("plot", kind, out, "--out", tmp_path / f"{kind}.png").code == 0
    refused = iris("cube", out, "--preset", "tiny", "--out", tmp_path / "lv.npz")
    assert refused.code == 1 and "not in a unit of brightness" in refused.err


def test_existing_moments_are_kept_without_overwrite(iris, mocked, tmp_path):
    (tmp_path / "cube.mom1.fits").write_text("mine")
    ran = iris("observe", mocked, 0, "--out", tmp_path / "cube.fits", "--moments")
    assert ran.code == 2 and "cube.mom1.fits exists already" in ran.err
    assert (tmp_path / "cube.mom1.fits").read_text() == "mine" and not (tmp_path / "cube.fits").exists()


def test_a_cube_in_planck_temperatures_is_refused_by_iris_cube(iris, mocked, tmp_path):
    """BUNIT is K in both cases; a network that was trained on Rayleigh-Jeans temperatures must not be given it."""
    out = tmp_path / "cube.fits"
    assert iris("observe", mocked, 0, "--out", out, "--unit", "K (Planck)").code == 0
    ran = iris("cube", out, "--preset", "tiny", "--out", tmp_path / "lv.npz")
    assert ran.code == 1 and "Planck" in ran.err
