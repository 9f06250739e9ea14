"""The spectral cards of a header in the FITS standard's terms, for wcslib, which leaves out what it does not know.

Type, frame and unit of the axis and the rest frequency are read as AIPS, CASA, MIRIAD, GILDAS, CLASS and GBTIDL write
them. A note says what was assumed or not used; what is doubtful is an error that names the option.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from astropy import units as u
from astropy.io import fits

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import DataError, UsageError
from iris_cli.telescope.header_units import fits_spelling, read_unit
from iris_cli.units import LIGHT_SPEED_M_S

#: CTYPE -> the unit in which wcslib returns values; these become velocities.
SI = {"VRAD": u.m / u.s, "VOPT": u.m / u.s, "VELO": u.m / u.s, "ZOPT": u.one, "FREQ": u.Hz, "WAVE": u.m}
#: Other spectral types of the standard.
_OTHERS = ("AWAV", "ENER", "WAVN", "VREL", "BETA")
#: Types outside the standard, with the frame at their end: 'VELO-LSR' (AIPS), 'VELOCITY' (GILDAS), 'VLSR', 'FREQUENC'.
_TYPE = re.compile(
    r"(FREQ|FELO|VELO|VRAD|VOPT|VEL|V)(?:U?ENCY?|CITY?|IO|ICAL?)?[-_ ]*(?:(LSRD|LSR|HEL|BAR|OBS|TOP|GEO|SOU)\w*)?"
)
#: CTYPE of the sky, and others that are not spectral.
_SKY = re.compile(r"(RA|DEC|.?.?L[OA][NT]|[XY]OFF|STOKES|POL)", re.I)
_CONVENTIONS = {"radio": "VRAD", "optical": "VOPT", "relativistic": "VELO"}
#: The beginning of a frame's name -> SPECSYS.
_FRAMES = {"LSRD": "LSRD", "LSR": "LSRK", "TOP": "TOPOCENT", "OBS": "TOPOCENT", "GEO": "GEOCENTR", "BAR": "BARYCENT"}
_FRAMES |= {"HEL": "HELIOCEN", "GAL": "GALACTOC", "LOC": "LOCALGRP", "LGR": "LOCALGRP", "CMB": "CMBDIPOL"}
_FRAMES |= {"SOU": "SOURCE", "RES": "SOURCE"}
#: VELREF modulo 256 (AIPS memo 27, with casacore's further numbers); 256 is added for radio velocities.
_VELREF = ("", "LSRK", "HELIOCEN", "TOPOCENT", "LSRD", "GEOCENTR", "SOURCE", "GALACTOC")
#: Lines that radio telescopes observe, in Hz.
POSSIBLE_HZ = (1e7, 1e13)


#: Card -> the field of CubeConfig that replaces it.
_REPLACED = {"BUNIT": "unit", "BMAJ": "beam_arcsec", "BMIN": "beam_arcsec", "BPA": "beam_arcsec", "BLANK": "blank"}
_REPLACED |= dict.fromkeys(("RESTFRQ", "RESTFREQ", "RESTWAV"), "rest_frequency_GHz")
_REPLACED |= dict.fromkeys(("SPECSYS", "VELREF"), "velocity_shift_km_s")


def replaced_cards(header: fits.Header, config: CubeConfig) -> set[str]:
    """The cards whose place a flag takes, so that they need not be readable."""
    cards = {card for card, field in _REPLACED.items() if getattr(config, field) is not None}
    k = _axis_number(header, config)
    cards |= {f"CUNIT{k}"} if config.spectral_unit is not None else set()
    return cards | ({f"CTYPE{k}"} if config.velocity_convention is not None else set())


def repair_spectral_cards(path: Path, header: fits.Header, config: CubeConfig) -> tuple[str, ...]:
    """Replace the spectral cards and return notes. DataError and UsageError for those that cannot be used."""
    notes = [*_rest_frequency(path, header, config)]
    if (k := _axis_number(header, config)) is not None:
        notes += [*_type_and_frame(path, header, k, config), *_unit(path, header, k, config)]
    return tuple(notes)


def repair_velocity_cards(path: Path, header: fits.Header) -> None:
    """CTYPE and SPECSYS alone, for figures: these show velocities of any convention and unit."""
    if (k := _axis_number(header, CubeConfig())) is not None:
        list(_type_and_frame(path, header, k, CubeConfig()))


# --- rest frequency ---------------------------------------------------------------------------------------------------


def _rest_frequency(path: Path, header: fits.Header, config: CubeConfig) -> Iterator[str]:
    """The flag, else RESTFRQ, else RESTFREQ, else RESTWAV; a note when they differ."""
    stated = {card: header.pop(card) for card in ("RESTFRQ", "RESTFREQ", "RESTWAV") if header.get(card)}
    for card in ("RESTFRQ", "RESTFREQ", "RESTWAV"):
        header.remove(card, ignore_missing=True, remove_all=True)
    if config.rest_frequency_GHz is not None:
        header["RESTFRQ"] = config.rest_frequency_GHz * 1e9
        return
    hertz = {}
    for card, value in stated.items():
        if not isinstance(value, int | float):
            raise DataError(f"{path}: {card} is {value!r}, not a number", "give --rest-frequency-ghz")
        hertz[card] = LIGHT_SPEED_M_S / value if card == "RESTWAV" else float(value)
    for n, (card, value) in enumerate(hertz.items()):
        if n == 0:
            if not POSSIBLE_HZ[0] <= value <= POSSIBLE_HZ[1]:
                raise DataError(f"{path}: {card} is {stated[card]:g}, which is doubtful", _rest_hint(stated[card]))
            used, header["RESTFRQ"] = card, value
        elif abs(value / hertz[used] - 1.0) > 1e-6:
            yield f"{path.name}: {used} = {stated[used]:.9g} is used, {card} = {stated[card]:.9g} is not"


def _rest_hint(value: float) -> str:
    """For GHz or MHz where the standard has Hz."""
    GHz = value if 1e-2 <= value < 1e4 else 1e-3 * value
    return f"give it in GHz: --rest-frequency-ghz {GHz if 1e-2 <= GHz < 1e4 else 220.3986841:.10g}"


# --- type and frame ---------------------------------------------------------------------------------------------------


def _axis_number(header: fits.Header, config: CubeConfig) -> int | None:
    """The first with a spectral CTYPE; with --velocity-convention also the only one that is not of the sky."""
    numbers = range(1, header["NAXIS"] + 1)
    for k in numbers:
        ctype = _ctype(header, k)
        if ctype[:4] in (*SI, *_OTHERS) or _TYPE.fullmatch(ctype):
            return k
    if config.velocity_convention is None:
        return None
    others = [k for k in numbers if not _SKY.match(_ctype(header, k))]
    others = [k for k in others if header[f"NAXIS{k}"] > 1] or others
    return others[0] if len(others) == 1 else None


def _ctype(header: fits.Header, k: int) -> str:
    try:
        return str(header.get(f"CTYPE{k}", "")).strip().upper()
    except fits.VerifyError:
        return ""


def _type_and_frame(path: Path, header: fits.Header, k: int, config: CubeConfig) -> Iterator[str]:
    """CTYPE and SPECSYS by AIPS's, GILDAS's and GBTIDL's conventions, which wcslib knows in part."""
    stated = _ctype(header, k)
    found = _TYPE.fullmatch(stated)
    velref, suffix = _velref(header), found[2] if found else None
    header.remove("VELREF", ignore_missing=True, remove_all=True)
    frames = {"SPECSYS": _frame(header.get("SPECSYS")), "VELREF": _VELREF[velref % 256] if velref else ""}
    frames |= {f"CTYPE{k}": _frame(suffix), "VELDEF": _frame(str(header.get("VELDEF", ""))[5:])}
    frames["card VELO-LSR"] = "LSRK" if "VELO-LSR" in header else ""  # GILDAS: the velocity of the source in the LSR
    known = {card: frame for card, frame in frames.items() if frame}
    used = next(iter(known), None)
    header.remove("SPECSYS", ignore_missing=True, remove_all=True)
    if used is not None:
        header["SPECSYS"] = known[used]
        if used in ("VELREF", "VELDEF", "card VELO-LSR"):
            yield f"{path.name} has no SPECSYS; its velocities are in the frame {known[used]} by {used}"
        for card, frame in known.items():
            if len({name[:3].replace("HEL", "BAR") for name in (frame, known[used])}) == 2:  # 0.01 km/s apart
                yield f"{path.name}: the frame {known[used]} ({used}) is used, {frame} ({card}) is not"
    made = _standard_type(stated, found[1] if found else None, velref)
    if made[:4] not in (*SI, *_OTHERS):
        made = _CONVENTIONS[str(config.velocity_convention)]
        yield f"{path.name}: its axis {k}, '{stated}', is taken as {config.velocity_convention} velocities"
    elif found and found[1] in ("VELO", "VEL", "V") and made != stated and not (velref or config.velocity_convention):
        convention = next(name for name, ctype in _CONVENTIONS.items() if ctype == made)
        differ = "radio and optical ones differ by v^2/c, 0.13 km/s at 200 km/s (--velocity-convention)"
        yield f"{path.name} has '{stated}' velocities without VELREF; they are taken as {convention}; {differ}"
    header[f"CTYPE{k}"] = made


def _standard_type(stated: str, kind: str | None, velref: int | None) -> str:
    """The CTYPE of the standard. AIPS's VELO is radio or optical by VELREF, FELO optical with steps in frequency."""
    if kind in (None, "FREQ", "VRAD", "VOPT"):
        return kind or stated
    if kind == "FELO":
        return "VOPT-F2W"
    if velref is not None:
        return "VRAD" if velref >= 256 else "VOPT"
    if stated == "VELO":
        return "VELO"
    return "VOPT" if stated.startswith("VELO-") else "VRAD"  # wcslib takes AIPS's as optical; GILDAS has radio alone


def _velref(header: fits.Header) -> int | None:
    """None where it is missing or has no meaning."""
    value = header.get("VELREF")
    if not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value) if 0 < value < 512 and 0 < value % 256 < len(_VELREF) else None


def _frame(name: object) -> str:
    """SPECSYS for any spelling of a frame; "" where none is named."""
    text = str(name or "").strip().upper()
    return next((frame for start, frame in _FRAMES.items() if text.startswith(start)), "" if text[:2] == "UN" else text)


# --- unit -------------------------------------------------------------------------------------------------------------


def _unit(path: Path, header: fits.Header, k: int, config: CubeConfig) -> Iterator[str]:
    """CUNIT as wcslib knows it: the flag, else the header's in any spelling."""
    card, kind = f"CUNIT{k}", str(header[f"CTYPE{k}"])[:4]
    stated = str(header.get(card, "")).strip()
    if kind not in SI or kind == "ZOPT":
        return
    text = config.spectral_unit or stated
    if not text:
        raise DataError(f"{path} has no unit for its spectral axis ({card})", "give it: --spectral-unit km/s")
    unit = read_unit(text, SI[kind])
    spelling = unit and fits_spelling(unit)
    if spelling is None and config.spectral_unit is not None:
        raise UsageError(f"'{text}' is not a unit of a {kind} axis", "e.g. km/s, m/s, Hz, GHz")
    if spelling is None:
        example = {"FREQ": "Hz", "WAVE": "m"}.get(kind, "km/s")
        message = f"{path}: {card} = '{stated}' is not a unit of a {kind} axis"
        raise DataError(message, f"give it: --spectral-unit {example}")
    if stated and read_unit(stated, SI[kind]) != unit:
        yield f"{path.name}: {card} = '{stated}' is not used, --spectral-unit {text} is"
    header[card] = spelling
