"""The header of an image before anything else reads it: values of the kind that their cards ask for, one description.

In: the header of an HDU as astropy read it. Out: a copy that wcslib reads as it was meant, with a line for each
change; DataError by the card's name where a number depends on a card that can be read in two ways or in none.
"""

import math
import re
from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from iris_cli.errors import DataError
from iris_cli.telescope.fits_file import first_line, reading

_AXIS = r"CRVAL\d+|CRPIX\d+|CDELT\d+|CROTA\d+|(?:PC|CD|PV)\d+_\d+"
_NUMBERS = re.compile(rf"{_AXIS}|LONPOLE|LATPOLE|RESTFRQ|RESTFREQ|RESTWAV|VELREF|WCSAXES|VELO-LSR")
_SCALES = ("BSCALE", "BZERO", "BLANK")
_WHOLE = ("VELREF", "WCSAXES")
#: Checked where a value depends on them.
_BEAM = ("BMAJ", "BMIN", "BPA")
_TEXTS = re.compile(r"CTYPE\d+|CUNIT\d+|RADESYS|RADECSYS|SPECSYS|BUNIT")
#: Numbers or text: see `_equinox`.
_EPOCHS = ("EQUINOX", "EPOCH")
#: The beginning of a card -> the option that takes its place.
_OPTIONS = {"BUNIT": "--unit", "REST": "--rest-frequency-ghz", "BMAJ": "--beam-arcsec", "BMIN": "--beam-arcsec"}
_OPTIONS |= {"SPECSYS": "--velocity-shift", "VELREF": "--velocity-shift", "BLANK": "--blank"}
_OPTIONS |= {"CUNIT3": "--spectral-unit", "CTYPE3": "--velocity-convention"}
_STRUCTURE = re.compile(r"NAXIS\d*|BITPIX|PCOUNT|GCOUNT")
#: Of a second description of the axes, with its letter.
_ALTERNATE = re.compile(
    r"((?:CTYPE|CUNIT|CRVAL|CRPIX|CDELT|CROTA|CNAME|CRDER|CSYER)\d+|(?:PC|CD|PV|PS)\d+_\d+|RADESYS|EQUINOX|LONPOLE"
    r"|LATPOLE|RESTFRQ|RESTWAV|SPECSYS|SSYSOBS|SSYSSRC|VELOSYS|ZSOURCE|VELANGL|WCSAXES|WCSNAME)([A-Z])"
)
#: Cards of time and of the telescope's place, which no position depends on: wcslib completes and warns about them.
_TIME = re.compile(r"(DATE|MJD|JD|TIME|TREF|OBSGEO|TSTART|TSTOP|TELAPSE|XPOSURE|DATREF).*")
_YEAR = re.compile(r"([BJ]?)\s*(\d{4}(?:\.\d*)?)")
_SYSTEMS = ("", "ICRS", "FK5", "FK4", "FK4-NO-E")
#: The beginning of CTYPE of the axes that a cube or an l-v image must have.
_USED = re.compile(r"RA--|DEC-|.LON|.LAT|VRAD|VELO|VOPT|ZOPT|FREQ|WAVE|AWAV|FELO|BETA|WAVN|ENER|VREL")


def clean_header(path: Path, header: fits.Header, notes: list[str], replaced: Container[str] = ()) -> fits.Header:
    """A header as described above. Each change is a line in `notes`. Cards of `replaced` need not be readable."""
    with reading(path, notes):
        clean = _readable(path, header, notes, replaced)
        _take_alternate(path, clean, notes)
        for k in _axes(clean):
            if (ctype := str(clean.get(f"CTYPE{k}", ""))) != ctype.upper():
                clean[f"CTYPE{k}"] = ctype.upper()
        _check_sky(path, clean, notes)
        _equinox(path, clean, notes)
        _steps(path, clean, notes)
        _rotations(path, clean, notes)
    return clean


def world_coordinates(path: Path, header: fits.Header, notes: list[str], hint: str = "fix the header") -> WCS:
    """The WCS of a header of `clean_header`. DataError with the last line of wcslib's message, and a hint."""
    used = header.copy()
    for card in list(used):
        if _TIME.fullmatch(card):
            del used[card]
    try:
        with reading(path, notes, "has world coordinates that cannot be read", hint):
            wcs = WCS(used)
            wcs.wcs.set()
    except MemoryError as error:  # wcslib's, of a table that is not there
        raise DataError(f"{path} has world coordinates that cannot be read: {first_line(error)}", hint) from None
    return wcs


def set_card(path: Path, card: str, value: str) -> str:
    """A hint: the command that writes a card."""
    return f"""python -c "from astropy.io import fits; fits.setval('{path}', '{card}', value={value})\""""


# --- values -----------------------------------------------------------------------------------------------------------


def _readable(path: Path, header: fits.Header, notes: list[str], replaced: Container[str]) -> fits.Header:
    """The cards that can be read, with numbers where numbers belong; of cards that appear twice, the first.

    DataError when a card that matters cannot be read, is of the wrong kind, or appears twice with two values.
    """
    clean, ignored = fits.Header(), []
    for raw in header.cards:
        name = ""
        try:
            name = raw.keyword
            value, comment = raw.value, raw.comment
            if isinstance(value, fits.card.Undefined) and _matters(name):
                notes.append(f"{path.name}: {name} has no value")
                continue
            name = re.sub(r"^(PC|CD)(\d{3})(\d{3})$", lambda m: f"{m[1]}{int(m[2])}_{int(m[3])}", name)
            value = _of_kind(path, name, value, notes)
            if _matters(name) and name in clean:
                if clean[name] != value:
                    hint = f"fits.delval and fits.setval of astropy.io leave one {name}"
                    raise DataError(f"{path}: {name} appears twice, as {clean[name]!r} and {value!r}", hint)
                continue
            clean.append((name, value, comment), end=True)
        except DataError as error:
            if name not in replaced:
                raise DataError(error.message, f"{_option(name)}{error.hint}") from None
        except (fits.VerifyError, ValueError, TypeError) as error:
            if name in replaced:
                continue
            if _matters(name):
                reason = first_line(error).split(", fix it")[0]  # with a call of astropy
                message = f"{path}: the card {name} cannot be read: {reason}"
                raise DataError(message, f"{_option(name)}{set_card(path, name, 'VALUE')}") from None
            ignored.append(name)
    if ignored:
        notes.append(f"{path.name}: cards that cannot be read, and are not used: {', '.join(ignored)}")
    return clean


def _option(card: str) -> str:
    """The beginning of a hint: the option that takes the place of a card."""
    option = next((option for start, option in _OPTIONS.items() if card.startswith(start)), None)
    return f"give {option}; or " if option else ""


def _matters(name: str) -> bool:
    """Whether numbers depend on a card."""
    plain = alternate[1] if (alternate := _ALTERNATE.fullmatch(name)) else name
    known = _NUMBERS.fullmatch(plain) or _TEXTS.fullmatch(plain) or _STRUCTURE.fullmatch(plain)
    return bool(known) or plain in (*_SCALES, *_EPOCHS, *_BEAM)


def _of_kind(path: Path, name: str, value: Any, notes: list[str]) -> Any:
    """The value of a card as a number or a text, whichever it should be. DataError when it is neither."""
    plain = alternate[1] if (alternate := _ALTERNATE.fullmatch(name)) else name
    if _TEXTS.fullmatch(plain):
        if not isinstance(value, str):
            raise DataError(f"{path}: {name} is {value!r}, not a text", set_card(path, name, "'TEXT'"))
        return value
    if plain in _SCALES and _as_number(value) is not value:  # astropy has scaled the values without it
        text = isinstance(value, str)
        hint = set_card(path, name, (value.strip() or "0") if text else "NUMBER")
        raise DataError(f"{path}: {name} is {'the text ' if text else ''}{value!r}, not a number", hint)
    if not _NUMBERS.fullmatch(plain) and plain not in _BEAM:
        return value
    number = _as_number(value, whole=plain in _WHOLE)
    if number is None and plain in _BEAM:  # `read_beam` refuses it, if a beam is needed
        return value
    if number is None:
        raise DataError(f"{path}: {name} is {value!r}, not a number", set_card(path, name, "NUMBER"))
    if isinstance(value, str):
        notes.append(f"{path.name}: {name} is the text {value!r}; it is read as the number {number:.12g}")
    return number


def _as_number(value: Any, whole: bool = False) -> float | int | None:
    """A finite number, also from a text, in Fortran's spelling, too; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([EeDd][-+]?\d+)?\s*", value):
        value = float(value.upper().replace("D", "E"))
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return (int(value) if value == int(value) else None) if whole else value


# --- which description ------------------------------------------------------------------------------------------------


def _axes(header: fits.Header) -> range:
    """Numbers of the axes that a header describes, also of those that the array has not."""
    named = [int(name[5:]) for name in header if re.fullmatch(r"CTYPE\d{1,3}", name)]
    return range(1, max([int(header.get("NAXIS", 0)), *named]) + 1)


def _take_alternate(path: Path, header: fits.Header, notes: list[str]) -> None:
    """Removes alternate descriptions; if the axes have no other, the first of the sky takes the place of it."""
    alternates: dict[str, dict[str, Any]] = {}
    for name in list(header):
        if found := _ALTERNATE.fullmatch(name):
            alternates.setdefault(found[2], {})[found[1]] = header[name]
            del header[name]
    if any(str(header.get(f"CTYPE{k}", "")).strip() for k in _axes(header)):
        return
    for letter, cards in sorted(alternates.items()):
        if any(re.match(r"RA--|.LON", str(value)) for name, value in cards.items() if name.startswith("CTYPE")):
            for name in list(header):
                if _ALTERNATE.fullmatch(f"{name}A"):
                    del header[name]
            header.update(cards)
            alone = f"under the key {letter} alone (CTYPE1{letter}), which is taken"
            notes.append(f"{path.name} describes its axes {alone}")
            return


def _check_sky(path: Path, header: fits.Header, notes: list[str]) -> None:
    """DataError for coordinates that astropy would take for right ascension; a note on distortions without a code."""
    for k in _axes(header):
        if found := re.match(r"([EHST]LON|[EHST]LAT|AZAL|ALON|ALAT)", ctype := str(header.get(f"CTYPE{k}", ""))):
            hint = "convert them to GLON and GLAT, or RA and DEC"
            raise DataError(f"{path}: positions in {found[1]} ({ctype}) are not converted", hint)
    sip = [name for name in header if re.fullmatch(r"[AB]P?_(ORDER|DMAX|\d+_\d+)", name)]
    if sip and not any(str(header.get(f"CTYPE{k}", "")).endswith("-SIP") for k in _axes(header)):
        notes.append(f"{path.name}: distortions ({sip[0]}, …) are not used, as no CTYPE ends in -SIP")
        for name in sip:
            del header[name]


# --- the sky's frame --------------------------------------------------------------------------------------------------


def _equinox(path: Path, header: fits.Header, notes: list[str]) -> None:
    """RADESYS and EQUINOX of equatorial axes as the FITS standard has them; axes of another kind need neither.

    DataError for a text or a year that is no equinox, and for a system that astropy doesn't convert.
    """
    cards = {name: header.pop(name, None) for name in ("RADESYS", "RADECSYS", *_EPOCHS)}
    if not any(str(header.get(f"CTYPE{k}", "")).startswith("RA--") for k in _axes(header)):
        return
    system = str(cards["RADESYS"] or cards["RADECSYS"] or "").strip().upper()
    named = next((name for name in ("RADESYS", "RADECSYS") if cards[name]), "RADESYS")
    letter, year = "", None
    if found := _YEAR.fullmatch(system):  # 'J2000'
        system, letter, year = "", found[1], float(found[2])
    for name in _EPOCHS:
        value = cards[name]
        if value is None or year is not None:
            continue
        found = _YEAR.fullmatch(str(value).strip().upper())
        if found and 1800 <= float(found[2]) <= 2100:
            letter, year = found[1], float(found[2])
        elif str(value).strip() in ("", "0", "0.0"):
            notes.append(f"{path.name}: {name} is {value!r}, which is no year; it is not used")
        else:
            raise DataError(f"{path}: {name} is {value!r}, not the year of an equinox", set_card(path, name, "2000.0"))
    if system not in _SYSTEMS:
        hint = f"astropy converts ICRS, FK5 and FK4: {set_card(path, named, repr('FK5'))}"
        raise DataError(f"{path}: no Galactic positions in the sky frame {system!r} ({named})", hint)
    if letter and system and (letter == "B") != system.startswith("FK4"):
        message = f"{path}: an equinox of {letter}{year:g} and {named} = {system!r} contradict each other"
        raise DataError(message, set_card(path, named, repr("FK4" if letter == "B" else "FK5")))
    if not system and year is None:
        notes.append(f"{path.name} has neither RADESYS nor EQUINOX; ICRS is assumed, as in the FITS standard")
    system = system or {"B": "FK4", "J": "FK5"}.get(letter, "")
    if year is not None:
        header["EQUINOX"] = year
        if year not in (1950.0, 2000.0) and system != "ICRS":
            notes.append(f"{path.name} has positions of the equinox {year:g}")
    if system:
        header["RADESYS"] = system


# --- steps and rotations ----------------------------------------------------------------------------------------------


def _steps(path: Path, header: fits.Header, notes: list[str]) -> None:
    """Each axis has a reference and a step. DataError when one that is used has none."""
    matrix = {name for name in header if re.fullmatch(r"CD\d+_\d+", name)}
    for k in _axes(header):
        used = _is_used(header, k)
        for card in (f"CRVAL{k}",) if used else ():
            if card not in header:
                raise DataError(f"{path}: {card} is missing", set_card(path, card, "NUMBER"))
        if used and f"CRPIX{k}" not in header:
            notes.append(f"{path.name}: CRPIX{k} is missing; 0 is taken, as in the FITS standard")
            header[f"CRPIX{k}"] = 0.0
        step = header.get(f"CDELT{k}")
        own = [name for name in matrix if str(k) in name[2:].split("_")]
        if not used and not step and not own and header.get(f"NAXIS{k}", 1) == 1:
            step = 1.0  # else the whole matrix is singular
            header[f"CDELT{k}"] = step
        if matrix and not own:
            if step is None:
                raise DataError(f"{path}: axis {k} has no step: neither CD{k}_{k} nor CDELT{k} is there", "")
            header[f"CD{k}_{k}"] = step
            if used:
                notes.append(f"{path.name}: CD{k}_{k} is missing; CDELT{k} = {step:g} is taken for it")
        elif not matrix and used and step is None and f"PC{k}_{k}" not in header:
            raise DataError(f"{path}: CDELT{k} is missing", set_card(path, f"CDELT{k}", "NUMBER"))
        elif used and own and step:
            width = math.hypot(*(float(header.get(f"CD{i}_{k}", 0.0)) for i in _axes(header)))
            if abs(width - abs(step)) > 1e-3 * width:
                notes.append(f"{path.name}: CDELT{k} = {step:g} is not used beside CDi_{k}, whose step is {width:g}")


def _rotations(path: Path, header: fits.Header, notes: list[str]) -> None:
    """CROTA and PC are used where the FITS standard uses them. DataError where they contradict it."""
    axes = _axes(header)
    kinds = {name[:2] for name in header if re.fullmatch(r"(CD|PC)\d+_\d+", name)}
    if kinds == {"CD", "PC"}:
        size = range(1, len(axes) + 1)
        cd = np.array([[header.get(f"CD{i}_{j}", 0.0) for j in size] for i in size])
        pc = np.array([[header.get(f"PC{i}_{j}", float(i == j)) for j in size] for i in size])
        steps = np.array([header.get(f"CDELT{i}", 1.0) for i in size])
        if not np.allclose(cd, steps[:, None] * pc, rtol=1e-3, atol=1e-6 * np.abs(cd).max()):
            raise DataError(f"{path} has CDi_j and PCi_j, which describe its axes differently", "remove one of them")
        for name in [name for name in header if re.fullmatch(r"PC\d+_\d+", name)]:
            del header[name]
    angles = {k: header.pop(f"CROTA{k}") for k in axes if f"CROTA{k}" in header}
    turned = {k: angle for k, angle in angles.items() if angle % 360.0}
    lat = next((k for k in axes if re.match(r"DEC-|.LAT", str(header.get(f"CTYPE{k}", "")))), 0)
    for k, angle in turned.items():
        if kinds:
            matrix = "CDi_j" if "CD" in kinds else "PCi_j"
            notes.append(f"{path.name}: CROTA{k} = {angle:g} is not used beside {matrix}")
        elif k == lat:
            header[f"CROTA{k}"] = angle
        elif re.match(r"RA--|.LON", str(header.get(f"CTYPE{k}", ""))):
            if angle != turned.get(lat):
                message = f"{path}: CROTA{k} = {angle:g} is at longitude; a rotation is at latitude, CROTA{lat}"
                raise DataError(message, set_card(path, f"CROTA{lat}", f"{angle:g}"))
        else:
            notes.append(f"{path.name}: CROTA{k} = {angle:g} does not turn the sky, and is not used")


def _is_used(header: fits.Header, k: int) -> bool:
    """Whether an axis is one of the sky or the spectral one."""
    return bool(_USED.match(str(header.get(f"CTYPE{k}", "")))) and k <= int(header.get("NAXIS", 0))
