"""Thousands of damaged FITS files: each is read or refused in one line, in bounded time and memory."""

import gzip
import random
import resource
import signal
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from iris_cli.config.cube import CubeConfig
from iris_cli.errors import IrisError
from iris_cli.telescope.cube_file import open_cube
from iris_cli.telescope.fits_image import read_fits
from iris_cli.telescope.lv_image import load_lv, save_lv
from iris_cli.telescope.regrid import regrid
from tests.telescope import sky

CARD = 80
SECONDS, MEMORY = 20, 2**30
MUTANTS = 2500
VALUES = """
0|-1|1|3|7|2147483647|1000000000|-2147483648|99999999999999999999|90.0|1E400|1E-320|1E20|NAN|INF|-0.0|1D3|T|F|''|'abc'
|'-60.0'|' '|'RA---TAN'|'DEC--TAN'|'GLON-TAB'|'VRAD-TAB'|'GLON-AIT'|'GLAT-AIT'|'GLON-HPX'|'VOPT-F2W'|'FREQ'|'STOKES'
|'B1950'|'fk5'|'mK'|'m/s'|'\x1b[31mX'|'unclosed|'<b>[red]'|(1.0, 2.0)|1 2||= =
""".replace("\n", "").split("|")
KEYS = """
NAXIS|NAXIS1|NAXIS3|NAXIS4|BITPIX|PCOUNT|GCOUNT|GROUPS|BSCALE|BZERO|BLANK|EXTEND|CTYPE1|CTYPE3|CUNIT2|CRVAL1|CRPIX1
|CDELT1|CDELT3|CROTA1|CROTA2|CD1_1|CD3_3|PC1_2|PC3_1|PC001002|PV2_1|A_ORDER|EQUINOX|EPOCH|RADESYS|RADECSYS|LONPOLE
|LATPOLE|WCSAXES|VELREF|RESTFRQ|RESTFREQ|SPECSYS|CTYPE1A|CRVAL1A|CONTINUE|HIERARCH|DATE-OBS|BMAJ|BUNIT|CASAMBM
|XTENSION|ZIMAGE|ZNAXIS1|TFIELDS|TFORM1|INHERIT|CPDIS1|DP1
""".replace("\n", "").split("|")


def originals(folder):
    """Cubes and l-v images of several kinds, small."""
    h = sky.header(shape=(12, 6, 14), pixel_deg=0.05)
    data = sky.sample(h, sky.Cloud())
    plain = sky.write(folder / "plain.fits", data, h)
    files = [plain, sky.cube(folder / "sky.fits", projection="RA---TAN", spectral="FREQ Hz", shape=(6, 6, 14))]
    lv = regrid([plain], sky.GRID)
    save_lv(lv, folder / "lv.fits")
    scaled = fits.PrimaryHDU(data, header=h)
    scaled.scale("int16", bscale=2e-4, bzero=3.0)
    scaled.header["BLANK"] = -32768
    scaled.writeto(folder / "scaled.fits")
    beams = fits.BinTableHDU.from_columns(
        [fits.Column(name, "1E", "arcsec", array=np.full(12, 30.0)) for name in ("BMAJ", "BMIN")], name="BEAMS"
    )
    fits.HDUList([fits.PrimaryHDU(data, header=h), beams]).writeto(folder / "beams.fits")
    fits.CompImageHDU(data, header=h, compression_type="GZIP_1", quantize_level=0).writeto(folder / "tiled.fits")
    return [path.read_bytes() for path in (*files, *(folder / f"{n}.fits" for n in ("lv", "scaled", "beams", "tiled")))]


def mutant(original, rng):
    """One to three changes of cards or bytes, and sometimes a file that ends early or is packed."""
    raw = bytearray(original)
    starts = [k for k in range(0, len(raw), CARD) if raw[k : k + 8].strip().isalnum() or raw[k : k + 4] == b"CONT"]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at, other, way = rng.choice(starts), rng.choice(starts), rng.randrange(7)
        card = raw[at : at + CARD]
        if way <= 1:
            card[8:] = f"= {rng.choice(VALUES):>20}".encode().ljust(CARD - 8)[: CARD - 8]
        elif way == 2:
            card = bytearray(f"{rng.choice(KEYS):8}= {rng.choice(VALUES):>20}".encode().ljust(CARD)[:CARD])
        elif way == 3:
            card = bytearray(b" " * CARD)
        elif way == 4:
            card = raw[other : other + CARD]
        elif way == 5:
            card[rng.randrange(CARD)] = rng.randrange(256)
        else:
            card[10:30] = raw[other + 10 : other + 30]
        raw[at : at + CARD] = card
    if rng.random() < 0.05:
        del raw[rng.randrange(len(raw)) :]
    return gzip.compress(raw, 1) if rng.random() < 0.05 else bytes(raw)


class TooLong(BaseException):
    """Not an Exception, which code under test may catch."""


@contextmanager
def bounded():
    """TooLong after so many seconds; MemoryError beyond so much more memory; an unheard warning is an error."""

    def late(*_):
        raise TooLong(f"no answer within {SECONDS} s")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before, handler = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyWarning)
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def read_cube(path):
    with open_cube(path, CubeConfig()) as cube:
        everything = slice(0, 1), slice(0, cube.shape[1]), slice(0, cube.shape[2])
        if np.prod(cube.shape) < 10**6:
            cube.slab(*everything)
            lon, lat = cube.corners(everything[1])
            cube.pixel_at(lon, lat)


@pytest.mark.slow
@pytest.mark.parametrize("read", [read_cube, read_fits, load_lv])
def test_a_damaged_file_is_read_or_refused(tmp_path, read):
    rng, files, path = random.Random(16), originals(tmp_path), tmp_path / "mutant.fits"
    unexpected: dict[str, bytes] = {}
    refused = 0
    for _ in range(MUTANTS):
        path.write_bytes(raw := mutant(rng.choice(files), rng))
        try:
            with bounded():
                read(path)
        except IrisError as error:
            refused += 1
            assert "\n" not in error.message, error.message
        except (Exception, TooLong) as error:
            unexpected.setdefault(f"{type(error).__name__}: {str(error)[:200]}", raw)
    assert not unexpected, "\n".join(unexpected)
    assert 0 < refused < MUTANTS
