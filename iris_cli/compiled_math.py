"""Compilation with numba, and elementary functions in float32 without branches, so that loops become vectorized."""

# mypy: allow-untyped-defs

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import config, njit

from iris_cli.cache import private_folder

_LN2 = math.log(2.0)
#: 2^f = sum (f ln 2)^k / k!; for |f| <= 1/2 eight terms are exact in float32.
_C1, _C2, _C3, _C4, _C5, _C6, _C7 = (np.float32(_LN2**k / math.factorial(k)) for k in range(1, 8))
_PER_LN2 = np.float32(1.0 / _LN2)
#: e^-80 times any factor of a profile is a normal number: arithmetic with subnormal ones is 100 times slower on Intel.
_LEAST, _LARGEST = np.float32(-80.0), np.float32(87.0)
#: Abramowitz & Stegun 7.1.26, |error| < 1.5e-7.
_P = np.float32(0.3275911)
_A1, _A2, _A3, _A4, _A5 = (np.float32(a) for a in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429))
_HALF, _ONE, _ZERO, _FOUR = np.float32(0.5), np.float32(1.0), np.float32(0.0), np.float32(4.0)
_PER_SQRT_PI = np.float32(1.0 / math.sqrt(math.pi))


def kernel(function: Callable) -> Callable:
    """`njit` without the interpreter's lock, cached between runs in a folder that only the user can write to."""
    folder, before = private_folder(f"compiled-{_sources()}"), config.CACHE_DIR
    config.CACHE_DIR = str(folder) if folder else before
    fastmath = {"contract", "reassoc", "nsz", "arcp"}
    try:
        return njit(nogil=True, error_model="numpy", fastmath=fastmath, cache=folder is not None)(function)
    finally:
        config.CACHE_DIR = before


def _sources() -> str:
    """A hash of the code: numba itself checks only a kernel's own file, not the functions that it takes from others."""
    observers = ("level_balance.py", "line_profile.py", "backends/compiled.py")
    names = ("compiled_math.py", *(f"observers/{name}" for name in observers))
    files = (Path(__file__).parent / name for name in names)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


@njit(inline="always")
def exp32(x):
    """e^x, with x limited to -80 … 87."""
    t = min(max(x, _LEAST), _LARGEST) * _PER_LN2
    n = np.float32(math.floor(t + _HALF))
    f = np.float32(t - n)
    p = ((((((_C7 * f + _C6) * f + _C5) * f + _C4) * f + _C3) * f + _C2) * f + _C1) * f + _ONE
    return p * np.int32((np.int32(n) + 127) << 23).view(np.float32)


@njit(inline="always")
def erf32(x):
    """Exactly 1 in float32 from 4 on; beyond that the tail would become subnormal."""
    a = min(abs(x), _FOUR)
    t = _ONE / (_ONE + _P * a)
    tail = ((((_A5 * t + _A4) * t + _A3) * t + _A2) * t + _A1) * t * exp32(-a * a)
    return _ONE - tail if x >= _ZERO else tail - _ONE


@njit(inline="always")
def erf_integral32(x):
    return x * erf32(x) + exp32(-x * x) * _PER_SQRT_PI
