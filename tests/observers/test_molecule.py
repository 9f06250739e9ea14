"""LAMDA files in their variants, and the built-in molecules."""

import json
import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from iris_cli.errors import DataError, UsageError
from iris_cli.observers.builtin_molecules import builtin_molecule
from iris_cli.observers.lamda import read_lamda
from iris_cli.observers.molecule import collider_shares, critical_densities_cm3
from iris_cli.observers.molecules import load_molecule, summary
from tests.fuzz import damaged_bytes, damaged_text, within
from tests.observers.gas import flux, see, uniform

PLAIN = """!MOLECULE
TOY
!MOLECULAR WEIGHT
20.0
!NUMBER OF ENERGY LEVELS
3
!LEVEL + ENERGIES(cm^-1) + WEIGHT + J
1 0.0 1.0 0
2 4.0 3.0 1
3 12.0 5.0 2
!NUMBER OF RADIATIVE TRANSITIONS
2
!TRANS + UP + LOW + EINSTEINA(s^-1) + FREQ(GHz) + E_u(K)
1 2 1 7.2E-08 119.9 5.8
2 3 2 6.9E-07 239.8 17.3
!NUMBER OF COLL PARTNERS
2
!COLLISIONS BETWEEN
2 TOY-pH2 from Somebody (2010)
!NUMBER OF COLL TRANS
3
!NUMBER OF COLL TEMPS
2
!COLL TEMPS
10.0 100.0
!TRANS+ UP+ LOW+ COLLRATES(cm^3 s^-1)
1 2 1 3.0E-11 4.0E-11
2 3 1 2.0E-11 3.0E-11
3 3 2 5.0E-11 6.0E-11
!COLLISIONS BETWEEN
3 TOY-oH2
!NUMBER OF COLL TRANS
1
!NUMBER OF COLL TEMPS
2
!COLL TEMPS
10.0 100.0
!TRANS+ UP+ LOW+ COLLRATES(cm^3 s^-1)
1 2 1 6.0E-11 8.0E-11
"""


@pytest.fixture
def lamda(tmp_path):
    """Writes a text into a file and reads it."""

    def read(text):
        (tmp_path / "toy.dat").write_text(text, encoding="utf-8")
        return read_lamda(tmp_path / "toy.dat")

    return read


def swap_partners(text):
    head, first, second = re.split(r"(?=!COLLISIONS BETWEEN\n)", text)
    return head + second + first


def without_mark(text, number):
    places = [found.start() for found in re.finditer("!", text)]
    return text[: places[number]] + text[places[number] + 1 :]


VARIANTS = {
    "blank lines": lambda t: t.replace("\n!", "\n\n  \n!"),
    "Fortran exponents": lambda t: t.replace("E-", "D-").replace("3.0D", "3.0d"),
    "more comments": lambda t: t.replace("1 2 1 3.0E-11", "! a remark\n1 2 1 3.0E-11").replace(
        "\n3\n", "\n3 ! three\n"
    ),
    "further columns": lambda t: t.replace("119.9 5.8", "119.9 5.8 0.001 extra"),
    "no upper energies": lambda t: t.replace("119.9 5.8", "119.9"),
    "long rows that continue": lambda t: t.replace("2.0E-11 3.0E-11", "2.0E-11\n   3.0E-11"),
    "Windows line ends": lambda t: t.replace("\n", "\r\n"),
    "notes after the tables": lambda t: t + "!\nNotes: 1 2 3\nmore of them\n",
    "partners in the other order": swap_partners,
    "tabs": lambda t: t.replace(" TOY-", "\tTOY-").replace("1 2 1 ", "1\t2\t1\t"),
    "a byte-order mark": lambda t: "\ufeff" + t,
    "ends of lines of old computers": lambda t: t.replace("\n", "\r"),
    "no comments at all": lambda t: re.sub(r"!.*\n", "", t),
    "no comment before the name": lambda t: t.removeprefix("!MOLECULE\n"),
    "no exclamation mark anywhere": lambda t: t.replace("!", ""),
    **{f"comment {k} without a mark": partial(without_mark, number=k) for k in range(13)},
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_variants_of_a_file_read_the_same(lamda, variant):
    plain, other = lamda(PLAIN), lamda(variant(PLAIN))
    assert len(other.partners) == len(plain.partners) == 2
    by_collider = {p.collider: p for p in other.partners}
    for mine in plain.partners:
        assert by_collider[mine.collider].rates_cm3_s.tolist() == mine.rates_cm3_s.tolist()
        assert by_collider[mine.collider].upper.tolist() == mine.upper.tolist()
    assert (other.name, other.mass_u) == ("TOY", 20.0)
    assert other.energies_K.tolist() == plain.energies_K.tolist()
    assert other.einstein_a_s.tolist() == plain.einstein_a_s.tolist() == [7.2e-8, 6.9e-7]
    assert other.line_names == ("1-0", "2-1")


def test_fortran_leaves_out_the_letter_of_exponents_with_three_digits(lamda):
    rates = lamda(PLAIN.replace("3.0E-11 4.0E-11", "3.0-105 4.0-100")).partners[0].rates_cm3_s
    assert rates[0].tolist() == [3.0e-105, 4.0e-100]


NO_DATA = {
    "nothing": "0\n",
    "no temperatures": "0\n!NUMBER OF COLL TEMPS\n0\n!COLL TEMPS\n\n!TRANS\n",
    "temperatures": "0\n!NUMBER OF COLL TEMPS\n2\n!COLL TEMPS\n10.0 100.0\n!TRANS\n",
}


@pytest.mark.parametrize("lines", NO_DATA.values(), ids=NO_DATA)
@pytest.mark.parametrize("first", [True, False])
def test_a_partner_without_collision_data_is_left_out(lamda, lines, first):
    head, para, ortho = re.split(r"(?=!COLLISIONS BETWEEN\n)", PLAIN)
    empty = f"!COLLISIONS BETWEEN\n5 TOY-H ! no collision data available\n!NUMBER OF COLL TRANS\n{lines}"
    found = lamda(
        head.replace("PARTNERS\n2", "PARTNERS\n3") + (empty + para + ortho if first else para + ortho + empty)
    )
    assert [partner.collider for partner in found.partners] == ["p-H2", "o-H2"]
    assert found.source.endswith("which lists H without rates")
    assert not summary(found, 50.0)["collides_with_H"]


def test_a_file_in_utf_16_is_read(tmp_path):
    (tmp_path / "toy.dat").write_text(PLAIN, encoding="utf-16")
    assert read_lamda(tmp_path / "toy.dat").name == "TOY"


def test_every_truncation_is_an_error_that_names_the_file(lamda):
    for end in range(0, PLAIN.index("6.0E-11 8.0E-11"), 7):
        with pytest.raises(DataError, match=r"toy\.dat"):
            lamda(PLAIN[:end])


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("1 2 1 3.0E-11", "1 2 9 3.0E-11", "levels 2 and 9"),
        ("5.0E-11 6.0E-11", "5.0E-11 -6.0E-11", "-6e-11 where the rates"),
        ("5.0E-11 6.0E-11", "5.0E-11 nan", "'5.0E-11 nan'"),
        ("2 TOY-pH2", "9 TOY-pH2", "collision partner 9"),
        ("10.0 100.0", "100.0 10.0", "do not ascend"),
        ("3\n!LEVEL", "many\n!LEVEL", "'many'"),
        ("3\n!LEVEL", "-3\n!LEVEL", "-3 is not a number of energy levels"),
        ("2 4.0 3.0 1", "1 4.0 3.0 1", "two levels of the same number"),
        ("1 0.0 1.0 0", "one 0.0 1.0 0", "'one'"),
        ("5.0E-11 6.0E-11", "5.0E-11 6.0-11", "'5.0E-11 6.0-11'"),
        ("5.0E-11 6.0E-11", "5.0E-11 6,0E-11", "'5.0E-11 6,0E-11'"),
        ("5.0E-11 6.0E-11", "5.0E-116.0E-11", "ends before|where the rates"),
        ("5.0E-11 6.0E-11", "5.0E-11 *******", r"\*\*\*"),
        ("5.0E-11 6.0E-11", "5.0E-11 1E999", "inf where the rates"),
        ("5.0E-11 6.0E-11", "5.0E-11 6.0+101", "6e.101 where the rates"),
        ("20.0", "0.0", "0 where the molecular weight"),
        ("2 4.0 3.0 1", "2 4.0 0.0 1", "0 where a level's weight"),
        ("7.2E-08 119.9", "7.2E-08 0.0", "0 where a frequency"),
        ("1 2 1 7.2E-08", "1 1 2 7.2E-08", r"transition from level 1 \(0 cm"),
        ("1 2 1 3.0E-11", "1 2 2 3.0E-11", "from level 2 to itself"),
    ],
)
def test_errors_name_the_line(lamda, before, after, says):
    with pytest.raises(DataError, match=rf"line \d+.*{says}"):
        lamda(PLAIN.replace(before, after))


def test_unknown_transitions_and_molecules_without_h2_rates_are_refused(lamda):
    with pytest.raises(UsageError) as error:
        lamda(PLAIN).line("7-6")
    assert "1-0" in error.value.hint
    only_hydrogen = PLAIN.replace("2 TOY-pH2", "5 TOY-H").replace("3 TOY-oH2", "6 TOY-He")
    with pytest.raises(DataError, match="no collision rates with H2"):
        collider_shares(lamda(only_hydrogen), 3.0)
    with_atoms = lamda(PLAIN.replace("3 TOY-oH2", "5 TOY-H"))
    assert collider_shares(with_atoms, 3.0) == {"p-H2": (0.0, 1.0), "H": (1.0, -2.0)}


def test_rates_are_linear_between_temperatures_and_constant_beyond(lamda):
    para = lamda(PLAIN).partners[0]
    assert [para.rates_at(T_K)[0] for T_K in (1.0, 55.0, 1e4)] == pytest.approx([3.0e-11, 3.5e-11, 4.0e-11])
    alone = replace(para, temperatures_K=para.temperatures_K[:1], rates_cm3_s=para.rates_cm3_s[:, :1])
    assert alone.rates_at(55.0)[0] == 3.0e-11


def test_the_built_in_13co_agrees_with_lamda(lamda_13co):
    builtin, published = builtin_molecule("13co"), load_molecule(lamda_13co)
    assert builtin.energies_K == pytest.approx(published.energies_K, rel=1e-7)
    assert builtin.frequency_Hz[:10] == pytest.approx(published.frequency_Hz[:10], abs=300.0)
    assert builtin.einstein_a_s == pytest.approx(published.einstein_a_s, rel=6e-4)
    for mine, other in zip(builtin.partners, published.partners[:2], strict=True):
        assert mine.collider == other.collider
        assert mine.rates_cm3_s == pytest.approx(other.rates_cm3_s, rel=1e-6)


def test_critical_densities_of_13co_are_a_few_thousand():
    para = critical_densities_cm3(builtin_molecule("13co"), 50.0)["p-H2"]
    assert 1e3 < para[0] < 3e3 and 5e3 < para[1] < 1e4
    described = summary(builtin_molecule("13co"), 50.0)
    assert described["lines"][1]["transition"] == "2-1" and "Yang" in described["source"]


def test_a_file_has_precedence_over_a_built_in_name(tmp_path, monkeypatch):
    (tmp_path / "13co").write_text(PLAIN)
    monkeypatch.chdir(tmp_path)
    assert load_molecule("13co").name == "TOY"
    assert load_molecule("c18o").name == "C18O"
    with pytest.raises(UsageError, match="neither a built-in molecule nor"):
        load_molecule("14co")


@pytest.mark.slow  # the level table of the LAMDA file takes 5 s to compute
@pytest.mark.parametrize(("x_H2", "share", "within"), [(0.1, 0.26, 0.03), (0.5, 1.0, 2e-3)])
def test_without_collisions_with_atoms_half_atomic_gas_is_much_too_faint(lamda_13co, x_H2, share, within):
    """docs/synthetic_observer.md states the factor: 13CO(2-1), thin, 60 K, n_H = 1e3 /cm^3."""
    gas = uniform(4, n_H_cm3=1e3, T_K=60.0, x_H2=x_H2, x_CO=1.4e-6)
    options = {"populations": "non-lte", "tracer_per_CO": 0.04, "turbulence_m_s": 1000.0}
    built_in, file = (flux(see(gas, molecule=name, **options)) for name in ("13co", lamda_13co))
    assert built_in / file == pytest.approx(share, abs=within)


@pytest.mark.slow  # 6000 files
def test_damaged_files_are_read_or_refused_in_one_line(tmp_path):
    rng, read = np.random.default_rng(16), 0
    for k in range(6000):
        damage = damaged_bytes if k % 3 == 0 else damaged_text
        (tmp_path / "toy.dat").write_bytes(damage(PLAIN.encode(), rng))
        with within(5.0):
            try:
                found = read_lamda(tmp_path / "toy.dat")
                json.dumps(summary(found, 50.0), allow_nan=False)
                read += 1
            except DataError as error:
                assert "toy.dat" in error.message and "\n" not in error.message and len(error.message) < 400
    assert 500 < read < 5500
