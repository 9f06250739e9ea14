import pytest
from astropy import units as u
from astropy.constants import codata2018

from iris_cli import units
from iris_cli.errors import DataError


def test_constants_are_those_of_codata_2018():
    assert codata2018.c.value == units.LIGHT_SPEED_M_S
    assert codata2018.h.value == units.PLANCK_J_S
    assert codata2018.k_B.value == units.BOLTZMANN_J_K
    assert codata2018.u.value == units.ATOMIC_MASS_KG
    assert u.pc.to(u.m) == pytest.approx(units.M_PER_PC, rel=1e-12)


def test_inner_units_agree_with_their_names():
    SI = {"length": u.m, "velocity": u.m / u.s, "temperature": u.K, "density": u.kg / u.m**3}
    SI |= {"v_density": u.kg / u.m**2 / (u.m / u.s), "intensity": u.W / u.m**2 / u.Hz}
    assert SI.keys() == units.QUANTITIES.keys()
    for quantity, unit in SI.items():
        # The IAU's solar mass (from GM and G) is 3e-5 lighter than the 1.98847e30 kg that the field's codes use.
        astropys = unit.to(u.Unit(units.QUANTITIES[quantity]))
        assert units.INNER.per_SI(quantity) == pytest.approx(astropys, rel=4e-5), quantity


def test_the_papers_density_normalisation_is_near_one_in_inner_units():
    assert 1e-19 * units.INNER.density_per_SI == pytest.approx(1.4775, rel=1e-4)


def test_an_unknown_quantity_is_an_error_with_similar_names():
    with pytest.raises(DataError) as error:
        units.INNER.per_SI("densty")
    assert "density" in error.value.hint
