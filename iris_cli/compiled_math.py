"""Compilation with numba, and elementary functions in float32 without branches, so that loops become vectorized."""

# mypy: allow-untyped-defs

import hashlib
import math
from collections.abc import Callable
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import numpy as np
from numba import config, njit
from numba.core import event

from iris_cli.cache import private_folder
from iris_cli.console import note
from shards import pool

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
_LN_2, _SQRT_2 = np.float32(_LN2), np.float32(math.sqrt(2.0))
_THIRD, _FIFTH, _SEVENTH, _NINTH = (np.float32(1.0 / k) for k in (3, 5, 7, 9))
#: Terms of the series of sin y / y; for |y| <= pi/2 these seven are exact in float32.
_S1, _S2, _S3, _S4, _S5, _S6 = (np.float32((-1.0) ** k / math.factorial(2 * k + 1)) for k in range(1, 7))
#: Abramowitz & Stegun 4.4.49, |error| < 2e-8.
_T1, _T2, _T3, _T4 = (np.float32(a) for a in (-0.3333314528, 0.1999355085, -0.1420889944, 0.1065626393))
_T5, _T6, _T7, _T8 = (np.float32(a) for a in (-0.0752896400, 0.0429096138, -0.0161657367, 0.0028662257))
_PI, _HALF_PI, _PER_TURN = np.float32(math.pi), np.float32(math.pi / 2), np.float32(0.5 / math.pi)
#: 2 pi in two parts, of which few bits are used by the first.
_TURN, _TURN_REST = np.float32(6.28125), np.float32(2.0 * math.pi - 6.28125)
_LEAST_NORMAL = np.float32(1.2e-38)


#: A vectorized loop has no branches for division by zero, and may add in any order.
_VECTORIZED = {"error_model": "numpy", "fastmath": {"contract", "reassoc", "nsz", "arcp"}}


class _Announcement(event.Listener):  # type: ignore[misc]
    """Says once that kernels are compiled; of a pool, its first worker. There is no event for one from the cache."""

    said = False

    def on_start(self, event: Any) -> None:
        if not self.said and (pool.is_first or parent_process() is None):
            note("compiling loops for this processor, about 10 s, once: they are cached")
        self.said = True

    def on_end(self, event: Any) -> None:
        pass


event.register("numba:compile", _Announcement())


def kernel(function: Callable) -> Callable:
    """`njit` without the interpreter's lock, cached between runs in a folder that only the user can write to."""
    folder, before = private_folder(f"compiled-{_sources()}"), config.CACHE_DIR
    config.CACHE_DIR = str(folder) if folder else before
    try:
        return njit(nogil=True, cache=folder is not None, **_VECTORIZED)(function)
    finally:
        config.CACHE_DIR = before


def part(function: Callable) -> Callable:
    """`njit` for a function that kernels call; kernels do not call each other.

    LLVM inlines it. Otherwise a process that compiles a kernel itself would call another copy of the function than one
    that takes the kernel from the cache, and it might round differently.
    """
    return njit(forceinline=True, **_VECTORIZED)(function)


def _sources() -> str:
    """A hash of the code: numba itself checks only a kernel's own file, not the functions that it takes from others."""
    here = Path(__file__).parent
    observers = ("level_balance.py", "line_profile.py", "simple.py", "backends/compiled.py")
    files = [here / "compiled_math.py", *(here / "observers" / name for name in observers)]
    files += [here / "standard" / "density_relations.py", *sorted((here / "mock").glob("*.py"))]
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


@njit(inline="always")
def log32(x):
    """ln x of a normal number x > 0; of x = m 2^k with m in 1/sqrt(2) … sqrt(2), by the series of artanh."""
    bits = np.float32(x).view(np.int32)
    m = np.int32((bits & np.int32(0x7FFFFF)) | np.int32(0x3F800000)).view(np.float32)
    k = np.float32((bits >> np.int32(23)) - np.int32(127))
    large = m > _SQRT_2
    m, k = m * _HALF if large else m, k + _ONE if large else k
    s = (m - _ONE) / (m + _ONE)
    q = s * s
    return _LN_2 * k + (s + s) * (_ONE + q * (_THIRD + q * (_FIFTH + q * (_SEVENTH + q * _NINTH))))


@njit(inline="always")
def cos_sin32(x):
    """(cos x, sin x) for a few turns."""
    n = np.float32(math.floor(x * _PER_TURN + _HALF))
    r = (x - n * _TURN) - n * _TURN_REST
    a = abs(r)
    y = a if a < _HALF_PI else _PI - a
    return _sin_series(_HALF_PI - a), _sin_series(y) if r >= _ZERO else -_sin_series(y)


@njit(inline="always")
def _sin_series(y):
    q = y * y
    return y * (((((_S6 * q + _S5) * q + _S4) * q + _S3) * q + _S2) * q + _S1) * q + y


@njit(inline="always")
def atan2_32(y, x):
    """The angle of (x, y) in -pi … pi."""
    a, b = abs(x), abs(y)
    t = min(a, b) / max(max(a, b), _LEAST_NORMAL)
    q = t * t
    series = ((((((_T8 * q + _T7) * q + _T6) * q + _T5) * q + _T4) * q + _T3) * q + _T2) * q + _T1
    angle = t * series * q + t
    angle = angle if a >= b else _HALF_PI - angle
    angle = angle if x >= _ZERO else _PI - angle
    return angle if y >= _ZERO else -angle
