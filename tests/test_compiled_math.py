"""The compiled elementary functions against scipy, and far from zero."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba import njit
from numba.core import event
from scipy.special import erf

import iris_cli
from iris_cli import compiled_math
from iris_cli.compiled_math import atan2_32, cos_sin32, erf32, erf_integral32, exp32, log32

X = np.concatenate([np.linspace(-6.0, 6.0, 4001), [-1e4, -80.0, -9.0, 9.0, 80.0, 1e4]]).astype(np.float32)


@njit
def over(function, x):
    return np.array([function(value) for value in x])


def test_the_functions_are_accurate_to_float32():
    x = X.astype(np.float64)
    assert np.abs(over(erf32, X) - erf(x)).max() < 1e-6
    assert np.abs(over(exp32, X)[:4001] / np.exp(x[:4001]) - 1.0).max() < 1e-6
    integral = x * erf(x) + np.exp(-(x**2)) / np.sqrt(np.pi)
    assert (
        np.abs(over(erf_integral32, X) / np.maximum(integral, 1.0) - integral / np.maximum(integral, 1.0)).max() < 1e-6
    )


def test_angles_and_logarithms_are_accurate_to_float32():
    angles = np.linspace(-25.0, 25.0, 20_001, dtype=np.float32)
    cos, sin = np.array([cos_sin32(angle) for angle in angles]).T
    x = angles.astype(np.float64)
    assert np.abs(cos - np.cos(x)).max() < 5e-7 and np.abs(sin - np.sin(x)).max() < 5e-7
    y = np.float32([0.0, 1.0, -1.0, 0.0, 2.0, -2.0, 1e-6, 0.0])
    x = np.float32([0.0, 0.0, 0.0, -1.0, 2.0, -2.0, 1e6, 3.0])
    more = np.random.default_rng(0).normal(size=(2, 9999)).astype(np.float32)
    y, x = np.append(y, more[0]), np.append(x, more[1])
    found = np.array([atan2_32(*place) for place in zip(y, x, strict=True)])
    assert np.abs(found - np.arctan2(y.astype(np.float64), x)).max() < 5e-7
    positive = np.exp(np.linspace(-80.0, 80.0, 20_001)).astype(np.float32)
    exact = np.log(positive.astype(np.float64))
    assert np.abs(over(log32, positive) - exact).max() < 1e-5
    near_1 = (np.abs(exact) > 1e-6) & (np.abs(exact) < 1.0)
    assert np.abs(over(log32, positive[near_1]) / exact[near_1] - 1.0).max() < 5e-7


def test_no_tail_is_subnormal():
    """Subnormal numbers made the observer three times slower on Intel processors."""
    smallest = np.finfo(np.float32).tiny
    assert (over(exp32, X) > 1e3 * smallest).all()
    tails = 1.0 - np.abs(over(erf32, X[np.abs(X) > 4.0]))
    assert (tails == 0.0).all()


def decorated(tree):
    """The compiled functions of a file: name -> decorator, and the names that it calls."""
    found = {}
    for each in ast.walk(tree):
        if isinstance(each, ast.FunctionDef) and each.decorator_list:
            by = ast.unparse(each.decorator_list[0])
            calls = {ast.unparse(call.func) for call in ast.walk(each) if isinstance(call, ast.Call)}
            if by in ("kernel", "part") or by.startswith("njit"):
                found[each.name] = (by, calls)
    return found


def test_no_kernel_calls_a_kernel_and_what_kernels_call_is_inlined():
    """Else the numbers depend on whether the code comes from the cache; the slow test below shows it."""
    package = Path(iris_cli.__file__).parent
    files = [decorated(ast.parse(path.read_text())) for path in package.rglob("*.py")]
    functions = {name: about for file in files for name, about in file.items()}
    kernels = {name for name, (by, _) in functions.items() if by == "kernel"}
    assert len(kernels) > 8
    assert not [(name, calls & kernels) for name, (_, calls) in functions.items() if calls & kernels]
    assert {by for by, _ in functions.values()} == {"kernel", "part", "njit(inline='always')"}


@pytest.mark.slow
def test_galaxies_are_the_same_with_kernels_that_were_just_compiled(tmp_path):
    for name in ("compiled", "cached"):
        words = [sys.executable, "-P", "-m", "iris_cli", "mock", str(tmp_path / name), "-n", "2", "--seed", "7"]
        (tmp_path / "cache").mkdir(mode=0o700, exist_ok=True)
        subprocess.run(words, check=True, env={**os.environ, "IRIS_CACHE_DIR": str(tmp_path / "cache")})
    for file in (tmp_path / "compiled").glob("*.npy"):
        assert file.read_bytes() == (tmp_path / "cached" / file.name).read_bytes()


def test_a_compilation_is_announced_once_and_a_compiled_loop_is_not(capsys):
    with event.install_listener("numba:compile", compiled_math._Announcement()):
        for loop in (njit(lambda x: x + 1.0), njit(lambda x: x + 2.0)):
            loop(1.0)
            loop(2.0)
    assert capsys.readouterr().err.count("compiling loops for this processor") == 1
