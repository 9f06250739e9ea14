"""Opening FITS files: sizes are checked before memory is taken, and no error or warning of astropy is lost.

astropy takes the cards that describe an array as they are, so that a damaged one leads to a traceback, to a loop over
2147483647 axes, or to an array of exabytes.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from astropy.io import fits
from astropy.utils.data import get_readable_fileobj
from astropy.utils.exceptions import AstropyWarning

from iris_cli.console import detail
from iris_cli.errors import DataError, IrisError

BLOCK = 2880
#: A header has 36 cards in a block; one of 180 000 cards is damaged.
MOST_BLOCKS = 5000
BITPIX = (8, 16, 32, 64, -32, -64)
#: Axes of an array and fields of a table (FITS 4.0, sections 4.4.1 and 7.2.1); astropy loops over the stated number.
MOST_AXES = 999
#: The most that deflate packs into a byte (zlib.net/zlib_tech.html).
MOST_PACKED = 1032
#: Beyond so many bytes, further HDUs of a packed file are not looked for.
MOST_UNPACKED = 2**28
COPY = "copy the file again"
#: What astropy says of cards that are read as they are meant here, or that are about time and not used.
_HARMLESS = ("deprecated", "datfix", "obsfix", "MJD", "DATE", "made the change 'Success'", "'BLANK' keyword")


@contextmanager
def open_fits(path: Path, mapped: bool, notes: list[str]) -> Iterator[fits.HDUList]:
    """The HDUs of a FITS file. DataError when it is none, is cut short, or does not exist.

    What astropy warns about is added to `notes`.
    """
    if not path.is_file():
        raise DataError(f"{path} {'is a folder' if path.is_dir() else 'does not exist'}", "name a FITS file")
    with reading(path, notes):
        packed = _check_sizes(path)
    with reading(path, notes, "is not a FITS file", "name a FITS file"):
        file = fits.open(path, memmap=mapped)
    with file:
        with reading(path, notes):
            _check_kinds(path, file, packed)
        yield file


@contextmanager
def reading(path: Path, notes: list[str], wrong: str = "is damaged", hint: str = COPY) -> Iterator[None]:
    """Around calls of astropy: an exception, of whatever kind, is a DataError, and its warnings are added to `notes`.

    DataError also for a warning that a card was ignored, as a default would take its place.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", AstropyWarning)
        try:
            yield
        except (IrisError, MemoryError):
            raise
        except Exception as error:  # KeyError, VerifyError, OverflowError, wcslib's dozen, …
            raise DataError(f"{path} {wrong}: {first_line(error)}", hint) from None
    for warning in caught:
        if not issubclass(warning.category, AstropyWarning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
            continue
        said = first_line(warning.message)
        if "was expected" in said:
            raise DataError(f"{path}: a card is ignored by wcslib: {said}", "fix the header")
        line = f"{path.name}: {said}"
        if any(word in said for word in _HARMLESS):
            detail(line)
        elif line not in notes:
            notes.append(line)


def choose_image(path: Path, file: fits.HDUList, number: int | None, notes: list[str], hint: str = "") -> Any:
    """The HDU of that number, else the first image with three axes longer than a pixel, else with three axes, or two.

    None if there is no image. A note says which image was chosen, if there are several.
    """
    images = {k: hdu for k, hdu in enumerate(file) if is_image(hdu, 2)}
    axes = {k: (min(sum(n > 1 for n in hdu.shape), 3), min(len(hdu.shape), 3)) for k, hdu in images.items()}
    chosen = number if number is not None else max(axes, key=lambda k: (axes[k], -k), default=None)
    if chosen is None or chosen not in images:
        return None
    name = f" ({images[chosen].name})" if images[chosen].name else ""
    line = f"{path.name} has images in the HDUs {', '.join(map(str, images))}; {chosen}{name} is read{hint}"
    if len(images) > 1 and line not in notes:
        notes.append(line)
    return images[chosen]


def is_image(hdu: Any, axes: int) -> bool:
    """Whether an HDU is an image with so many axes, or more; astropy takes some damaged HDUs for images."""
    return isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU) and len(hdu.shape) >= axes


def first_line(error: Any) -> str:
    """The last line of wcslib's message, the first of others."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if isinstance(error, Warning):
        text = " ".join(lines)
    else:
        text = lines[-1] if lines[0].startswith("ERROR") or "wcs" in type(error).__module__ else lines[0]
        text = f"no {text}" if isinstance(error, KeyError) else text
    return text if len(text) < 240 else text[:239] + "…"


# --- sizes ------------------------------------------------------------------------------------------------------------


def _check_sizes(path: Path) -> int:
    """How many HDUs a packed file has, as far as it is read here; 0 for others.

    DataError unless the arrays that the headers describe are possible and the file is long enough for them.
    """
    length = path.stat().st_size
    with path.open("rb") as raw, get_readable_fileobj(str(path), encoding="binary") as file:
        packed = not raw.read(6).startswith(b"SIMPLE")
        place = number = 0
        while found := _read_header(path, file, number):
            header, blocks = found
            size = _data_size(path, header, number, MOST_PACKED * length)
            place += blocks * BLOCK
            if (MOST_PACKED if packed else 1) * length < place + size:
                unit = " unpacked" if packed else ""
                message = f"HDU {number} needs {place + size}{unit} bytes, the file has {length}"
                raise DataError(f"{path} is cut short or damaged: {message}", COPY)
            place += -(-size // BLOCK) * BLOCK
            number += 1
            if packed and place > MOST_UNPACKED:
                break
            file.seek(place)
    return number if packed else 0


def _check_kinds(path: Path, file: fits.HDUList, count: int) -> None:
    """DataError where astropy would read an HDU of a packed file again and again.

    It takes all that follows for the data of an HDU whose kind it cannot find out, and their size from that of the
    packed file, which can be smaller than what was read.
    """
    for k in range(count):
        if not hasattr(file[k], "fileinfo"):  # as all HDUs of a known kind have
            raise DataError(f"{path} is damaged: HDU {k} is of no known kind", COPY)


def _read_header(path: Path, file: IO[bytes], number: int) -> tuple[fits.Header, int] | None:
    """The header of the next HDU and its number of blocks; None at the end of the file, also before other bytes there.

    DataError for a file that does not begin as FITS does: astropy may loop over a packed one.
    """
    read = b""
    for block in range(MOST_BLOCKS):
        part = file.read(BLOCK)
        if block == 0 and not part.startswith(b"SIMPLE" if number == 0 else b"XTENSION"):
            if number == 0 and not part.startswith(b"PK"):  # astropy unpacks zip files
                raise DataError(f"{path} is not a FITS file: it does not begin with SIMPLE", "name a FITS file")
            return None
        read += part
        if any(part[k : k + 80].rstrip() == b"END" for k in range(0, len(part), 80)):
            return fits.Header.fromstring(read), block + 1
        if len(part) < BLOCK:
            break
    raise DataError(f"{path} is cut short or damaged: the header of HDU {number} has no END", COPY)


def _data_size(path: Path, header: fits.Header, number: int, most: int) -> int:
    """Bytes of the data of an HDU, without padding. DataError for impossible cards."""

    def whole(card: str, least: int, highest: float, absent: int | None = None) -> int:
        try:
            values = [header[card, k] for k in range(header.count(card))] if card in header else [absent]
        except fits.VerifyError as error:
            raise DataError(f"{path} is damaged: {first_line(error)} (HDU {number})", COPY) from None
        value = values[0]
        if any(other != value for other in values):
            raise DataError(f"{path} is damaged: {card} of HDU {number} appears twice, as {values[:2]}", COPY)
        if type(value) is not int or not least <= value <= highest:
            stated = "missing" if value is None else repr(value)
            raise DataError(f"{path} is damaged: {card} of HDU {number} is {stated}", COPY)
        return value

    def array(prefix: str) -> int:
        bits = whole(f"{prefix}BITPIX", -64, 64)
        if bits not in BITPIX:
            raise DataError(f"{path} is damaged: {prefix}BITPIX of HDU {number} is {bits}", COPY)
        axes = range(1, whole(f"{prefix}NAXIS", 0, MOST_AXES) + 1)
        lengths = [whole(f"{prefix}NAXIS{k}", 0, 2**63 - 1) for k in axes]
        if lengths and lengths[0] == 0 and header.get("GROUPS") is True:
            lengths = lengths[1:]  # random groups
        size = 1 if lengths else 0
        for n in lengths:
            size *= n
        return abs(bits) // 8 * size

    whole("TFIELDS", 0, MOST_AXES, 0)
    if header.get("ZIMAGE") is True and array("Z") > most:
        raise DataError(f"{path} is damaged: the image packed in HDU {number} is larger than the file can hold", COPY)
    # astropy multiplies by GCOUNT in every HDU, and walks backwards for -1.
    groups, more = (whole(card, 0, 2**63 - 1, absent) for card, absent in (("GCOUNT", 1), ("PCOUNT", 0)))
    return groups * (array("") + abs(whole("BITPIX", -64, 64)) // 8 * more)
